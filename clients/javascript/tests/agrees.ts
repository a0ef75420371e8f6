// The types that users of the client see agree with the protocol's schemas: this file is compiled, never run.
//
// What the client may ask, the server takes; what the server answers and tells, the client's types have. `schema.mjs` writes the schemas' side.
import type { ChatEvent, Requests } from "../src/protocol.js";
import type { All } from "./schema.generated.js";

type Name = keyof Requests;
type Asked<N extends Name> = Omit<All[`request.${N}`], "do" | "id">;
type Told = { [K in keyof All]: K extends `event.${string}` | `notice.${string}` ? All[K] : never }[keyof All];

/** Names for which it does not hold: there must be none. */
type Unnamed = Exclude<{ [K in keyof All]: K extends `request.${infer N}` ? N : never }[keyof All], Name>;
type Refused = { [N in Name]: Requests[N][0] extends Asked<N> ? never : N }[Name];
type Unknown = { [N in Name]: Exclude<keyof Requests[N][0], keyof Asked<N>> extends never ? never : string extends keyof Requests[N][0] ? never : N }[Name];
type Missing = { [N in Name]: Exclude<keyof Asked<N>, keyof Requests[N][0]> extends never ? never : N }[Name];
type Misread = { [N in Name]: All[`answer.${N}`] extends Requests[N][1] ? never : N }[Name];
type Unheard = Told extends ChatEvent ? never : Exclude<Told, ChatEvent>["on"];

type None<T extends never> = T;
export type Agrees = [None<Unnamed>, None<Refused>, None<Unknown>, None<Missing>, None<Misread>, None<Unheard>];
