// Goal: whatever the network does, every message is in the log exactly once, in the order in which its author said it, and every reader hears
// the log from where it began, without a hole, twice or out of order.
// Method: four people talk over a network that delays and cuts by a seed; the server restarts; then it calms down and all is compared.
import assert from "node:assert/strict";
import test from "node:test";
import { Chat } from "../dist/index.js";
import { World, seeded, sockets } from "./network.mjs";
import { Town, refusal } from "./town.mjs";

const SEEDS = Number(process.env.SEEDS ?? 60);
const FROM = Number(process.env.SEED ?? 1);

test(`once and in order over ${SEEDS} bad networks`, async () => {
  let cuts = 0, again = 0;
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const facts = await rehearse(seed).catch((error) => { throw new Error(`SEED=${seed} SEEDS=1: ${error.message}`, { cause: error }); });
    cuts += facts.cuts;
    again += facts.again;
  }
  // The test has to have tested something.
  assert.ok(cuts > 5 * SEEDS && again > 3 * SEEDS, `${cuts} cuts, ${again} said again`);
});

async function rehearse(seed) {
  const random = seeded(seed), world = new World(), town = new Town({ now: world.clock.now });
  let bad = true, cuts = 0, again = 0;
  const faults = () => {
    if (!bad) return { delay_ms: 1, cut: false };
    const cut = random() < 0.03;
    cuts += cut;
    return { delay_ms: Math.floor(random() ** 4 * 3000), cut };
  };
  const said = new Set();
  town.refuse = (request) => {
    if (request.do === "send") { if (said.has(request.nonce)) again += 1; said.add(request.nonce); }
    return bad && random() < 0.05 ? refusal("too-fast", "slower", Math.floor(random() * 500)) : undefined;
  };
  const people = ["mina", "nari", "dori", "sora"].map((name) => {
    const chat = new Chat("ws://house.test/ws", { name, storage: null, WebSocket: sockets(world, town, faults), clock: world.clock, random, timeout_ms: 4000, quiet_ms: 6000 });
    const mine = { name, chat, heard: [], from: undefined, resets: 0 };
    const watch = (room) => {
      mine.from ??= room.position.offset + 1;
      room.on("event", (event) => mine.heard.push([event.offset, event.on, event.text]));
      room.on("gap", () => assert.fail("a gap in a log that keeps everything"));
      room.on("reset", () => { mine.resets += 1; });
    };
    chat.on("joined", watch);
    chat.on("ready", () => { if (!chat.rooms.get("lobby")?.joined) chat.join("lobby").catch(() => chat.close() ?? chat.open()); });
    chat.open();
    return mine;
  });
  await world.pass(20_000);
  const sent = [];
  for (let at = 0; at < 60; at++) {
    const one = people[Math.floor(random() * people.length)];
    sent.push([one.name, `${one.name} ${at}`]);
    one.chat.room("lobby").send(`${one.name} ${at}`).catch((error) => assert.fail(error.code));
    if (random() < 0.05) town.restart(random() < 0.5 ? 1001 : 4000);
    await world.pass(random() * 400);
  }
  bad = false;
  await world.pass(120_000);
  const log = town.room("lobby").log.map((entry) => [entry.offset, entry.on, entry.text]);
  for (const { name, chat, heard, from, resets } of people) {
    assert.equal(chat.state, "open", name);
    assert.equal(chat.outbox.length, 0, name);
    assert.equal(resets, 0, name);
    assert.deepEqual(heard, log.filter(([offset]) => offset >= from), name);
    const mine = log.map(([, , text]) => text).filter((text) => text?.startsWith(`${name} `));
    assert.deepEqual(mine, sent.filter(([by]) => by === name).map(([, text]) => text), name);
    chat.close();
  }
  return { cuts, again };
}
