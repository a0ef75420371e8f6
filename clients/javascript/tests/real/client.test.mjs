// Goal: the client against the real server: what is said is written once and in order, over cut connections and a killed server.
// Run by `npm run test-real` (Node 20 needs --experimental-websocket for its own WebSocket).
import assert from "node:assert/strict";
import test from "node:test";
import { ChatError, connect } from "../../dist/index.js";
import { MemoryStore } from "../network.mjs";
import { House } from "./house.mjs";

const once = (from, name, fits = () => true) => new Promise((done) => { const end = from.on(name, (what) => { if (fits(what)) { end(); done(what); } }); });
const come = async (house, name, options = {}) => {
  const chat = connect(house.base, { name, storage: new MemoryStore(), first_ms: 50, most_ms: 400, ...options });
  if (chat.state !== "open") await once(chat, "ready");
  return chat;
};

test("the real server and the client", { timeout: 120_000 }, async (t) => {
  const house = await House.start(`rate = "200/s"\nburst = 2000`);
  t.after(() => house.close());

  await t.test("two talk; edits, removals, reactions, direct messages and lists are as the types say", async () => {
    const [mina, nari] = await Promise.all([come(house, "mina"), come(house, "nari")]);
    assert.equal(mina.you.guest, true);
    const [one, two] = [await mina.join("lobby"), await nari.join("lobby")];
    const told = [];
    two.on("event", (event) => { if (event.on !== "created") told.push(event); });
    const { offset } = await one.send("hello @nari");
    const written = await two.send("you too", { reply: offset });
    assert.equal(written.offset, offset + 1);
    await one.edit(offset, "hello all");
    await two.react(offset, "👍");
    const gone = once(two, "deleted");
    await one.delete(offset);
    await gone;
    assert.deepEqual(told.map(({ on }) => on), ["message", "message", "edited", "reaction", "deleted"]);
    assert.deepEqual(told[0].mentions, ["nari"]);
    assert.equal(told[1].reply, offset);
    const page = await two.history({ limit: 10 });
    assert.ok(page.events.some((event) => event.on === "removed" && event.offset === offset) && !page.more);
    const private_one = new Promise((done) => nari.on("joined", (room) => { if (room.name === "@mina") room.on("message", done); }));
    await mina.room("@nari").send("psst");
    assert.equal((await private_one).text, "psst");
    assert.equal((await mina.request("whois", { who: "nari" })).here, true);
    assert.ok((await mina.request("who", { room: "lobby" })).people.some(({ name }) => name === "nari"));
    assert.ok((await mina.request("rooms", {})).mine.some(({ room }) => room === "@nari"));
    assert.equal((await mina.request("search", { words: "too" })).found.length, 1);
    await assert.rejects(nari.request("kick", { room: "lobby", who: "mina" }), (error) => error instanceof ChatError && error.code === "not-allowed");
    await assert.rejects(mina.join("a b"), { code: "bad-room" });
    mina.close();
    nari.close();
  });

  await t.test("a name belongs to who has its key", async () => {
    const storage = new MemoryStore();
    const dori = await come(house, "dori", { storage });
    const other = connect(house.base, { name: "dori", storage: null });
    assert.equal((await once(other, "refused")).code, "name-taken");
    const { id } = dori.you;
    dori.close();
    other.close();
    const again = await come(house, undefined, { storage });
    assert.deepEqual([again.you.id, again.you.name], [id, "dori"]);
    again.close();
  });

  await t.test("another name is kept, and who writes to it goes on writing", async () => {
    const storage = new MemoryStore();
    const [sora, bora] = [await come(house, "sora", { storage }), await come(house, "bora")];
    await bora.room("@sora").send("before");
    const told = once(bora, "event", ({ on }) => on === "renamed");
    assert.equal((await sora.request("rename", { name: "haneul" })).name, "haneul");
    assert.equal((await told).by.name, "sora");
    await bora.rooms.get("@haneul").send("after");
    const { id } = sora.you;
    assert.equal(sora.you.name, "haneul");
    sora.close();
    const again = await come(house, undefined, { storage });
    assert.deepEqual([again.you.id, again.you.name], [id, "haneul"]);
    again.close();
    bora.close();
  });

  await t.test("forty messages by each of four over three kills: all there, once, in order, for everybody", async () => {
    const people = await Promise.all(["a", "b", "c", "d"].map((name) => come(house, `p${name}`)));
    const heard = people.map(() => []);
    const rooms = await Promise.all(people.map((chat) => chat.join("work")));
    rooms.forEach((room, at) => {
      room.on("message", ({ offset, text }) => heard[at].push([offset, text]));
      room.on("gap", () => assert.fail("a gap"));
      room.on("reset", () => assert.fail("a reset"));
    });
    const from = Math.max(...rooms.map((room) => room.position.offset));
    const sent = [];
    for (let turn = 0; turn < 40; turn++) {
      rooms.forEach((room, at) => sent.push(room.send(`${at} ${turn}`)));
      if (turn % 10 === 9) await Promise.all(sent.slice(-8, -4));
      if (turn === 10 || turn === 20 || turn === 30) { await house.down(); await house.up(); }
    }
    await Promise.all(sent);
    await Promise.all(rooms.map((room, at) => new Promise((done) => {
      const look = () => { if (heard[at].length >= 160) done(); };
      room.on("event", look);
      look();
    })));
    for (const list of heard) {
      const mine = list.filter(([offset]) => offset > from);
      assert.deepEqual(mine, heard[0].filter(([offset]) => offset > from));
      for (let at = 0; at < 4; at++) assert.deepEqual(mine.map(([, text]) => text).filter((text) => text.startsWith(`${at} `)), Array.from({ length: 40 }, (_, turn) => `${at} ${turn}`));
    }
    for (const chat of people) chat.close();
  });
});
