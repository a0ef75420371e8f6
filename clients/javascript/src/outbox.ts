// What was said and is not on the server's disk yet.
//
// Job: keep what carries a nonce until it is answered, in order for each conversation, over lost connections and (when wanted) over reloads of the page.
// Called by `chat`. Calls storage, and `chat` to say something.
//
// Invariants
// 1. In each conversation at most one is under way: a refusal that passes cannot turn the order around.
// 2. An item leaves when it was answered, refused for good, or cancelled before it was said. Said again, it has the same nonce: it is done once.
// 3. At most `max` items.
//
// Not here: when there is a connection (`chat`).
import { ChatError } from "./errors.js";
import type { Lasting, Written } from "./protocol.js";

/** One thing that waits. */
export interface Pending {
  readonly nonce: string;
  readonly do: Lasting;
  readonly room: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** When it was said here, in milliseconds since 1970. */
  readonly at_ms: number;
  /** Who said it, when that was known. */
  readonly by?: string | undefined;
}
/** What `localStorage` is; anything with these will do. */
export interface Store {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}
interface Item extends Pending {
  done?: (written: Written) => void;
  failed?: (error: ChatError) => void;
  /** How often the connection was closed with blame while this was under way. */
  blamed: number;
  /** An earlier page said it: it waits until this one has entered its rooms, which may know better where to go on. */
  patient: boolean;
}
interface Lane { items: Item[]; busy: boolean; paused: (() => void) | undefined; tries: number }

/** What the outbox needs of the connection. */
export interface Way {
  open(): boolean;
  /** Whether something may be said there now. */
  ready(room: string): boolean;
  /** Goes there; then `flush`, or `refuse`. */
  enter(room: string): void;
  /** Something failed, and whoever said it is gone. */
  unheard(item: Pending): void;
  say(item: Pending, done: (written: Written) => void, failed: (error: ChatError) => void): void;
  after(ms: number, then: () => void): () => void;
  changed(): void;
}
/** A connection that breaks this often because of one item breaks because of it. */
const BLAMED_MAX = 2;
/** Slow mode may ask for patience up to this; longer, and it is better to tell the person. */
const PATIENCE_MS = 60_000;

export class Outbox {
  #lanes = new Map<string, Lane>();
  #way: Way;
  #store: Store | undefined;
  #prefix: string;
  #max: number;

  constructor(way: Way, max: number, store: Store | undefined, prefix: string) {
    this.#way = way;
    this.#max = max;
    this.#store = store;
    this.#prefix = prefix;
  }

