// What this browser prefers: language, light, notifications. Kept in localStorage; a browser that forbids that forgets.
import { WORDS, preferred, type Language } from "./words";

export type Theme = "auto" | "light" | "dark";

export function kept(key: string): string | null {
  try { return localStorage.getItem(`madang.${key}`); } catch { return null; }
}
export function keep(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`madang.${key}`);
    else localStorage.setItem(`madang.${key}`, value);
  } catch { /* not kept */ }
}

class Prefs {
  language = $state<Language>((kept("language") as Language | null) ?? preferred(navigator.languages));
  theme = $state<Theme>((kept("theme") as Theme | null) ?? "auto");
  notify = $state(kept("notify") === "yes" && "Notification" in globalThis && Notification.permission === "granted");
  w = $derived(WORDS[this.language]);

  speak(language: Language): void {
    this.language = language;
    keep("language", language);
  }
  light(theme: Theme): void {
    this.theme = theme;
    keep("theme", theme);
  }
  /** Asks the browser for leave. False: it says no. */
  async tell(wanted: boolean): Promise<boolean> {
    const may = wanted && "Notification" in globalThis && (await Notification.requestPermission()) === "granted";
    this.notify = may;
    keep("notify", may ? "yes" : null);
    return may === wanted;
  }
}
export const prefs = new Prefs();
