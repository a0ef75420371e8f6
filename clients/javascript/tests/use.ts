// What users of the client write must be checked by its types: this file is compiled, never run.
import { Chat, ChatError, connect, type Message } from "../dist/index.js";

const chat = connect("https://example.org/chat/", { name: "mina", token: async (again) => (again ? undefined : "…") });
const lobby = await chat.join("lobby", { since: { epoch: 1, offset: 7 } });
lobby.on("message", (event) => console.log(event.by.name, event.text satisfies string | undefined, event.files?.[0]?.url));
lobby.on("gap", ({ from, to }) => console.log(to - from));
lobby.on("presence", ({ joined, people }) => console.log(joined?.map(({ name }) => name), people));
// @ts-expect-error there is no such event
lobby.on("messages", () => {});
const { offset } = await lobby.send("hello", { reply: 7 });
await lobby.react(offset, "👍");
const page = await lobby.history({ before: offset, limit: 50 });
const texts = page.events.filter((event): event is Message => event.on === "message").map(({ text }) => text);
const { mine } = await chat.request("rooms", {});
// @ts-expect-error a mute needs somebody
await chat.request("mute", { room: mine[0]?.room ?? "", minutes: 5 });
try {
  await chat.announce(texts.join());
} catch (error) {
  if (error instanceof ChatError && error.passing) console.log(error.again_ms satisfies number | undefined);
}
new Chat("/chat/").on("ready", ({ you }) => console.log(you.guest, you.admin));
