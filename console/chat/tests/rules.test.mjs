// Goal: the rules of the page that need no browser: what is in a message, what a command means, what a conversation looks like whatever order its
// pieces come in. Method: the sources as Vite gives them to a program; logs and readers by a seed.
import assert from "node:assert/strict";
import test from "node:test";
import { createServer } from "vite";
import { seeded } from "../../../clients/javascript/tests/network.mjs";

const vite = await createServer({ configFile: false, root: new URL("..", import.meta.url).pathname, logLevel: "error", server: { middlewareMode: true, hmr: false, ws: false, watch: null }, optimizeDeps: { noDiscovery: true } });
test.after(() => vite.close());
const { calls, parts, is_picture, size } = await vite.ssrLoadModule("/src/text.ts");
const { read } = await vite.ssrLoadModule("/src/commands.ts");
const { Fold } = await vite.ssrLoadModule("/src/fold.ts");
const { WORDS, preferred } = await vite.ssrLoadModule("/src/words.ts");

test("a message is cut into text, links, code and names; nothing that is not meant becomes a link", () => {
  const show = (text, names = []) => parts(text, names).map((part) => (part.kind === "text" ? part.text : `${part.kind}(${part.text})`)).join("");
  for (const [text, want, names] of [
    ["see https://a.example/x?y=1.", "see link(https://a.example/x?y=1)."],
    ["(https://a.example/b_(c))", "(link(https://a.example/b_(c)))"],
    ["https://a.example/, and", "link(https://a.example/), and"],
    ["javascript:alert(1) data:text/html,x ftp://a.b", "javascript:alert(1) data:text/html,x ftp://a.b"],
    ["https://user:pass@evil.example/", "https://user:pass@evil.example/"],
    ["https://", "https://"],
    ["a `b` c", "a code(b) c"],
    ["x\n```\ny\n```\nz", "xblock(y)z"],
    ["```js\nlet a;\n```", "block(let a;)"],
    ["hi @Mina and @nobody, me@mina.example", "hi mention(@Mina) and @nobody, me@mina.example", ["mina"]],
    ["@나리님 안녕", "mention(@나리)님 안녕", ["나리"]],
    ["<b>&amp;", "<b>&amp;"],
    ["", ""],
  ]) assert.equal(show(text, names), want, text);
});

test("a name with a Korean ending calls the same person, a longer name does not", () => {
  for (const [word, name, want] of [["나리님", "나리", true], ["나리님은", "나리", true], ["Mina가", "mina", true], ["나리안", "나리", false], ["minari", "mina", false], ["나", "나리", false], ["나리", "나리", true]]) assert.equal(calls(word, name), want, word);
});

test("only pictures of this chat are shown as pictures", () => {
  const base = "https://house.example/chat/";
  const check = (type, url) => is_picture(type, url, base);
  assert.ok(check("image/png", "files/1/a.png") && check("image/webp", "/chat/files/1/a.webp"));
  for (const [type, url] of [["image/svg+xml", "files/1/a.svg"], ["image/png", "https://evil.example/chat/files/1/a.png"], ["image/png", "../other/a.png"], ["image/png", "files/../../x.png"], ["text/html", "files/1/a.png"]]) assert.ok(!check(type, url), `${type} ${url}`);
  assert.deepEqual([size(12), size(1536), size(10 * 1048576)], ["12 B", "1.5 KiB", "10 MiB"]);
});

test("a line that begins with a slash is a command, and one that is not complete says how it is used", () => {
  for (const [line, want] of [
    ["hello", { do: "say", text: "hello", action: false }], ["//etc", { do: "say", text: "/etc", action: false }], ["/me waves", { do: "say", text: "waves", action: true }],
    ["/kick @Mina too loud", { do: "kick", who: "Mina", why: "too loud" }], ["/ban kim 30 spam", { do: "ban", who: "kim", minutes: 30, why: "spam" }], ["/mute kim", { do: "mute", who: "kim" }],
    ["/join #lobby", { do: "join", room: "lobby" }], ["/msg kim  hi there", { do: "msg", who: "kim", text: "hi there" }], ["/role kim moderator", { do: "role", who: "kim", role: "moderator" }],
    ["/role kim king", { do: "usage", word: "role" }], ["/kick", { do: "usage", word: "kick" }], ["/me", { do: "usage", word: "me" }], ["/dance", { do: "unknown", word: "/dance" }], ["/topic", { do: "topic", text: "" }], ["/back", { do: "away", text: undefined }],
  ]) assert.deepEqual(read(line), want, line);
});

