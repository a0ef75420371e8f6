// One conversation, as one reader sees it.
//
// Job: let every event through once and in order, know where to go on after a lost connection. Called by `chat`, used by whoever uses the client.
//
// Invariants
// 1. What is told are offsets that grow by one; where they do not, `gap` or `reset` was told before.
// 2. `next` is never behind what was told: what comes twice is dropped.
// 3. A hole that nobody announced is asked for again once; a server that has not got it either makes it a gap.
//
// Not here: connections (`chat`), what a page makes of events.
import type { Chat } from "./chat.js";
import { Emitter } from "./emitter.js";
import type { Attachment, Joined, Kept, Page, Passing, Position, Written } from "./protocol.js";

type Named<E, N> = E extends { on: N } ? E : never;
/** What a room tells: each event under its name, all kept ones as `event`, and `reset`: forget what you have, the log is another or begins later. */
export type RoomEvents = { [N in (Kept | Passing)["on"]]: Named<Kept | Passing, N> } & { event: Kept; reset: Joined };

/** One typing notice at most every so often; it is shown for five seconds. */
const TYPING_MS = 3000;

export class Room extends Emitter<RoomEvents> {
  /** As its reader calls it; `@mina` changes with the name of whom one writes to. */
  name: string;
  /** What the last join said: topic, role, how far the log goes. */
  joined: Joined | undefined;
  #chat: Chat;
  #epoch = 0;
  #next = 0;
  /** A `gap` was told: the next offset may be any later one. */
  #jump = false;
  /** Events are let through: the answer to the last join of this connection came. */
  #live = false;
  /** Where a hole was found that nobody announced. */
  #hole = 0;
  #typed_ms = 0;

  constructor(chat: Chat, name: string) {
    super();
    this.#chat = chat;
    this.name = name;
  }

  /** The last offset that was told. What to keep to go on later with `join(room, { since })`. */
  get position(): Position | undefined {
    return this.#next > 0 ? { epoch: this.#epoch, offset: this.#next - 1 } : undefined;
  }

  /** Says something. It is queued while there is no connection; resolves when it is on the server's disk. */
  send(text: string, more: { reply?: number; files?: Attachment[]; action?: boolean; notice?: boolean } = {}): Promise<Written> {
    return this.#chat.queue("send", this.name, { text, ...more }).written;
  }
  edit(offset: number, text: string): Promise<Written> {
    return this.#chat.queue("edit", this.name, { offset, text }).written;
  }
  delete(offset: number): Promise<Written> {
    return this.#chat.queue("delete", this.name, { offset }).written;
  }
  react(offset: number, emoji: string, add = true): Promise<Written> {
    return this.#chat.queue("react", this.name, { offset, emoji, add }).written;
  }
  history(range: { before?: number; after?: number; limit?: number } = {}): Promise<Page> {
    return this.#chat.request("history", { room: this.name, ...range });
  }
  read(offset: number): Promise<unknown> {
    return this.#chat.request("read", { room: this.name, offset });
  }
  leave(): Promise<unknown> {
    return this.#chat.leave(this.name);
  }
  /** Tells the others that something is being written. May be called for every key. */
  typing(): void {
    const now = this.#chat.now();
    if (this.#chat.state !== "open" || now - this.#typed_ms < TYPING_MS) return;
    this.#typed_ms = now;
    this.#chat.request("typing", { room: this.name }).catch(() => {});
  }

  /** @internal The connection is gone. */
  paused(): void {
    this.#live = false;
  }

  /** @internal A join was answered. */
  entered(joined: Joined): void {
    const before = this.position;
    this.joined = joined;
    this.#live = true;
    this.#jump = false;
    if (!before || joined.reset || joined.epoch !== this.#epoch) {
      this.#epoch = joined.epoch;
      this.#next = joined.next;
      this.#hole = 0;
      if (before) this.tell("reset", joined);
    } else if (joined.next > this.#next) {
      this.#skip(this.#next, joined.next);
    }
    this.tell("joined", { on: "joined", ...joined });
  }

  /** @internal True when it was new. */
  heard(event: Kept): boolean {
    if (!this.#live) return false;
    if (event.epoch !== this.#epoch) return this.#ask();
    if (event.offset < this.#next) return false;
    if (event.offset > this.#next && !this.#jump) {
      if (this.#hole !== this.#next) return this.#ask();
      this.#skip(this.#next, event.offset);
    }
    this.#jump = false;
    this.#next = event.offset + 1;
    this.tell(event.on, event as never);
    this.tell("event", event);
    return true;
  }

  /** @internal */
  passed(event: Passing): void {
    if (event.on === "gap") this.#jump = true;
    this.tell(event.on, event as never);
  }

  #skip(from: number, to: number): void {
    this.#next = to;
    this.tell("gap", { on: "gap", room: this.name, from, to });
  }

  #ask(): false {
    this.#hole = this.#next;
    this.#live = false;
    this.#chat.rejoin(this);
    return false;
  }
}
