// One conversation as the page has it: what is loaded, who is there, what was read.
//
// Job: turn events of a room into what components show; load older and newer pieces. Made by `app`. Calls `fold`.
// Not here: which lines are in the document (Timeline), what waits to be sent (`app`).
import type { Arrived, ChatEvent, Joined, Kept, Member, Mine, Person, Role, Room } from "@madang/chat";
import type { App } from "./app.svelte";
import { Fold, type Line } from "./fold";

const PAGE = 60;
/** Lines that stay in memory while somebody reads at the end. */
const KEEP = 1500;
const TYPING_MS = 5000;

export class Talk {
  name = $state("");
  lines = $state.raw<readonly Line[]>([]);
  topic = $state("");
  hidden = $state(false);
  invite_only = $state(false);
  slow_ms = $state(0);
  role = $state<Role>("none");
  people = $state(0);
  members = $state.raw<Member[]>([]);
  typing = $state.raw<{ id: string; name: string; until: number }[]>([]);
  unread = $state(0);
  mentions = $state(0);
  /** What was new when this conversation was opened: the line "new" stands before the first message in it. */
  line = $state.raw<{ after: number; before: number } | undefined>();
  /** Nothing is known to be before what is loaded; and whether that is the very beginning, or what is kept begins there. */
  top = $state<"more" | "beginning" | "gone">("more");
  /** What is loaded reaches to the newest. */
  live = $state(true);
  loading = $state(false);
  last_ms = $state(0);
  joined = $state(false);
  /** Something happened at a line: Timeline goes there. */
  target = $state.raw<{ offset: number } | undefined>();
  read = 0;
  epoch = 0;
  #end = 1;
  /** The offset behind the newest that we heard of. */
  next = 1;
  #fold: Fold | undefined;
  #app: App;
  #told = 0;
  #read_timer: ReturnType<typeof setTimeout> | undefined;

  constructor(app: App, name: string) {
    this.#app = app;
    this.name = name;
  }

