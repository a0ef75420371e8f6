// The connection to a chat: made, lost, made again.
//
// Job: say hello, ask and match answers, give events to their rooms, come back after a loss and take up everything where it was.
// Calls `room`, `outbox`, `backoff`. Used by whoever uses the client.
//
// Invariants
// 1. At most one socket is listened to; what an older one still says is not heard.
// 2. A request is settled exactly once: by its answer, by its time limit, or because the connection was lost.
// 3. What carries a nonce survives the connection (`outbox`); where a room was survives it too (`room`).
// 4. Answers and events are handled as they come, without a promise in between: several frames may arrive in one turn.
//
// Not here: bytes. Reading is never paused (a browser cannot): who is too slow is cut by the server (4000) and goes on where it was.
import { verdict, wait_ms } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { ChatError } from "./errors.js";
import { Outbox, type Pending, type Store } from "./outbox.js";
import type { Attachment, ChatEvent, Hello, Joined, Kept, Lasting, Limits, Person, Position, Requests, Written, You } from "./protocol.js";
import { Room } from "./room.js";
import { upload } from "./upload.js";

export type State = "closed" | "connecting" | "open" | "waiting" | "refused";
/** Whatever makes a WebSocket: the browser's, Node's, or that of the package `ws`. */
export type SocketMaker = new (url: string, protocols?: string | string[]) => SocketLike;
export interface SocketLike {
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}
/** Time, for tests. */
export interface Clock { now(): number; after(ms: number, then: () => void): () => void }

export interface Options {
  /** The name a guest wants. Not needed with a token, a key or a signed-in cookie. */
  name?: string;
  /** What shows who we are, or how to get it. `again`: the last one was refused. */
  token?: string | ((again: boolean) => string | undefined | Promise<string | undefined>);
  /** The key of a guest. Left out: the one kept in `storage`. */
  key?: string;
  /** Needed where there is no global WebSocket (Node before 22). */
  WebSocket?: SocketMaker;
  /** Where the guest's key is kept. Default: localStorage if there is one; null: nowhere. */
  storage?: Store | null;
  /** Keep what waits in `storage` too, so that it is sent after a reload of the page. Default: no. */
  persist?: boolean;
  /** How long an answer may take, in milliseconds. Default 15,000. */
  timeout_ms?: number;
  /** After so long a silence the connection is tried. Default 45,000. */
  quiet_ms?: number;
  /** Attempts to come back are spread over a time that grows from `first_ms` (500) to `most_ms` (30,000). */
  first_ms?: number;
  most_ms?: number;
  /** What may wait to be sent. Default 1,000. */
  queue_max?: number;
  random?: () => number;
  clock?: Clock;
}
export interface ChatEvents {
  state: State;
  /** The server knows us: at the first connection and every later one, before rooms go on. */
  ready: Hello;
  /** We are not let in, and trying again would not help. `open` with another name, key or token. */
  refused: ChatError;
  /** The connection was lost. */
  lost: { code: number; reason: string; again_ms: number };
  /** We are in a room from now on, by whatever way. */
  joined: Room;
  left: { room: string; why?: string };
  /** Every event of every room, after the room told it. */
  event: ChatEvent;
  /** What waits has changed. */
  outbox: Pending[];
  /** What a page that is gone left behind, and is too old to be sent unasked or was refused. */
  unsent: Pending[];
}
export interface Queued { nonce: string; written: Promise<Written> }

const CLOCK: Clock = {
  now: () => Date.now(),
  after: (ms, then) => { const timer = setTimeout(then, ms); return () => clearTimeout(timer); },
};
/** A connection that lived so long was a good one: the next attempts begin anew. */
const GOOD_MS = 10_000;
/** Requests under way at most; bytes that wait in the socket at most before the queue waits too. */
const ASKED_MAX = 200, BUFFERED_MAX = 262_144;
/** Unsent things of a page that is gone are said again up to this age. */
const AGE_MS = 6 * 3_600_000;
const FIRST_SLOW = 5;
/** A page has so long to enter the rooms for which an earlier one left something to be sent. */
const HURRY_MS = 3000;

interface Asked { done(ok: never): void; failed(error: ChatError): void; stop(): void }

export class Chat extends Emitter<ChatEvents> {
  state: State = "closed";
  /** Who we are; from the first `ready` on. */
  you: You | undefined;
  limits: Limits | undefined;
  /** Add to `Date.now()` to have the server's clock. */
  skew_ms = 0;
  readonly rooms = new Map<string, Room>();
  /** Where the chat is: its address with a slash at the end. */
  readonly base: URL;

