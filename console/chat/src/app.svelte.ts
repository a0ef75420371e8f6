// The page as a whole: who we are, which conversations there are, which one is looked at.
//
// Job: join the client's events to the conversations, do what people ask for, say what went wrong. Used by every component. Calls `talk`.
// Not here: how anything looks.
import { Chat, ChatError, type ChatEvent, type Open, type Pending, type Person, type Position, type Room, type State, type You } from "@madang/chat";
import { SvelteMap } from "svelte/reactivity";
import { read as command } from "./commands";
import { keep, kept, prefs } from "./prefs.svelte";
import { Talk } from "./talk.svelte";
import { calls, fold } from "./text";

export interface Upload { id: number; name: string; bytes: number; part: number; failed: string; file?: { name: string; url: string; bytes: number; type: string } }
export type Side = "people" | "search" | undefined;
export type Box = "switcher" | "create" | "room" | "settings" | "help" | { who: string } | undefined;

const REFRESH_MS = 60_000;
/** A connection may be lost for so long before anybody is told. */
const CALM_MS = 1500;

export class App {
  readonly chat: Chat;
  state = $state<State>("connecting");
  /** Told to people: a short loss is none of their business. */
  offline = $state(false);
  you = $state.raw<You | undefined>();
  welcome = $state(false);
  refused = $state.raw<ChatError | undefined>();
  talks = new SvelteMap<string, Talk>();
  open_rooms = $state.raw<Open[]>([]);
  active = $state<string | undefined>();
  /** On a phone: what is seen. */
  pane = $state<"list" | "talk">("list");
  side = $state<Side>(undefined);
  box = $state.raw<Box>(undefined);
  outbox = $state.raw<Pending[]>([]);
  failed = $state.raw<{ nonce: string; room: string; fields: Readonly<Record<string, unknown>>; why: string }[]>([]);
  unsent = $state.raw<Pending[]>([]);
  said = $state.raw<{ text: string; bad: boolean } | undefined>();
  /** What a screen reader reads out. */
  heard = $state("");
  words = $state("");
  reply = $state.raw<{ room: string; offset: number; name: string; text: string } | undefined>();
  editing = $state.raw<{ room: string; offset: number; text: string } | undefined>();
  scrolled_to_end = true;
  seen = $state(true);
  #said_timer: ReturnType<typeof setTimeout> | undefined;
  #calm_timer: ReturnType<typeof setTimeout> | undefined;
  #begun = false;
  #renewed = 0;
  #fresh: string[] = [];

  talk = $derived(this.active === undefined ? undefined : this.talks.get(this.active));
  unread = $derived([...this.talks.values()].reduce((sum, talk) => sum + (talk.direct ? talk.unread : talk.mentions), 0));
  any_unread = $derived([...this.talks.values()].some((talk) => talk.unread > 0));