test("both languages have a sentence for everything, and the browser's list decides", () => {
  for (const name of ["commands", "errors"]) assert.deepEqual(Object.keys(WORDS.ko[name]), Object.keys(WORDS.en[name]));
  assert.deepEqual([preferred(["ko-KR"]), preferred(["fr", "ko"]), preferred(["de"]), preferred([])], ["ko", "ko", "en", "en"]);
});

test("a notice is a quieter message, and what clients of IRC put around their own talk is not seen", () => {
  const fold = new Fold(3), at = { room: "r", epoch: 1, at_ms: 1, by: { id: "g:1", name: "bot" }, on: "message" };
  fold.page([{ ...at, offset: 1, text: "hi" }, { ...at, offset: 2, text: "\u0001VERSION irssi\u0001", notice: true }], 1, 3, 3);
  assert.deepEqual(fold.lines.map(({ text, quiet, kind }) => [text, quiet, kind]), [["hi", false, "message"], ["VERSION irssi", true, "message"]]);
});

test("whatever pieces of a log come in whatever order, the same is seen", () => {
  let pages = 0, edits = 0;
  for (let seed = 1; seed <= 400; seed++) {
    const random = seeded(seed), pick = (count) => Math.floor(random() * count);
    const log = [];
    const now = () => log.map((event) => structuredClone(event));
    const grow = () => {
      const offset = log.length + 1, by = { id: `g:${pick(3)}`, name: `p${pick(3)}` }, at = { room: "r", epoch: 1, offset, at_ms: offset, by };
      const targets = log.filter(({ on }) => on === "message"), target = targets[pick(targets.length)];
      const what = target ? random() : 0;
      if (what < 0.5) log.push({ on: "message", text: `t${offset}`, ...at });
      else if (what < 0.7) { target.text = `e${offset}`; target.edits = (target.edits ?? 0) + 1; log.push({ on: "edited", of: target.offset, text: `e${offset}`, ...at }); edits += 1; }
      else if (what < 0.8) { log[target.offset - 1] = { ...at, on: "removed", offset: target.offset, at_ms: target.at_ms, by: target.by }; log.push({ on: "deleted", of: target.offset, ...at }); }
      else log.push({ on: "reaction", of: target.offset, emoji: "👍", add: random() < 0.6, ...at });
      return log.at(-1);
    };
    // History gives an edit with the text its message has now, or none.
    const history = (before, limit) => now().filter(({ offset }) => offset < before).slice(-limit).map((event) => {
      if (event.on !== "edited") return event;
      const { text: _, ...rest } = event, said = log[event.of - 1].text;
      return said === undefined ? rest : { ...rest, text: said };
    });
    for (let at = 0; at < 10 + pick(60); at++) grow();
    const fold = new Fold(log.length + 1);
    for (let turn = 0; turn < 60; turn++) {
      if (random() < 0.6) assert.ok(fold.live(structuredClone(grow())));
      else if (fold.low > 1) {
        const events = history(fold.low, 1 + pick(12));
        fold.page(events, events[0]?.offset ?? fold.low, fold.low, log.length + 1);
        pages += 1;
      }
    }
    while (fold.low > 1) {
      const events = history(fold.low, 7);
      fold.page(events, events[0].offset, fold.low, log.length + 1);
    }
    const liked = (of) => {
      const last = new Map();
      for (const event of log) if (event.on === "reaction" && event.of === of) last.set(event.by.id, event.add);
      return [...last.values()].filter(Boolean).length;
    };
    const want = log.filter(({ on }) => on === "message" || on === "removed").map(({ on, offset, text, edits: count }) => (on === "removed" ? [offset, "removed", "", false, 0] : [offset, "message", text, Boolean(count), liked(offset)]));
    const have = fold.lines.map(({ offset, kind, text, edited, reactions }) => (kind === "removed" ? [offset, kind, "", false, 0] : [offset, kind, text, edited, reactions[0]?.by.length ?? 0]));
    assert.deepEqual(have, want, `seed ${seed}`);
  }
  assert.ok(pages > 1000 && edits > 2000, `${pages} pages, ${edits} edits`);
});
