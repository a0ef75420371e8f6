// Goal: what a client does at each turn of a connection's life. Method: the town over a network of our own, time turned on by hand.
import assert from "node:assert/strict";
import test from "node:test";
import { Chat } from "../dist/index.js";
import { MemoryStore, World, seeded, sockets } from "./network.mjs";
import { Town, refusal } from "./town.mjs";

function place(more = {}, town_options = {}) {
  const world = new World();
  const town = new Town({ now: world.clock.now, ...town_options });
  const made = [];
  const faults = { next: () => ({ delay_ms: 1, cut: false }) };
  const Socket = sockets(world, town, (way, text) => faults.next(way, text), (one) => made.push(one));
  const storage = new MemoryStore();
  const chat = (options = {}) => new Chat("http://house.test/chat/", { name: "mina", WebSocket: Socket, storage, clock: world.clock, random: seeded(7), ...more, ...options });
  return { world, town, made, faults, storage, chat };
}
const heard = (room) => { const list = []; room.on("event", (event) => list.push([event.offset, event.text ?? event.on])); return list; };

test("the address of a page or of its socket leads to the same socket, and the protocol is offered", async () => {
  for (const [address, want] of [
    ["http://house.test/chat/", "ws://house.test/chat/ws"], ["https://house.test/chat", "wss://house.test/chat/ws"],
    ["wss://house.test/chat/ws", "wss://house.test/chat/ws"], ["ws://house.test:81/a/b/?x#y", "ws://house.test:81/a/b/ws"],
  ]) {
    const world = new World(), made = [];
    new Chat(address, { clock: world.clock, WebSocket: sockets(world, new Town(), undefined, (one) => made.push(one)) }).open();
    assert.deepEqual(made.map(({ url, protocol }) => [url, protocol]), [[want, "madang.chat.v1"]]);
  }
});

test("a message comes back to its room with its offset, and the promise says the same", async () => {
  const { world, chat } = place();
  const mina = chat().open();
  await world.pass(100);
  assert.equal(mina.state, "open");
  assert.equal(mina.you.name, "mina");
  const lobby = mina.join("lobby");
  await world.pass(10);
  const room = await lobby, list = heard(room);
  const written = room.send("안녕");
  await world.pass(10);
  assert.deepEqual(list, [[2, "안녕"]]);
  assert.equal((await written).offset, 2);
  assert.equal(mina.outbox.length, 0);
});

test("what is said without a connection is said when there is one, in order, and rooms go on where they were", async () => {
  const { world, town, chat } = place();
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting, list = heard(room);
  town.restart();
  await world.pass(2);
  assert.equal(mina.state, "waiting");
  const sent = ["one", "two", "three"].map((text) => room.send(text));
  town.say("lobby", "nari", "meanwhile");
  assert.equal(mina.outbox.length, 3);
  await world.pass(2000);
  assert.deepEqual(list.map(([, text]) => text), ["meanwhile", "one", "two", "three"]);
  assert.deepEqual((await Promise.all(sent)).map(({ offset }) => offset), [3, 4, 5]);
});

test("an answer that never comes ends the connection, and the same nonce is said again: one message", async () => {
  const { world, town, chat, made } = place({ timeout_ms: 1000 });
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting, list = heard(room);
  let dropped = 0;
  const nonces = [];
  // It is written, but the answer is lost.
  const send = town.append.bind(town);
  town.silent = (request) => {
    if (request.do !== "send") return false;
    nonces.push(request.nonce);
    if (dropped++) return false;
    send(town.room("lobby"), town.person("mina"), "message", { text: request.text }, request.nonce);
    return true;
  };
  const written = room.send("once");
  await world.pass(5000);
  assert.equal((await written).duplicate, true);
  assert.equal(made.length, 2);
  assert.equal(new Set(nonces).size, 1);
  assert.deepEqual(list, [[2, "once"]]);
});

test("a refusal that passes is waited out without losing the order; one that does not fails that message alone", async () => {
  const { world, town, chat } = place();
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting, list = heard(room);
  let asked = 0;
  town.refuse = (request) => request.do !== "send" ? undefined
    : request.text === "bad" ? refusal("bad-text", "not that") : asked++ === 0 ? refusal("too-fast", "slower", 600) : undefined;
  const sent = ["one", "bad", "two"].map((text) => room.send(text).catch((error) => error.code));
  await world.pass(500);
  assert.deepEqual(list, []);
  await world.pass(500);
  assert.deepEqual(list.map(([, text]) => text), ["one", "two"]);
  assert.equal(await sent[1], "bad-text");
});