  constructor(address: string | URL) {
    this.chat = new Chat(address, { persist: true });
    this.chat.on("state", (state) => this.#to(state));
    this.chat.on("ready", () => void this.#ready());
    this.chat.on("refused", (error) => void this.#unknown(error));
    this.chat.on("joined", (room) => this.#joined(room));
    this.chat.on("left", ({ room, why }) => this.#left(room, why));
    this.chat.on("event", (event) => this.#event(event));
    this.chat.on("outbox", (list) => { this.outbox = [...list]; });
    this.chat.on("unsent", (list) => { this.unsent = [...this.unsent, ...list]; });
  }

  get w() { return prefs.w; }
  get may_attach(): boolean { return this.you !== undefined && (this.chat.limits?.file_bytes ?? 0) > 0; }
  get known(): boolean { return this.you !== undefined; }

  start(): void {
    const hash = decodeURIComponent(location.hash.slice(1));
    this.active = hash || kept("room") || undefined;
    this.pane = hash ? "talk" : "list";
    addEventListener("hashchange", () => {
      const name = decodeURIComponent(location.hash.slice(1));
      if (!name) this.pane = "list";
      else if (name !== this.active || this.pane !== "talk") void this.go(name);
    });
    const look = () => { this.seen = document.visibilityState === "visible"; if (this.seen && this.scrolled_to_end) this.talk?.look(); };
    addEventListener("focus", look);
    // Rooms that others make are not told; the list is short and asked for now and then.
    setInterval(() => { if (this.seen && this.state === "open") void this.refresh(); }, REFRESH_MS);
    addEventListener("pagehide", () => this.remember());
    document.addEventListener("visibilitychange", () => this.remember());
    document.addEventListener("visibilitychange", look);
    this.chat.open();
  }

  come_in(name: string): void {
    keep("user", null);
    this.refused = undefined;
    this.chat.forget();
    this.chat.open({ name });
  }

  async sign_in(name: string, password: string): Promise<string | undefined> {
    const answer = await this.#auth("login", { name, password, cookies: true });
    if (!answer) return this.w.errors["offline"];
    if (!answer.ok) {
      const said = (await answer.json().catch(() => ({}))) as { error?: { name?: string; text?: string; again_ms?: number } };
      if (said.error?.name === "login-wait") return this.w.login_wait(Math.max(1, Math.ceil((said.error.again_ms ?? 0) / 1000)));
      const why = answer.status === 404 ? "no-accounts" : answer.status === 401 ? "bad-login" : answer.status === 429 ? "too-fast" : (said.error?.name ?? "");
      return this.w.errors[why] ?? said.error?.text ?? this.w.errors["bad-login"];
    }
    keep("user", "yes");
    this.refused = undefined;
    this.chat.forget();
    this.chat.open();
    return undefined;
  }

  sign_out(): void {
    this.chat.close();
    this.chat.forget();
    history.replaceState(null, "", location.pathname);
    for (const key of ["user", "rooms", "room"]) keep(key, null);
    // What this page knows of the one who leaves goes with it.
    void (this.you && !this.you.guest ? this.#auth("logout", {}) : Promise.resolve()).then(() => location.reload());
  }

  #auth(what: string, body: object): Promise<Response | undefined> {
    return fetch(new URL(`/auth/${what}`, this.chat.base), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }).catch(() => undefined);
  }

  /** Nobody knows us. An account whose short cookie is over has a longer one to get the next by. */
  async #unknown(error: ChatError): Promise<void> {
    if (error.code === "users-only" && kept("user") && this.#renewed++ < 1) {
      const answer = await this.#auth("refresh", {});
      if (answer?.ok) return void this.chat.open();
      if (answer) keep("user", null);
    }
    this.refused = error;
    this.you = undefined;
  }

  // --- what the client tells ---

  #to(state: State): void {
    this.state = state;
    if (state === "open") {
      clearTimeout(this.#calm_timer);
      this.#calm_timer = undefined;
      this.offline = false;
    } else if (this.you) this.#calm_timer ??= setTimeout(() => { this.offline = this.state !== "open"; }, CALM_MS);
  }

  async #ready(): Promise<void> {
    if (this.you && this.you.id !== this.chat.you?.id) this.talks.clear();
    this.you = this.chat.you;
    this.#renewed = 0;
    this.refused = undefined;
    const rooms = await this.try(() => this.chat.request("rooms", {}), true);
    if (!rooms) return;
    this.open_rooms = rooms.open;
    const known = new Set(rooms.mine.map(({ room }) => room));
    for (const mine of rooms.mine) {
      this.#talk(mine.room).mine(mine);
      this.#enter(mine.room, { epoch: mine.epoch, offset: mine.next - 1 });
    }
    // The server forgets where a guest was; this browser does not. What was not read comes, and is counted.
    const before = this.#begun || !this.you?.guest ? [] : this.#remembered();
    for (const { room, epoch, offset } of before) if (!known.has(room)) this.#enter(room, { epoch, offset });
    if (!this.#begun) {
      this.#begun = true;
      const mine = rooms.mine.filter(({ room }) => room !== "*").map(({ room }) => room);
      const first = this.active ?? mine[0] ?? before[0]?.room ?? rooms.open[0]?.room ?? "lobby";
      const wide = matchMedia("(min-width: 48rem)").matches;
      await this.#open(first);
      if (wide) this.pane = "talk";
    }
    this.welcome = true;
    if (this.seen && document.hasFocus() && this.scrolled_to_end) this.talk?.look();
  }

  #enter(room: string, since: Position): void {
    if (!this.chat.rooms.get(room)?.joined) void this.patiently(() => this.chat.join(room, { since }), true);
  }

  #remembered(): ({ room: string } & Position)[] {
    try {
      const kept_for = JSON.parse(kept("rooms") ?? "{}") as { id?: string; rooms?: ({ room: string } & Position)[] };
      return kept_for.id === this.you?.id ? (kept_for.rooms ?? []).filter(({ room, epoch, offset }) => room && epoch >= 0 && offset >= 0) : [];
    } catch {
      return [];
    }
  }

  /** Where a guest is and how far everything was read, for the next time this page is opened. */
  remember(): void {
    if (!this.you?.guest || !this.#begun) return;
    const rooms = [...this.talks.values()].filter((talk) => talk.joined && talk.name !== "*");
    keep("rooms", JSON.stringify({ id: this.you.id, rooms: rooms.map((talk) => ({ room: talk.name, epoch: talk.epoch, offset: talk.unread ? talk.read : talk.next - 1 })) }));
  }

  #talk(name: string): Talk {
    let talk = this.talks.get(name);
    if (!talk) this.talks.set(name, (talk = new Talk(this, name)));
    return talk;
  }

  #joined(room: Room): void {
    const talk = this.#talk(room.name);
    if (room.joined) talk.enter(room.joined);
    room.on("joined", (joined) => talk.enter(joined));
    this.open_rooms = this.open_rooms.filter((one) => one.room !== room.name);
    if (this.active === room.name) void this.#show(talk);
  }

