// The messages of a conversation out of the entries of its log. Pure.
//
// Job: take entries in any order of pages (newest page first, older ones later, live ones as they come) and say what is to be seen.
// Used by `talk`.
//
// Invariants
// 1. What is loaded is one piece of the log without holes: from `low` to before `high`.
// 2. An edit, a removal or a reaction counts when it is newer than what is known, whatever came first.
import type { Attachment, Kept, Person } from "@madang/chat";

export interface Reacted { emoji: string; by: Person[] }
/** One thing to be seen. It is replaced when it changes, never changed. */
export interface Line {
  readonly offset: number;
  readonly at_ms: number;
  readonly by: Person;
  readonly kind: "message" | "removed" | "notice" | "gap";
  readonly text: string;
  readonly edited: boolean;
  readonly action: boolean;
  /** It wants no answer and is shown quieter. */
  readonly quiet: boolean;
  readonly reply: number | undefined;
  readonly files: readonly Attachment[];
  readonly mentions: readonly string[];
  readonly reactions: readonly Reacted[];
  readonly event: Kept | undefined;
}

export class Fold {
  lines: readonly Line[] = [];
  low: number;
  high: number;
  /** How far the log went when each line was loaded: edits before that are in it already. */
  #known = new Map<number, number>();
  #reactions = new Map<number, Map<string, Map<string, { who: Person; add: boolean; offset: number }>>>();

  constructor(next: number) {
    this.low = this.high = next;
  }

  /** A page of history that ends where we begin, or begins where we end. `next`: how far the log went when it was read. */
  page(events: readonly Kept[], low: number, high: number, next: number): void {
    const fresh: Line[] = [];
    for (const event of events) {
      const line = this.#line(event);
      if (line) { fresh.push(line); this.#known.set(line.offset, next - 1); }
      else this.#mend(event);
    }
    const older = high <= this.low;
    this.low = Math.min(this.low, low);
    this.high = Math.max(this.high, high);
    const shown = fresh.map((line) => ({ ...line, reactions: this.#seen(line.offset) }));
    this.lines = older ? [...shown, ...this.lines] : [...this.lines, ...shown];
    for (const event of events) this.#apply(event);
  }

  /** What happens now. False: it does not belong to what is loaded. */
  live(event: Kept): boolean {
    const fits = event.offset === this.high;
    if (fits) {
      this.high = event.offset + 1;
      const line = this.#line(event);
      if (line) { this.lines = [...this.lines, line]; this.#known.set(line.offset, event.offset); }
    }
    this.#mend(event);
    this.#apply(event);
    return fits;
  }

  /** The log lost these. */
  gap(from: number, to: number): void {
    if (this.high > to || this.high < from) return;
    this.high = to;
    this.lines = [...this.lines, { ...blank, offset: from, kind: "gap", event: undefined, at_ms: this.lines.at(-1)?.at_ms ?? 0, by: { id: "", name: "" } }];
  }

  /** Forgets the oldest; they can be loaded again. */
  trim(keep: number): void {
    if (this.lines.length <= keep) return;
    this.lines = this.lines.slice(-keep);
    this.low = this.lines[0]?.offset ?? this.high;
  }

  at(offset: number): number {
    let low = 0, high = this.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.lines[middle] as Line).offset < offset) low = middle + 1; else high = middle;
    }
    return low;
  }

  find(offset: number): Line | undefined {
    const line = this.lines[this.at(offset)];
    return line?.offset === offset ? line : undefined;
  }

  #line(event: Kept): Line | undefined {
    const { offset, at_ms, by } = event;
    switch (event.on) {
      case "edited": case "deleted": case "reaction": return undefined;
      case "message": return {
        ...blank, offset, at_ms, by, kind: "message", text: unframed(event.text ?? ""), edited: Boolean(event.edits), action: Boolean(event.action), quiet: Boolean(event.notice),
        reply: event.reply, files: event.files ?? [], mentions: event.mentions ?? [], event,
      };
      case "removed": return { ...blank, offset, at_ms, by, kind: "removed", event };
      default: return { ...blank, offset, at_ms, by, kind: "notice", event };
    }
  }

  /** Reactions are kept apart: they may be known before what they are about. */
  #mend(event: Kept): void {
    if (event.on !== "reaction") return;
    const { of, emoji, add, by, offset } = event;
    const all = this.#reactions.get(of) ?? new Map(), one = all.get(emoji) ?? new Map();
    this.#reactions.set(of, all.set(emoji, one));
    const known = one.get(by.id);
    if (!known || known.offset < offset) one.set(by.id, { who: by, add, offset });
  }

  #apply(event: Kept): void {
    if (event.on !== "edited" && event.on !== "deleted" && event.on !== "reaction") return;
    const index = this.at(event.of), line = this.lines[index];
    if (line?.offset !== event.of) return;
    let next: Line = line;
    if (event.on === "reaction") next = { ...line, reactions: this.#seen(event.of) };
    else if (event.on === "deleted") next = { ...line, kind: "removed", text: "", files: [], reactions: [] };
    else if (event.text !== undefined && event.offset > (this.#known.get(event.of) ?? 0) && line.kind === "message") {
      this.#known.set(event.of, event.offset);
      next = { ...line, text: event.text, edited: true };
    }
    if (next !== line) this.lines = this.lines.with(index, next);
  }

  #seen(of: number): Reacted[] {
    return [...(this.#reactions.get(of) ?? [])]
      .map(([emoji, people]) => ({ emoji, by: [...people.values()].filter(({ add }) => add).sort((a, b) => a.offset - b.offset).map(({ who }) => who) }))
      .filter(({ by }) => by.length);
  }
}

/** What clients of IRC tell each other stands between two characters that are not to be seen. */
const unframed = (text: string) => text.replace(/^\u0001([\s\S]*)\u0001$/, "$1");

const blank = { text: "", edited: false, action: false, quiet: false, reply: undefined, files: [], mentions: [], reactions: [] } as const;