  /** All that wait, oldest first in each conversation. */
  get items(): Pending[] {
    return [...this.#lanes.values()].flatMap((lane) => lane.items);
  }

  add(pending: Pending): Promise<Written> {
    return new Promise((done, failed) => {
      if (this.items.length >= this.#max) {
        failed(new ChatError("full", `${this.#max} wait already`));
        return;
      }
      this.#put({ ...pending, done, failed, blamed: 0, patient: false });
      this.#keep(pending);
      this.#way.changed();
      this.flush();
    });
  }

  /** Takes up what an earlier page of the same person left behind, up to `age_ms` old. Gives back what is too old to be said now. */
  recall(by: string, now_ms: number, age_ms: number): Pending[] {
    const old: Pending[] = [], found: Pending[] = [], store = this.#store;
    const here = new Set(this.items.map((item) => item.nonce));
    for (let at = 0; store && at < store.length; at++) {
      const key = store.key(at);
      if (!key?.startsWith(this.#prefix) || here.has(key.slice(this.#prefix.length))) continue;
      try {
        const item = JSON.parse(store.getItem(key) ?? "") as Pending;
        if (item.by === by) (now_ms - item.at_ms > age_ms ? old : found).push(item);
      } catch { /* not ours */ }
    }
    for (const item of old) this.#forget(item);
    for (const item of found.sort((a, b) => a.at_ms - b.at_ms)) this.#put({ ...item, blamed: 0, patient: true });
    if (found.length) this.#way.changed();
    return old;
  }

  /** Takes back what was not said yet. False: it is under way, or was never here. */
  cancel(nonce: string): boolean {
    for (const lane of this.#lanes.values()) {
      const at = lane.items.findIndex((item) => item.nonce === nonce);
      if (at < 0 || (at === 0 && lane.busy)) continue;
      this.#end(lane, lane.items[at] as Item)?.failed?.(new ChatError("cancelled", "taken back"));
      return true;
    }
    return false;
  }

  /** Those of an earlier page have waited long enough. */
  hurry(): void {
    for (const lane of this.#lanes.values()) for (const item of lane.items) item.patient = false;
    this.flush();
  }

  /** Nothing can be said there. */
  refuse(room: string, error: ChatError): void {
    const lane = this.#lanes.get(room);
    for (const item of [...(lane?.items ?? [])]) this.#fail(lane as Lane, item, error);
  }

  /** Says what can be said now. */
  flush(): void {
    for (const lane of this.#lanes.values()) this.#next(lane);
  }

  /** The connection is gone: nothing is under way any more. `blamed`: it was closed because of something we said. */
  lost(blamed: boolean): void {
    for (const lane of this.#lanes.values()) {
      const head = lane.items[0];
      if (lane.busy && head && blamed && ++head.blamed >= BLAMED_MAX) {
        this.#fail(lane, head, new ChatError("malformed", "the server cannot take this"));
      }
      lane.busy = false;
      lane.paused?.();
      lane.paused = undefined;
    }
  }

  #put(item: Item): void {
    let lane = this.#lanes.get(item.room);
    if (!lane) this.#lanes.set(item.room, (lane = { items: [], busy: false, paused: undefined, tries: 0 }));
    lane.items.push(item);
  }

  #next(lane: Lane): void {
    const item = lane.items[0];
    if (!item || lane.busy || lane.paused || !this.#way.open()) return;
    if (!this.#way.ready(item.room)) {
      if (!item.patient) this.#way.enter(item.room);
      return;
    }
    lane.busy = true;
    this.#way.say(item, (written) => {
      lane.busy = false;
      lane.tries = 0;
      this.#end(lane, item)?.done?.(written);
      this.#next(lane);
    }, (error) => {
      if (error.code === "offline") return; // `lost` has seen to it; it is said again
      lane.busy = false;
      if (error.passing && (error.again_ms ?? 0) <= PATIENCE_MS) {
        const ms = error.again_ms ?? Math.min(30_000, 250 * 2 ** lane.tries++);
        lane.paused = this.#way.after(ms, () => { lane.paused = undefined; this.#next(lane); });
        return;
      }
      this.#fail(lane, item, error);
      this.#next(lane);
    });
  }

  #fail(lane: Lane, item: Item, error: ChatError): void {
    if (!this.#end(lane, item)) return;
    if (item.failed) item.failed(error);
    else this.#way.unheard(item);
  }

  #end(lane: Lane, item: Item): Item | undefined {
    const at = lane.items.indexOf(item);
    if (at < 0) return undefined;
    lane.items.splice(at, 1);
    if (!lane.items.length && this.#lanes.get(item.room) === lane) this.#lanes.delete(item.room);
    this.#forget(item);
    this.#way.changed();
    return item;
  }

  #keep({ nonce, do: what, room, fields, at_ms, by }: Pending): void {
    // A full or forbidden storage must not stop anybody from talking.
    try { this.#store?.setItem(this.#prefix + nonce, JSON.stringify({ nonce, do: what, room, fields, at_ms, by })); } catch { /* not kept */ }
  }

  #forget(item: Pending): void {
    try { this.#store?.removeItem(this.#prefix + item.nonce); } catch { /* nor was it kept */ }
  }
}
