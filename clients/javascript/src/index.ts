// Madang chat for browsers and Node. See README.md.
export { Chat, type ChatEvents, type Clock, type Options, type Queued, type SocketLike, type SocketMaker, type State } from "./chat.js";
export { ChatError } from "./errors.js";
export type { Pending, Store } from "./outbox.js";
export { Room, type RoomEvents } from "./room.js";
export type * from "./protocol.js";

import { Chat, type Options } from "./chat.js";

/** Connects to the chat at `address` and stays connected. */
export function connect(address: string | URL, options: Options = {}): Chat {
  return new Chat(address, options).open();
}