test("an epoch that changed is a reset, a log that begins later too, and a gap is told", async () => {
  const { world, town, chat } = place({}, { keep: 5 });
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting, list = heard(room), told = [];
  room.on("reset", ({ first, epoch }) => told.push(["reset", first, epoch]));
  room.on("gap", ({ from, to }) => told.push(["gap", from, to]));
  town.restart();
  for (let at = 0; at < 20; at++) town.say("lobby", "nari", `n${at}`);
  await world.pass(2000);
  assert.deepEqual(told, [["reset", 17, 2]]);
  assert.deepEqual(list.map(([offset]) => offset), [17, 18, 19, 20, 21]);
  const [session] = town.sessions;
  session.line.send(JSON.stringify({ on: "gap", room: "lobby", from: 22, to: 25 }));
  session.line.send(JSON.stringify({ on: "message", room: "lobby", epoch: 2, offset: 25, at_ms: 0, by: { id: "g:nari", name: "nari" }, text: "later" }));
  await world.pass(10);
  assert.deepEqual(told.at(-1), ["gap", 22, 25]);
  assert.deepEqual(list.at(-1), [25, "later"]);
});

test("a hole that nobody announced is asked for again, and what comes twice is told once", async () => {
  const { world, town, chat } = place();
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting, list = heard(room);
  const [session] = town.sessions, log = town.room("lobby").log;
  session.subs.clear(); // this one is lost on the way
  town.say("lobby", "nari", "a");
  session.subs.set(town.room("lobby"), true);
  town.say("lobby", "nari", "b");
  session.line.send(JSON.stringify({ ...log[0], room: "lobby" }));
  await world.pass(50);
  assert.deepEqual(list, [[2, "a"], [3, "b"]]);
});

test("a guest's key is kept and shown again; a key that is not known any more is dropped and the name asked for", async () => {
  const { world, town, chat, storage } = place();
  const first = chat().open();
  await world.pass(100);
  first.close();
  const again = chat({ name: undefined }).open();
  await world.pass(100);
  assert.equal(again.you.name, "mina");
  again.close();
  town.refuse = (request) => (request.do === "hello" && request.key ? refusal("bad-key", "gone") : undefined);
  const later = chat({ name: undefined }).open();
  await world.pass(500);
  assert.equal(later.state, "open");
  assert.equal(later.you.name, "mina");
  later.forget();
  assert.equal(storage.length, 0);
});

test("a token that is over is got anew once; if that is refused too, we are told and nothing is tried again", async () => {
  const { world, town, chat, made } = place();
  const asked = [];
  town.refuse = (request) => (request.do === "hello" && request.token !== "fresh" ? refusal("token-expired", "over") : undefined);
  const token = (again) => { asked.push(again); return again ? "still old" : "old"; };
  const refused = [];
  const mina = chat({ token });
  mina.on("refused", ({ code }) => refused.push(code));
  mina.open();
  await world.pass(60_000);
  assert.deepEqual([asked, refused, mina.state, made.length], [[false, true], ["token-expired"], "refused", 2]);
});

test("a name that is taken is told, and another one can be tried", async () => {
  const { world, chat } = place({ storage: null });
  const one = chat().open();
  await world.pass(100);
  const two = chat();
  const refused = [];
  two.on("refused", ({ code }) => refused.push(code));
  two.open();
  await world.pass(100);
  assert.deepEqual([refused, two.state], [["name-taken"], "refused"]);
  two.open({ name: "nari" });
  await world.pass(100);
  assert.deepEqual([one.state, two.state, two.you.name], ["open", "open", "nari"]);
});

test("logged out is the end; cut for being slow is not; what the server cannot bear is not said for ever", async () => {
  const { world, town, chat, made } = place();
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting;
  town.restart(4000);
  await world.pass(1000);
  assert.equal(mina.state, "open");
  town.silent = (request) => { if (request.do === "send") town.restart(1009); return request.do === "send"; };
  const failed = room.send("too much").catch((error) => error.code);
  await world.pass(60_000);
  assert.equal(await failed, "malformed");
  assert.equal(mina.state, "open");
  town.restart(4002);
  await world.pass(120_000);
  assert.equal(mina.state, "refused");
  assert.equal(made.length, 4);
});

test("a silent connection is tried, and given up when nobody answers", async () => {
  const { world, town, chat, made } = place({ quiet_ms: 45_000, timeout_ms: 10_000 });
  const mina = chat().open();
  await world.pass(100_000);
  assert.deepEqual([mina.state, made.length], ["open", 1]);
  town.silent = ({ do: what }) => what === "ping";
  await world.pass(60_000);
  assert.equal(made.length, 2);
});