  #left(name: string, why: string | undefined): void {
    this.talks.get(name)?.left();
    this.talks.delete(name);
    if (this.active === name) {
      this.active = undefined;
      this.pane = "list";
    }
    if (why) this.say(this.w.errors[why] ?? this.w.kicked_out(name), true);
    void this.refresh();
  }

  /** Whoever has another name keeps their place: in the lists of people, and as somebody to write to. */
  #renamed(who: Person, name: string): void {
    if (who.id === this.you?.id) this.you = this.chat.you;
    for (const talk of this.talks.values()) talk.renamed(who, name);
    const was = `@${who.name}`, is = `@${name}`, talk = this.talks.get(was);
    if (!talk || who.id === this.you?.id) return;
    this.talks.delete(was);
    talk.name = is;
    this.talks.set(is, talk);
    if (this.active === was) this.active = is;
  }

  #event(event: ChatEvent): void {
    if (event.on === "renamed") this.#renamed(event.by, event.name);
    if (event.room === undefined) return;
    const talk = this.talks.get(event.room);
    if (!talk) return;
    talk.heard(event);
    if (event.on === "message" && event.by.id !== this.you?.id) this.#message(talk, event.by.name, event.text ?? (event.files ?? []).map(({ name }) => name).join(", "), this.is_called(event.mentions));
    if (talk.name !== this.active) return;
    if (this.seen && document.hasFocus() && this.scrolled_to_end) talk.look();
    else if (event.on === "message" && talk.unread === 1) talk.open(); // where one stopped looking
  }

  #message(talk: Talk, name: string, text: string, called: boolean): void {
    if (talk.name === this.active) this.#read_out(this.w.said(name, text));
    else if (talk.direct || called) this.#read_out(`${talk.title}. ${this.w.said(name, text)}`);
    if (prefs.notify && (called || talk.direct) && !(document.hasFocus() && talk.name === this.active)) {
      const note = new Notification(talk.direct ? name : `${name} · ${talk.title}`, { body: text.slice(0, 200), tag: `${this.chat.base.href}${talk.name}`, icon: "./icon.svg" });
      note.onclick = () => { window.focus(); void this.go(talk.name); note.close(); };
    }
  }

  /** Several at once are counted, not read out one by one. */
  #read_out(text: string): void {
    this.#fresh.push(text);
    if (this.#fresh.length > 1) return;
    setTimeout(() => {
      const { length } = this.#fresh;
      this.heard = length > 3 ? this.w.fresh(length) : this.#fresh.join(". ");
      this.#fresh = [];
    }, 400);
  }

  // --- what people do ---

  is_me(name: string): boolean {
    return this.you !== undefined && fold(name) === fold(this.you.name);
  }
  /** Whether one of the words behind an @ is us. */
  is_called(words: readonly string[] | undefined): boolean {
    const { you } = this;
    return you !== undefined && (words ?? []).some((word) => calls(word, you.name));
  }
  at_end(talk: Talk): boolean {
    return talk.name !== this.active || this.scrolled_to_end;
  }

  /** Goes to a conversation, by its name; enters it if need be. */
  async go(name: string, offset?: number): Promise<void> {
    this.box = undefined;
    await this.#open(name);
    if (offset !== undefined) await this.talks.get(name)?.go(offset);
  }

  async #open(name: string): Promise<void> {
    if (this.active && this.active !== name) {
      const before = this.talks.get(this.active);
      if (before) before.line = undefined;
    }
    if (!this.talks.get(name)?.joined) {
      const room = await this.patiently(() => this.chat.join(name));
      if (!room) {
        if (!this.talks.has(name)) {
          if (this.active === name) this.active = undefined;
          return;
        }
      }
      if (room) name = room.name;
    }
    const fresh = this.active !== name;
    this.active = name;
    this.pane = "talk";
    keep("room", name);
    if (location.hash !== `#${encodeURIComponent(name)}`) history.pushState(null, "", `#${encodeURIComponent(name)}`);
    const talk = this.#talk(name);
    if (fresh) { this.reply = undefined; this.editing = undefined; }
    if (fresh || !this.welcome) talk.open();
    await this.#show(talk);
  }

  async #show(talk: Talk): Promise<void> {
    if (talk.joined && talk.lines.length < 30) await talk.older();
    void talk.who();
  }

  back(): void {
    this.pane = "list";
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
  }

  /** The conversations in the order in which they are listed. */
  get listed(): Talk[] {
    const all = [...this.talks.values()];
    const by_name = (a: Talk, b: Talk) => a.name.localeCompare(b.name);
    return [
      // Announcements are there when there are any, or when one may make one.
      ...all.filter((talk) => talk.name === "*" && (talk.next > 1 || this.you?.admin || this.active === "*")), ...all.filter((talk) => talk.name !== "*" && !talk.direct).sort(by_name),
      ...all.filter((talk) => talk.direct).sort((a, b) => b.last_ms - a.last_ms || by_name(a, b)),
    ];
  }

  step(by: 1 | -1): void {
    const list = this.listed, at = list.findIndex(({ name }) => name === this.active);
    const next = list[(at + by + list.length) % list.length];
    if (next) void this.go(next.name);
  }

  async refresh(): Promise<void> {
    const rooms = await this.try(() => this.chat.request("rooms", {}), true);
    if (rooms) this.open_rooms = rooms.open;
  }

  async leave(talk: Talk): Promise<void> {
    await this.try(async () => {
      await this.chat.leave(talk.name);
      talk.left();
      this.talks.delete(talk.name);
      this.active = undefined;
      this.back();
      await this.refresh();
    });
  }

  async create(room: string, more: { topic?: string; private?: boolean; invite_only?: boolean }): Promise<boolean> {
    const made = await this.try(() => this.chat.create(room.replace(/^#/, ""), more));
    if (made) await this.go(made.name);
    return made !== undefined;
  }

  /** A line of the composer: something to say, or a command. True: it was taken. */
  async enter(talk: Talk, line: string, files: Upload[]): Promise<boolean> {
    const what = command(line), { name } = talk;
    const about = (who: string, why?: string) => ({ room: name, who, ...(why && { why }) });
    switch (what.do) {
      case "say":
        if (name === "*") return Boolean(await this.try(() => this.chat.announce(what.text)));
        this.send(name, { text: what.text, ...(what.action && { action: true }), ...(files.length && { files: files.flatMap(({ file }) => file ?? []) }), ...(this.reply?.room === name && { reply: this.reply.offset }) }); this.reply = undefined; return true;
      case "msg":
        await this.go(`@${what.who}`);
        if (what.text && this.talks.has(`@${what.who}`)) this.send(`@${what.who}`, { text: what.text });
        return true;
      case "announce": return Boolean(await this.try(() => this.chat.announce(what.text)));
      case "topic": return Boolean(await this.try(() => this.chat.request("set", { room: name, topic: what.text })));
      case "join": await this.go(what.room); return true;
      case "create": return this.create(what.room, {});
      case "leave": await this.leave(talk); return true;
      case "invite": case "unban": case "unmute": return Boolean(await this.try(() => this.chat.request(what.do, about(what.who))));
      case "kick": return Boolean(await this.try(() => this.chat.request("kick", about(what.who, what.why))));
      case "ban": case "mute": return Boolean(await this.try(() => this.chat.request(what.do, { ...about(what.who, what.why), ...(what.minutes && { minutes: what.minutes }) })));
      case "role": return Boolean(await this.try(() => this.chat.request("role", { room: name, who: what.who, role: what.role })));
      case "away": return Boolean(await this.try(() => this.chat.request("away", what.text === undefined ? {} : { text: what.text || this.w.away })));
      case "search": this.side = "search"; this.words = what.words; return true;
      case "help": this.box = "help"; return true;
      case "usage": this.say(this.w.commands[what.word as keyof typeof this.w.commands] ?? "", true); return false;
      case "unknown": this.say(this.w.unknown_command(what.word), true); return false;
    }
  }

  send(room: string, fields: Record<string, unknown>): void {
    const { nonce, written } = this.chat.queue("send", room, fields);
    written.catch((error: ChatError) => {
      if (error.code !== "cancelled") this.failed = [...this.failed, { nonce, room, fields, why: this.why(error) }];
    });
  }

  drop(nonce: string): void {
    this.failed = this.failed.filter((one) => one.nonce !== nonce);
  }

  // --- what may fail ---

  why(error: unknown): string {
    return error instanceof ChatError ? (this.w.errors[error.code] ?? error.message) : String(error);
  }

  /** Does it, or says why not. `quiet`: only to those who look at the log of the browser. */
  async try<T>(what: () => Promise<T>, quiet = false): Promise<T | undefined> {
    try {
      return await what();
    } catch (error) {
      if (!quiet) this.say(this.why(error), true);
      else if (!(error instanceof ChatError)) throw error;
      return undefined;
    }
  }

  /** The same for what may be asked again when the server says so. */
  async patiently<T>(what: () => Promise<T>, quiet = false): Promise<T | undefined> {
    for (let turn = 0; turn < 20; turn++) {
      try {
        return await what();
      } catch (error) {
        if (!(error instanceof ChatError)) throw error;
        if (!error.passing || error.code === "offline") {
          if (error.code !== "offline" && !quiet) this.say(this.why(error), true);
          return undefined;
        }
        await new Promise((done) => setTimeout(done, error.again_ms ?? 500));
      }
    }
    return undefined;
  }

  say(text: string, bad = false): void {
    clearTimeout(this.#said_timer);
    this.said = { text, bad };
    this.#said_timer = setTimeout(() => { this.said = undefined; }, 6000);
  }
}
