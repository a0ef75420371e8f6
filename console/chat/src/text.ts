// What is in a message: links, code, names that are called. Pure; no HTML is ever made of it: each part becomes a text node.

export type Part =
  | { kind: "text"; text: string } | { kind: "link"; text: string; href: string } | { kind: "code"; text: string } | { kind: "block"; text: string }
  | { kind: "mention"; text: string; name: string };

const PIECES = /```(?:[\w+-]*\n)?([\s\S]+?)```|`([^`\n]+)`|(https?:\/\/[^\s<>"'`]+)|(?<![\p{L}\p{N}_@.-])@([\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{0,31})/gu;

/** Cuts a message into parts. `names`: who was really called (folded), as the server says; other @words stay text. */
export function parts(text: string, names: readonly string[]): Part[] {
  const found: Part[] = [], called = new Set(names.map(fold));
  let at = 0;
  const plain = (end: number) => { if (end > at) found.push({ kind: "text", text: text.slice(at, end) }); };
  for (const match of text.matchAll(PIECES)) {
    const [whole, block, code, url, name] = match;
    let part: Part | undefined, length = whole.length;
    if (block !== undefined) part = { kind: "block", text: block.replace(/\n$/, "") };
    else if (code !== undefined) part = { kind: "code", text: code };
    else if (url !== undefined) {
      const shown = tidy(url), href = address(shown);
      length = shown.length;
      if (href) part = { kind: "link", text: shown, href };
    } else if (name !== undefined) {
      const real = longest(name, called);
      length = real ? real.length + 1 : 0;
      if (real) part = { kind: "mention", text: `@${real}`, name: real };
    }
    if (!part) continue;
    // A block stands on lines of its own; the line breaks around it are not said twice.
    plain(part.kind === "block" && text[match.index - 1] === "\n" ? Math.max(at, match.index - 1) : match.index);
    found.push(part);
    at = match.index + length + (part.kind === "block" && text[match.index + length] === "\n" ? 1 : 0);
  }
  plain(text.length);
  return found;
}

/** `@mina님` calls mina: Korean puts endings right behind a name. */
function longest(word: string, called: Set<string>): string | undefined {
  const letters = [...word];
  for (let length = letters.length; length > 0; length--) {
    const name = letters.slice(0, length).join("");
    if (called.has(fold(name))) return name;
  }
  return undefined;
}

/** Endings that Korean puts behind a name without a space. */
const ENDING = /^(님|씨)?(께서|께|에게|한테|이랑|랑|와|과|은|는|이|가|을|를|의|도|만|야|아)?$/;

/** Whether the word behind an @ calls somebody of this name: `나리님은` calls 나리. */
export function calls(word: string, name: string): boolean {
  const [long, short] = [fold(word), fold(name)];
  return long === short || (long.startsWith(short) && ENDING.test(long.slice(short.length)));
}

/** What stands behind an address in a sentence is not part of it; a bracket is, when it was opened inside. */
function tidy(url: string): string {
  let end = url.length;
  for (;;) {
    const last = url[end - 1] ?? "";
    const opens = { ")": "(", "]": "[", "}": "{" }[last];
    const inside = url.slice(0, end);
    if (".,:;!?…'".includes(last) || (opens && count(inside, last) > count(inside, opens))) end -= 1;
    else return inside;
  }
}
const count = (text: string, letter: string) => text.split(letter).length - 1;

function address(text: string): string | undefined {
  try {
    const url = new URL(text);
    return (url.protocol === "http:" || url.protocol === "https:") && url.hostname && !url.username ? url.href : undefined;
  } catch {
    return undefined;
  }
}

export const fold = (name: string) => name.normalize("NFKC").toLowerCase();

/** Whether the file may be shown as a picture: of a kind that carries no script, from this very chat. */
export function is_picture(type: string, url: string, base: string): boolean {
  return /^image\/(png|jpeg|gif|webp|avif)$/.test(type) && new URL(url, base).href.startsWith(new URL("files/", base).href);
}

export function size(bytes: number): string {
  const [value, unit] = bytes < 1024 ? [bytes, "B"] : bytes < 1048576 ? [bytes / 1024, "KiB"] : [bytes / 1048576, "MiB"];
  return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