  get direct(): boolean { return this.name.startsWith("@"); }
  get title(): string { return this.name === "*" ? this.#app.w.announcements : this.direct ? this.name.slice(1) : this.name; }
  get room(): Room { return this.#app.chat.room(this.name); }
  get may_moderate(): boolean { return !this.direct && (this.role === "owner" || this.role === "moderator" || Boolean(this.#app.you?.admin)); }
  get may_write(): boolean { return this.name !== "*" || Boolean(this.#app.you?.admin); }

  mine(mine: Mine): void {
    this.topic = mine.topic;
    this.hidden = mine.private;
    this.role = mine.role;
    this.read = Math.max(this.read, mine.read);
    this.last_ms = Math.max(this.last_ms, mine.last?.at_ms ?? 0);
    if (!this.joined) {
      this.next = mine.next;
      this.unread = mine.unread;
      this.mentions = mine.mentions;
    }
  }

  enter(joined: Joined): void {
    this.topic = joined.topic;
    this.hidden = joined.private;
    this.invite_only = joined.invite_only;
    this.slow_ms = joined.slow_ms;
    this.role = joined.role;
    this.people = joined.people;
    if (!this.#fold || joined.reset) this.#begin(joined.next);
    this.epoch = joined.epoch;
    this.#end = joined.end;
    // Never here before: what was said earlier is not new to anybody.
    if (!this.joined && this.read === 0 && joined.next > 1) this.read = joined.next - 1;
    this.joined = true;
    if (this.#app.active === this.name) this.who();
  }

  left(): void {
    this.joined = false;
    this.#fold = undefined;
    this.lines = [];
  }

  #begin(next: number): void {
    this.#fold = new Fold(next);
    this.lines = [];
    this.next = next;
    this.live = true;
    this.top = next <= 1 ? "beginning" : "more";
  }

  // --- events ---

  heard(event: ChatEvent): void {
    switch (event.on) {
      case "presence":
        this.people = event.people;
        if (this.members.length) this.#present(event.joined ?? [], event.left ?? []);
        return;
      case "typing":
        if (event.by.id !== this.#app.you?.id) {
          this.typing = [...this.typing.filter(({ id }) => id !== event.by.id), { ...event.by, until: Date.now() + TYPING_MS }];
          setTimeout(() => { this.typing = this.typing.filter(({ until }) => until > Date.now()); }, TYPING_MS + 50);
        }
        return;
      case "read": this.seen(event.offset); return;
      case "gap": this.#fold?.gap(event.from, event.to); this.#show(); return;
      case "away": this.#away(event.by, event.text); return;
      case "joined": case "left": case "renamed": case "about": case "watched": return;
      default: this.#kept(event);
    }
  }

  #kept(event: Kept): void {
    this.next = event.offset + 1;
    this.#fold?.live(event);
    if (this.#fold && this.live && this.#fold.lines.length > KEEP && this.#app.at_end(this)) {
      this.#fold.trim(KEEP / 2);
      this.top = "more";
    }
    this.#show();
    this.typing = this.typing.filter(({ id }) => id !== event.by.id);
    switch (event.on) {
      case "message":
        this.last_ms = event.at_ms;
        if (event.by.id !== this.#app.you?.id && event.offset > this.read) {
          this.unread += 1;
          if (this.#app.is_called(event.mentions)) this.mentions += 1;
        }
        break;
      case "topic": this.topic = event.text; break;
      case "settings": this.hidden = event.private; this.invite_only = event.invite_only; this.slow_ms = event.slow_ms; break;
      case "role":
        if (event.who.id === this.#app.you?.id) this.role = event.role;
        this.members = this.members.map((one) => (one.id === event.who.id ? { ...one, role: event.role } : one));
        break;
      case "kicked": case "banned": this.members = this.members.filter(({ id }) => id !== event.who.id); break;
      default:
    }
  }

  #present(joined: Arrived[], left: Person[]): void {
    const gone = new Set(left.map(({ id }) => id)), come = new Set(joined.map(({ id }) => id));
    const known = this.members.map((one) => (come.has(one.id) ? { ...one, here: true } : gone.has(one.id) ? { ...one, here: false } : one));
    const there = new Set(known.map(({ id }) => id));
    this.members = [...known, ...joined.filter(({ id }) => !there.has(id)).map((one) => ({ role: "none" as const, ...one, here: true }))];
  }

  renamed(who: Person, name: string): void {
    this.members = this.members.map((one) => (one.id === who.id ? { ...one, name } : one));
  }

  #away(who: Person, text: string | undefined): void {
    this.members = this.members.map(({ away: _, ...one }) => (one.id === who.id && text !== undefined ? { ...one, away: text } : one));
  }

  async who(): Promise<void> {
    const answer = await this.#app.try(() => this.#app.chat.request("who", { room: this.name }), true);
    if (answer) this.members = answer.people;
  }

  // --- reading ---

  /** It is opened now: says what is new in it. */
  open(): void {
    const before = Math.max(this.#end, this.next);
    this.line = this.unread || this.read + 1 < before ? { after: this.read, before } : undefined;
  }

  /** Somebody looks at the newest: all of it is read. */
  look(): void {
    if (!this.#app.welcome) return;
    this.unread = this.mentions = 0;
    if (this.next - 1 <= this.read || !this.joined) return;
    this.read = this.next - 1;
    this.#read_timer ??= setTimeout(() => {
      this.#read_timer = undefined;
      if (this.read > this.#told) this.room.read((this.#told = this.read)).catch(() => { this.#told = 0; });
    }, 700);
  }

  /** Another connection of ours has read so far. */
  seen(offset: number): void {
    this.read = Math.max(this.read, offset);
    const rest = this.lines.filter((line) => line.offset > this.read && line.kind === "message" && line.by.id !== this.#app.you?.id);
    this.unread = Math.min(this.unread, rest.length);
    this.mentions = Math.min(this.mentions, rest.filter((line) => this.#app.is_called(line.mentions)).length);
  }

  // --- pieces of the log ---

  /** Loads what was said before, until there is something to see. */
  async older(): Promise<void> {
    const fold = this.#fold;
    if (!fold || this.loading || this.top !== "more") return;
    await this.#load(async () => {
      for (let seen = 0, turn = 0; seen < PAGE / 3 && turn < 6 && this.top === "more" && fold === this.#fold; turn++) {
        const page = await this.room.history({ before: fold.low, limit: PAGE });
        const before = fold.lines.length, low = page.events[0]?.offset ?? page.first;
        fold.page(page.events, Math.min(low, fold.low), fold.low, page.next);
        if (!page.more || !page.events.length) this.top = page.first > 1 ? "gone" : "beginning";
        seen += fold.lines.length - before;
        this.#show();
      }
    });
  }

  async newer(): Promise<void> {
    const fold = this.#fold;
    if (!fold || this.loading || this.live) return;
    await this.#load(async () => {
      const page = await this.room.history({ after: fold.high - 1, limit: PAGE });
      const high = (page.events.at(-1)?.offset ?? page.next - 1) + 1;
      fold.page(page.events, fold.high, high, page.next);
      if (fold.high >= this.next) this.live = true;
      this.#show();
    });
  }

  /** Goes to a message, loading the piece of the log around it. */
  async go(offset: number): Promise<void> {
    if (!this.#fold?.find(offset)) {
      await this.#load(async () => {
        const page = await this.room.history({ after: Math.max(0, offset - PAGE / 2), limit: PAGE });
        const low = page.events[0]?.offset, high = page.events.at(-1)?.offset;
        if (low === undefined || high === undefined) return;
        const fold = (this.#fold = new Fold(low));
        fold.page(page.events, low, high + 1, page.next);
        this.live = high + 1 >= this.next;
        this.top = low > page.first ? "more" : page.first > 1 ? "gone" : "beginning";
        this.#show();
      });
    }
    this.target = { offset };
  }

  /** Back to the newest. */
  async newest(): Promise<void> {
    if (this.live) return;
    this.#begin(this.next);
    await this.older();
  }

  find(offset: number): Line | undefined {
    return this.#fold?.find(offset);
  }

  async #load(what: () => Promise<void>): Promise<void> {
    this.loading = true;
    await this.#app.try(what, true);
    this.loading = false;
  }

  #show(): void {
    this.lines = this.#fold?.lines ?? [];
  }
}