test("what a page left behind is sent by the next page of the same person, once, unless it is old", async () => {
  const { world, town, chat, storage } = place({ persist: true });
  const page = chat().open();
  await world.pass(100);
  const waiting = page.join("lobby");
  await world.pass(10);
  const room = await waiting;
  town.restart();
  await world.pass(2);
  room.send("left behind").catch(() => {});
  page.close();
  assert.equal([...Array(storage.length).keys()].filter((at) => storage.key(at).startsWith("madang.out ")).length, 1);
  const next = chat({ name: undefined }).open();
  await world.pass(1000);
  assert.equal(next.outbox.length, 1, "it waits until the page has entered its rooms");
  await world.pass(3000);
  assert.deepEqual(town.room("lobby").log.map(({ text }) => text).filter(Boolean), ["left behind"]);
  assert.equal([...Array(storage.length).keys()].filter((at) => storage.key(at).startsWith("madang.out ")).length, 0);
  next.close();

  const third = chat({ name: undefined }).open();
  await world.pass(1000);
  town.restart();
  await world.pass(2);
  third.room("lobby").send("too old").catch(() => {});
  third.close();
  await world.pass(7 * 3_600_000);
  const unsent = [];
  const last = chat({ name: undefined });
  last.on("unsent", (list) => unsent.push(...list.map(({ fields }) => fields.text)));
  last.open();
  await world.pass(1000);
  assert.deepEqual(unsent, ["too old"]);
});

test("direct messages need no joining: both hear them in the conversation that has the other's name", async () => {
  const { world, chat } = place({ storage: null });
  const mina = chat().open(), nari = chat({ name: "nari" }).open();
  await world.pass(100);
  const told = [];
  nari.on("joined", (room) => { told.push(room.name); room.on("message", ({ text }) => told.push(text)); });
  mina.room("@nari").send("psst");
  await world.pass(50);
  assert.deepEqual(told, ["@mina", "psst"]);
  assert.equal(mina.rooms.get("@nari").position.offset, 1);
});

test("typing is told at most every three seconds, and never without a connection", async () => {
  const { world, town, chat } = place();
  const mina = chat().open();
  await world.pass(100);
  const waiting = mina.join("lobby");
  await world.pass(10);
  const room = await waiting;
  let count = 0;
  town.refuse = ({ do: what }) => { if (what === "typing") count += 1; };
  for (let at = 0; at < 100; at++) { room.typing(); await world.pass(100); }
  assert.equal(count, 4);
});

test("the queue is bounded, what was not said can be taken back, and too long is told before it is sent", async () => {
  const { world, chat } = place({ queue_max: 2 });
  const mina = chat().open();
  await world.pass(100);
  mina.close();
  const room = mina.room("lobby");
  const codes = [1, 2, 3].map((at) => room.send(`${at}`).catch((error) => error.code));
  assert.equal(await codes[2], "full");
  assert.equal(mina.cancel(mina.outbox[1].nonce), true);
  assert.equal(await codes[1], "cancelled");
  assert.equal(await room.send("가".repeat(3000)).catch((error) => error.code), "too-long");
});

test("two joins of one room at once are one: nothing of what the first asked for is skipped", async () => {
  const { world, town, chat } = place();
  for (const text of ["a", "b", "c"]) town.say("lobby", "nari", text);
  const mina = chat().open();
  await world.pass(100);
  const list = [];
  mina.on("event", (event) => { if (event.on === "message") list.push(event.text); });
  const both = [mina.join("lobby", { since: { epoch: town.room("lobby").epoch, offset: 1 } }), mina.join("lobby")];
  await world.pass(20);
  const [one, two] = await Promise.all(both);
  assert.equal(one, two);
  assert.deepEqual(list, ["b", "c"]);
});

test("what is said in a room that was never entered enters it first; where one may not, it fails", async () => {
  const { world, town, chat } = place();
  const mina = chat().open();
  await world.pass(100);
  const sent = [mina.room("lobby").send("first"), mina.room("lobby").send("second")];
  await world.pass(50);
  assert.deepEqual((await Promise.all(sent)).map(({ offset }) => offset), [2, 3]);
  town.room("closed", { invite_only: true });
  const refused = mina.room("closed").send("let me in").catch((error) => error.code);
  await world.pass(50);
  assert.equal(await refused, "invite-only");
});