  #options: Options;
  #clock: Clock;
  #random: () => number;
  #store: Store | undefined;
  #outbox: Outbox;
  #socket: SocketLike | undefined;
  #turn = 0;
  #tries = 0;
  #ids = 0;
  #asked = new Map<number, Asked>();
  #timers = new Map<string, () => void>();
  #token: string | undefined;
  #token_again = false;
  #stale = 0;
  #deaf: (() => void) | undefined;
  #joining = new Map<string, Promise<Room>>();

  /** `address`: of the chat's page (`https://example.org/chat/`), or of its socket (`wss://example.org/chat/ws`). */
  constructor(address: string | URL, options: Options = {}) {
    super();
    const page = (globalThis as { document?: { baseURI: string } }).document?.baseURI;
    const url = new URL(address, page);
    url.protocol = url.protocol.replace("ws", "http");
    url.hash = url.search = "";
    url.pathname = url.pathname.replace(/\/ws$/, "/").replace(/\/?$/, "/");
    this.base = url;
    this.#options = { ...options };
    this.#clock = options.clock ?? CLOCK;
    this.#random = options.random ?? Math.random;
    this.#store = options.storage === undefined ? local() : options.storage ?? undefined;
    this.#outbox = new Outbox({
      open: () => this.state === "open" && (this.#socket?.bufferedAmount ?? 0) < BUFFERED_MAX,
      ready: (room) => /^[@*]/.test(room) || this.rooms.get(room)?.joined !== undefined,
      enter: (room) => void this.join(room).then(() => this.#outbox.flush(), (error: ChatError) => {
        if (!error.passing) this.#outbox.refuse(room, error);
        else if (error.code !== "offline") this.#clock.after(error.again_ms ?? 1000, () => this.#outbox.flush());
      }),
      unheard: (item) => this.tell("unsent", [item]),
      say: ({ do: what, room, fields, nonce }, done, failed) =>
        this.#ask(what, what === "announce" ? { ...fields, nonce } : { room, ...fields, nonce }, done, failed, true),
      after: (ms, then) => this.#clock.after(ms, then),
      changed: () => this.tell("outbox", this.outbox),
    }, options.queue_max ?? 1000, options.persist ? this.#store : undefined, `madang.out ${url.href} `);
  }

  now(): number {
    return this.#clock.now();
  }
  /** What waits to be sent or answered. */
  get outbox(): Pending[] {
    return this.#outbox.items;
  }

  /** Connects, and stays connected until `close`. Another claim than before may be given: `open({ name: "mina" })`. */
  open(claim: Pick<Options, "name" | "key" | "token"> = {}): this {
    if (claim.name || claim.token) delete this.#options.key;
    Object.assign(this.#options, claim);
    if (this.#socket || this.state === "waiting") this.#drop();
    this.#listen();
    this.#dial();
    return this;
  }

  /** Ends the connection and makes no other. What waits is kept. */
  close(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    this.#drop(1000);
    this.#to("closed");
  }

  /** Forgets the guest's key: the next `open` is somebody else. */
  forget(): void {
    delete this.#options.key;
    delete this.#options.name;
    this.#keep(undefined);
  }

  /** Asks. Fails with `offline` when there is no connection: what must not be lost goes through rooms' `send` and the like. */
  request<N extends keyof Requests>(name: N, fields: Requests[N][0]): Promise<Requests[N][1]> {
    return new Promise((done, failed) => {
      if (this.state === "open") this.#ask(name, fields, done, failed, false);
      else failed(new ChatError("offline", "there is no connection"));
    });
  }

  /** Says something once, however often the connection breaks: queues it, and says it again with the same nonce until it is answered. */
  queue(what: Lasting, room: string, fields: Record<string, unknown>): Queued {
    const nonce = this.nonce();
    const text = fields["text"], max = this.limits?.message_bytes;
    if (typeof text === "string" && max && new TextEncoder().encode(text).length > max) {
      return { nonce, written: Promise.reject(new ChatError("too-long", `a message may have ${max} bytes`)) };
    }
    return { nonce, written: this.#outbox.add({ nonce, do: what, room, fields, at_ms: this.now(), by: this.you?.id }) };
  }
  announce(text: string): Promise<Written> {
    return this.queue("announce", "*", { text }).written;
  }
  /** Takes back what waits and was not said yet. */
  cancel(nonce: string): boolean {
    return this.#outbox.cancel(nonce);
  }

  /** Enters a room, with `since` exactly where another connection ended. A room we are in already is given back as it is. */
  join(name: string, more: { since?: Position } = {}): Promise<Room> {
    const there = this.rooms.get(name);
    if (there?.joined) return Promise.resolve(there);
    // Asked for twice at once it is one join: a second one without `since` would skip what the first one asked for.
    let joining = this.#joining.get(name);
    if (!joining) {
      joining = this.#enter("join", { room: name, ...more }).finally(() => this.#joining.delete(name));
      this.#joining.set(name, joining);
    }
    return joining;
  }
  /** Makes a room and enters it. */
  create(name: string, more: Omit<Requests["create"][0], "room"> = {}): Promise<Room> {
    return this.#enter("create", { room: name, ...more });
  }
  /** The room of this name to talk to, joined or not (`@mina` needs no joining). */
  room(name: string): Room {
    let room = this.rooms.get(name);
    if (!room) this.rooms.set(name, (room = new Room(this, name)));
    return room;
  }
  async leave(name: string): Promise<void> {
    await this.request("leave", { room: name });
    this.rooms.delete(name);
  }

  /** Brings a file to the server; what comes back goes into `send`. `told` hears parts of 1 where the browser can say it. */
  upload(file: Blob, name: string, told?: (part: number) => void): Promise<Attachment> {
    const claim = this.#token ? { authorization: `Bearer ${this.#token}` } : this.#key() ? { "madang-key": this.#key() as string } : {};
    return upload(new URL(`files?name=${encodeURIComponent(name)}`, this.base), file, claim as Record<string, string>, told);
  }

  /** Something nobody said before. */
  nonce(): string {
    const bytes = new Uint8Array(16);
    if (this.#options.random || !globalThis.crypto) for (const at of bytes.keys()) bytes[at] = this.#random() * 256;
    else globalThis.crypto.getRandomValues(bytes);
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** @internal A room found a hole. */
  rejoin(room: Room): void {
    const since = room.position;
    this.#insist({ room: room.name, ...(since && { since }) }, room);
  }

  // --- the connection ---

  #dial(): void {
    const turn = ++this.#turn;
    const Maker = this.#options.WebSocket ?? (globalThis as { WebSocket?: SocketMaker }).WebSocket;
    if (!Maker) throw new ChatError("no-websocket", "give a WebSocket as an option");
    const url = new URL("ws", this.base);
    url.protocol = url.protocol.replace("http", "ws");
    this.#to("connecting");
    const socket = (this.#socket = new Maker(url.href, "madang.chat.v1"));
    const mine = (then: (event: { data?: unknown; code?: number; reason?: string }) => void) =>
      (event: never) => { if (turn === this.#turn) then(event); };
    socket.onopen = mine(() => void this.#hello(turn));
    socket.onmessage = mine(({ data }) => this.#heard(data));
    socket.onclose = mine(({ code, reason }) => this.#lost(code ?? 1006, reason ?? ""));
    // A close follows, with a reason; but not in every Node.
    socket.onerror = mine(() => this.#timer("dead", 100, () => this.#lost(1006, "failed")));
    this.#timer("dead", this.#limit(), () => this.#lost(1006, "no answer"));
  }

  async #hello(turn: number): Promise<void> {
    const { name, token } = this.#options;
    const claim: Requests["hello"][0] = {};
    try {
      this.#token = typeof token === "function" ? await token(this.#token_again) : token;
    } catch {
      if (turn === this.#turn) this.#lost(1006, "no token");
      return;
    }
    if (turn !== this.#turn) return;
    if (this.#token) claim.token = this.#token;
    else {
      const key = this.#key();
      const known = this.#kept()?.name ?? name;
      if (known) claim.name = known;
      if (key) claim.key = key;
    }
    this.#ask("hello", claim, (ok: Hello) => this.#welcome(ok), (error) => this.#unwelcome(error), true);
  }

  #welcome(hello: Hello): void {
    const before = this.you?.id;
    this.you = hello.you;
    this.limits = hello.limits;
    this.skew_ms = hello.now_ms - this.now();
    this.#token_again = false;
    this.#stale = 0;
    if (hello.key) {
      Object.assign(this.#options, { name: hello.you.name, key: hello.key });
      this.#keep({ name: hello.you.name, key: hello.key });
    }
    this.#timer("dead");
    this.#timer("good", GOOD_MS, () => { this.#tries = 0; });
    this.#quiet();
    // Direct messages are named as their reader sees them: for somebody else they are others.
    if (before && before !== hello.you.id) for (const name of this.rooms.keys()) if (name.startsWith("@")) this.rooms.delete(name);
    this.#to("open");
    const old = this.#outbox.recall(hello.you.id, this.now(), AGE_MS);
    this.tell("ready", hello);
    if (old.length) this.tell("unsent", old);
    for (const room of this.rooms.values()) if (room.joined) this.rejoin(room);
    this.#outbox.flush();
    this.#timer("hurry", HURRY_MS, () => this.#outbox.hurry());
  }

  #unwelcome(error: ChatError): void {
    const { code } = error;
    if (error.passing) this.#lost(1013, code, error.again_ms);
    else if (code === "bad-key" && this.#key() && this.#stale++ < 1) {
      const name = this.#kept()?.name;
      this.#keep(undefined);
      delete this.#options.key;
      if (name && !this.#options.name) this.#options.name = name;
      this.#lost(1013, code, 0);
    } else if (/^(bad-token|token-expired)$/.test(code) && typeof this.#options.token === "function" && this.#stale++ < 1) {
      this.#token_again = true;
      this.#lost(1013, code, 0);
    } else {
      this.#drop(1000);
      this.#to("refused");
      this.tell("refused", error);
    }
  }

  #lost(code: number, reason: string, again_ms?: number): void {
    const what = verdict(code);
    this.#drop(undefined, what === "blamed");
    if (what === "stop") {
      this.#to("refused");
      this.tell("refused", new ChatError("replaced", reason || "logged out, or open elsewhere"));
      return;
    }
    if (what === "slowly") this.#tries = Math.max(this.#tries, FIRST_SLOW);
    const { first_ms = 500, most_ms = 30_000 } = this.#options;
    const ms = Math.max(again_ms ?? 0, again_ms === 0 ? 0 : wait_ms(this.#tries++, this.#random(), first_ms, most_ms));
    this.#to("waiting");
    this.#timer("again", ms, () => this.#dial());
    this.tell("lost", { code, reason, again_ms: ms });
  }

  /** Lets go of the socket, and settles all that was asked over it. */
  #drop(code?: number, blamed = false): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#turn++;
    for (const name of [...this.#timers.keys()]) this.#timer(name);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
      try { socket.close(code); } catch { /* it was not open */ }
    }
    for (const room of this.rooms.values()) room.paused();
    if (this.state === "open") this.state = "waiting"; // nothing may be said from the callbacks below
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    this.#outbox.lost(blamed);
    for (const one of asked) { one.stop(); one.failed(new ChatError("offline", "the connection was lost")); }
  }

  #heard(data: unknown): void {
    if (typeof data !== "string") return;
    this.#quiet();
    let said: { id?: number; ok?: never; error?: { name: string; text: string; again_ms?: number }; on?: string; room?: string };
    try { said = JSON.parse(data); } catch { return; }
    if (said.id !== undefined) {
      const asked = this.#asked.get(said.id);
      if (!asked) return;
      this.#asked.delete(said.id);
      asked.stop();
      if (said.error) asked.failed(new ChatError(said.error.name, said.error.text, said.error.again_ms));
      else asked.done(said.ok as never);
    } else if (said.on) this.#event(said as unknown as ChatEvent);
  }

  #event(event: ChatEvent): void {
    if (event.on === "joined") return void this.#entered(event);
    if (event.on === "renamed") this.#renamed(event.by, event.name);
    const room = event.room ? this.rooms.get(event.room) : undefined;
    if ("offset" in event && "epoch" in event) {
      if (!room?.heard(event as Kept)) return;
    } else if (event.on === "left") {
      room?.passed(event);
      this.rooms.delete(event.room);
      this.tell("left", event);
    } else room?.passed(event);
    this.tell("event", event);
    if (this.#outbox.items.length) this.#outbox.flush();
  }

  /** Somebody has another name: ours is the one we come back by, another's the one by which we write to them. */
  #renamed(by: Person, name: string): void {
    if (by.id === this.you?.id) {
      this.you = { ...this.you, name };
      const key = this.#key();
      if (this.#options.name !== undefined) this.#options.name = name;
      if (key) this.#keep({ name, key });
      return;
    }
    const room = this.rooms.get(`@${by.name}`);
    if (!room) return;
    this.rooms.delete(room.name);
    room.name = `@${name}`;
    this.rooms.set(room.name, room);
  }

  #enter(what: "join" | "create", fields: { room: string }): Promise<Room> {
    return new Promise((done, failed) => {
      if (this.state !== "open") failed(new ChatError("offline", "there is no connection"));
      else this.#ask(what, fields, (ok: Joined) => done(this.#entered(ok)), failed, false);
    });
  }

  #entered(joined: Joined): Room {
    const room = this.room(joined.room);
    const fresh = !room.joined;
    room.entered(joined);
    if (fresh) this.tell("joined", room);
    this.#outbox.flush();
    return room;
  }

  /** Joins again after a loss, as often as the server asks for patience. */
  #insist(fields: { room: string; since?: Position }, room: Room): void {
    const turn = this.#turn;
    this.#ask("join", fields, (ok: Joined) => void this.#entered(ok), (error) => {
      if (turn !== this.#turn || this.rooms.get(fields.room) !== room) return;
      if (error.passing) {
        this.#clock.after(error.again_ms ?? 1000, () => { if (turn === this.#turn) this.#insist(fields, room); });
        return;
      }
      this.rooms.delete(fields.room);
      const left = { on: "left" as const, room: fields.room, why: error.code };
      room.passed(left);
      this.tell("left", left);
    }, true);
  }

  #ask(name: string, fields: object, done: (ok: never) => void, failed: (error: ChatError) => void, vital: boolean): void {
    const socket = this.#socket;
    if (!socket) return failed(new ChatError("offline", "there is no connection"));
    if (this.#asked.size >= ASKED_MAX) return failed(new ChatError("busy", `${ASKED_MAX} wait already`, 100));
    const id = ++this.#ids;
    const stop = this.#clock.after(this.#limit(), () => {
      if (!this.#asked.delete(id)) return;
      // Something that must be answered and is not: this connection is dead, whatever it says.
      failed(new ChatError("timeout", `no answer within ${this.#limit()} ms`, vital ? 0 : undefined));
      if (vital && socket === this.#socket) this.#lost(1006, "no answer");
    });
    this.#asked.set(id, { done, failed, stop });
    try {
      socket.send(JSON.stringify({ do: name, id, ...fields }));
    } catch { /* it is closing: the close settles this */ }
  }

  // --- small things ---

  #to(state: State): void {
    if (state === this.state && state !== "waiting") return;
    this.state = state;
    this.tell("state", state);
  }

  #limit(): number {
    return this.#options.timeout_ms ?? 15_000;
  }

  /** Sets, or without a time ends, the timer of this name. */
  #timer(name: string, ms?: number, then?: () => void): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
    if (then) this.#timers.set(name, this.#clock.after(ms ?? 0, () => { this.#timers.delete(name); then(); }));
  }

  #quiet(): void {
    this.#timer("quiet", this.#options.quiet_ms ?? 45_000, () => this.#probe());
  }

  /** Is anybody there? A connection that does not answer is given up. */
  #probe(): void {
    if (this.state === "open") this.#ask("ping", {}, () => {}, () => {}, true);
  }

  /** A browser says when the network is back and when the page is looked at again: then nobody should wait. */
  #listen(): void {
    const page = globalThis as { addEventListener?: typeof addEventListener; removeEventListener?: typeof removeEventListener; document?: Document };
    if (this.#deaf || !page.addEventListener) return;
    const wake = () => {
      if (this.state === "waiting") {
        this.#timer("again");
        this.#dial();
      } else this.#probe();
    };
    const seen = () => { if (page.document?.visibilityState === "visible") wake(); };
    // "offline" is not believed: the server may be on this very machine. It is asked.
    const probe = () => this.#probe();
    page.addEventListener("online", wake);
    page.addEventListener("offline", probe);
    page.document?.addEventListener("visibilitychange", seen);
    this.#deaf = () => {
      page.removeEventListener?.("online", wake);
      page.removeEventListener?.("offline", probe);
      page.document?.removeEventListener("visibilitychange", seen);
    };
  }

  #key(): string | undefined {
    return this.#options.key ?? this.#kept()?.key;
  }
  /** The guest of this browser, unless another name is wanted. */
  #kept(): { name: string; key: string } | undefined {
    try {
      const kept = JSON.parse(this.#store?.getItem(`madang.guest ${this.base.href}`) ?? "null") as { name: string; key: string } | null;
      const { name } = this.#options;
      return kept && (!name || same(name, kept.name)) ? kept : undefined;
    } catch {
      return undefined;
    }
  }
  #keep(guest: { name: string; key: string } | undefined): void {
    const at = `madang.guest ${this.base.href}`;
    try {
      if (guest) this.#store?.setItem(at, JSON.stringify(guest));
      else this.#store?.removeItem(at);
    } catch { /* not kept: the next page is another guest */ }
  }
}

const same = (a: string, b: string) => a.normalize("NFKC").toLowerCase() === b.normalize("NFKC").toLowerCase();

function local(): Store | undefined {
  try {
    return (globalThis as { localStorage?: Store }).localStorage;
  } catch {
    return undefined;
  }
}
