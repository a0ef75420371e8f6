// How long to wait before the next attempt to connect. Pure. Used by `chat`.

/** Close codes after which the connection is not made again: we were logged out or replaced. */
const FINAL = new Set([4002]);
/** Our own frame was refused: what is in flight may be the reason. */
const BLAMED = new Set([1002, 1003, 1007, 1008, 1009]);
/** The server found us troublesome: come back slowly. */
const SCOLDED = 4003;

export type Verdict = "stop" | "blamed" | "slowly" | "again";

/** What the code of a close means for us. */
export function verdict(code: number): Verdict {
  return FINAL.has(code) ? "stop" : BLAMED.has(code) ? "blamed" : code === SCOLDED ? "slowly" : "again";
}

/**
 * Milliseconds before attempt number `tries` (0 is the first after a loss): anything between nothing and a bound that doubles from `first_ms` up to
 * `most_ms`. The whole range is used ("full jitter"), so that a thousand clients of a server that was restarted do not come back at once.
 */
export function wait_ms(tries: number, random: number, first_ms: number, most_ms: number): number {
  return Math.floor(random * Math.min(most_ms, first_ms * 2 ** Math.min(tries, 30)));
}
