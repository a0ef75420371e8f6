// What is said on the wire: requests and their answers, events. Types only; nothing of this is left when it runs.
//
// Job: be the one place where the JSON protocol `madang.chat.v1` has names in TypeScript. Used by every file here and by whoever uses the
// client. Not here: when something is said (`chat`), where a reader is in a conversation (`room`).
//
// Offsets and epochs are integers below 2^53; times are milliseconds since 1970.

/** Somebody, as they are named beside what they did. */
export interface Person { id: string; name: string }
/** Who this connection is. */
export interface You extends Person { guest: boolean; admin: boolean }
/** What one connection may do. Bytes are bytes of UTF-8. */
export interface Limits { message_bytes: number; rooms: number; burst: number; per_second: number; file_bytes: number }
/** A place in a conversation: the last offset that was seen; 0 is before the first. */
export interface Position { epoch: number; offset: number }
/** A file beside a message, as `POST files` answered it. */
export interface Attachment { name: string; url: string; bytes: number; type: string }
/** `none`: whoever is let in; `member`: also into a private room. */
export type Role = "owner" | "moderator" | "member" | "none";

export interface Hello { chat: string; you: You; key?: string; limits: Limits; now_ms: number }
/** The answer of `join`: `next` is the offset that comes next, `first` the oldest kept, `end` the offset behind the newest. */
export interface Joined {
  room: string; epoch: number; first: number; next: number; end: number; reset: boolean; topic: string; private: boolean; invite_only: boolean;
  slow_ms: number; role: Role; people: number;
}
/** A thing that is on disk. `duplicate`: this nonce was there before; nothing was written again. */
export interface Written { room: string; epoch: number; offset: number; at_ms: number; duplicate: boolean }
export interface Page { room: string; epoch: number; first: number; next: number; events: Kept[]; more: boolean }
export interface Mine {
  room: string; topic: string; private: boolean; role: Role; epoch: number; next: number; read: number; unread: number; mentions: number; last?: Kept;
}
export interface Open { room: string; topic: string; people: number }
export interface Member extends Person { role: Role; here: boolean; away?: string; about?: string }
export interface Whois extends Person { guest: boolean; here: boolean; away?: string; about?: string; since_ms?: number; rooms?: string[] }
/** Somebody who came into a room; without `role` they have none. */
export interface Arrived extends Person { role?: Role; about?: string; away?: string }
/** Somebody who had a name, and until when. */
export interface Former extends Person { about?: string; until_ms: number }
/** Somebody who may not come in, or not speak; without `until_ms` for good. */
export interface Shut extends Person { until_ms?: number }
interface At { epoch: number; offset: number }
interface Named { room: string; who: string }
interface Aimed extends Named { why?: string }
interface Timed extends Aimed { minutes?: number }
type Nothing = Record<string, never>;

/** Every request: what it takes and what it gives. */
export interface Requests {
  hello: [{ name?: string; key?: string; token?: string }, Hello];
  join: [{ room: string; since?: Position }, Joined];
  leave: [{ room: string }, Nothing];
  send: [{ room: string; text: string; nonce: string; reply?: number; files?: Attachment[]; action?: boolean; notice?: boolean }, Written];
  edit: [{ room: string; offset: number; nonce: string; text: string }, Written];
  delete: [{ room: string; offset: number; nonce: string }, Written];
  react: [{ room: string; offset: number; nonce: string; emoji: string; add: boolean }, Written];
  history: [{ room: string; before?: number; after?: number; limit?: number }, Page];
  search: [{ words: string; room?: string; before?: string; limit?: number }, { found: Kept[]; before?: string }];
  rooms: [Nothing, { mine: Mine[]; open: Open[]; more: boolean }];
  who: [{ room: string }, { room: string; people: Member[]; count: number }];
  whois: [{ who: string }, Whois];
  typing: [{ room: string }, Nothing];
  read: [{ room: string; offset?: number }, { room: string; offset: number }];
  create: [{ room: string; topic?: string; private?: boolean; invite_only?: boolean }, Joined];
  /** Nothing, where nothing was to be changed. */
  set: [{ room: string; topic?: string; private?: boolean; invite_only?: boolean; slow_ms?: number }, Partial<At>];
  role: [{ room: string; who: string; role: Role }, At];
  invite: [Named, At];
  kick: [Aimed, At];
  ban: [Timed, At];
  unban: [Named, At];
  mute: [Timed, At];
  unmute: [Named, At];
  announce: [{ text: string; nonce: string }, Written];
  away: [{ text?: string }, Nothing];
  rename: [{ name: string }, You];
  about: [{ text?: string }, Nothing];
  watch: [{ who: string[] }, { here: Person[] }];
  whowas: [{ who: string }, { people: Former[] }];
  bans: [{ room: string }, { room: string; bans: Shut[]; mutes: Shut[] }];
  ping: [Nothing, Nothing];
}
/** The requests that carry a nonce: they go through the queue and are done once. */
export type Lasting = "send" | "edit" | "delete" | "react" | "announce";

interface Entry<N extends string> { on: N; room: string; epoch: number; offset: number; at_ms: number; by: Person }
interface About<N extends string> extends Entry<N> { who: Person; why?: string; until_ms?: number }
export interface Message extends Entry<"message"> {
  /** Left out when there are only files. */
  text?: string; reply?: number; files?: Attachment[]; action?: boolean; notice?: boolean; edits?: number; mentions?: string[];
}
export interface Reaction extends Entry<"reaction"> { of: number; emoji: string; add: boolean }
/** What is kept in the log of a conversation (a `removed` one may have an empty `by`): it has an offset, comes once and in order, and history gives it again. */
export type Kept =
  | Message | Reaction | Entry<"removed"> | (Entry<"edited"> & { of: number; text?: string; notice?: boolean }) | (Entry<"deleted"> & { of: number })
  | (Entry<"topic"> & { text: string }) | (Entry<"settings"> & { private: boolean; invite_only: boolean; slow_ms: number })
  | (Entry<"role"> & { who: Person; role: Role }) | About<"invited"> | About<"kicked"> | About<"banned"> | About<"unbanned"> | About<"muted">
  | About<"unmuted"> | (Entry<"created"> & { private?: boolean; invite_only?: boolean });
/** What passes: it has no offset and is not said again. */
export type Passing =
  | { on: "gap"; room: string; from: number; to: number } | ({ on: "joined" } & Joined) | { on: "left"; room: string; why?: string }
  | { on: "presence"; room: string; joined?: Arrived[]; left?: Person[]; people: number } | { on: "typing"; room: string; by: Person }
  | { on: "read"; room: string; offset: number } | { on: "away"; room: string; by: Person; text?: string }
  // These have no room: they are of a person, wherever one meets them.
  | { on: "renamed"; room?: undefined; by: Person; name: string } | { on: "about"; room?: undefined; by: Person; text?: string }
  | { on: "watched"; room?: undefined; who: Person; here: boolean };
export type ChatEvent = Kept | Passing;
