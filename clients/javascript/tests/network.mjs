// A world of its own for tests: time that is turned on by hand, sockets that break, answers that come late. One seed repeats everything.
//
// Used by the tests here. Calls the town.

export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export class World {
  #tasks = [];
  #order = 0;
  time = 1_700_000_000_000;
  clock = { now: () => this.time, after: (ms, then) => this.after(ms, then) };

  after(ms, then) {
    const task = { at: this.time + ms, order: ++this.#order, then };
    this.#tasks.push(task);
    return () => { this.#tasks = this.#tasks.filter((one) => one !== task); };
  }

  /** Lets time pass. Promises are settled after every task. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      await settled();
      const next = this.#tasks.filter((one) => one.at <= end).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!next) break;
      this.#tasks = this.#tasks.filter((one) => one !== next);
      this.time = Math.max(this.time, next.at);
      next.then();
    }
    this.time = end;
  }
}

const settled = async () => { for (let turn = 0; turn < 10; turn++) await Promise.resolve(); };

/**
 * A class of sockets to `town`. `faults()` gives, for each frame, `{ delay_ms, cut }`: cut: the connection breaks there, and both sides
 * hear of it later. What is under way when it breaks may or may not have arrived: as in life.
 */
export function sockets(world, town, faults = () => ({ delay_ms: 1, cut: false }), seen = () => {}) {
  return class Socket {
    bufferedAmount = 0;
    onopen = null; onmessage = null; onclose = null; onerror = null;
    #up = 0; #down = 0; #side = undefined; #state = "connecting";

    constructor(url, protocol) {
      seen({ url, protocol, socket: this });
      world.after(5, () => {
        if (this.#state !== "connecting") return;
        if (faults("open").cut) return this.#break(1006, 5);
        this.#state = "open";
        this.#side = town.connect({ send: (text) => this.#carry("down", text), close: (code) => this.#break(code, 1) });
        this.onopen?.();
      });
    }

    send(text) {
      if (this.#state === "open") this.#carry("up", text);
    }

    close() {
      if (this.#state !== "closed") this.#break(1000, 1);
    }

    #carry(way, text) {
      const { delay_ms, cut } = faults(way, text);
      // Order is kept on one connection, whatever the delays.
      const at = Math.max(world.time + delay_ms, way === "up" ? this.#up : this.#down);
      if (way === "up") this.#up = at; else this.#down = at;
      world.after(at - world.time, () => {
        if (this.#state !== "open") return;
        if (way === "up") this.#side.message(text); else this.onmessage?.({ data: text });
      });
      if (cut) world.after(Math.floor(delay_ms / 2), () => this.#break(1006, 3));
    }

    #break(code, ms) {
      if (this.#state === "closed") return;
      this.#state = "closed";
      this.#side?.gone();
      world.after(ms, () => this.onclose?.({ code, reason: "" }));
    }
  };
}

export class MemoryStore {
  #map = new Map();
  get length() { return this.#map.size; }
  key(at) { return [...this.#map.keys()][at] ?? null; }
  getItem(key) { return this.#map.get(key) ?? null; }
  setItem(key, value) { this.#map.set(key, String(value)); }
  removeItem(key) { this.#map.delete(key); }
}
