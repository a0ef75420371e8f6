// Goal: the page in real browsers against the real server: people talk, Korean is written whole, nothing is lost by reloads, a network that goes
// away and a server that is killed; what may be done is done; what is long stays light; assistive technology finds its way.
// Method: two headless browsers; input methods played by the browser's own protocol; axe-core for the rules of accessibility.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { connect } from "../../../clients/javascript/dist/index.js";
import { House } from "../../../clients/javascript/tests/real/house.mjs";
import { come_in, enter, launch, open, said, texts, write } from "./browser.mjs";

const AXE = readFileSync(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

test("the page", { timeout: 240_000 }, async (t) => {
  const house = await House.start(`rate = "500/s"\nburst = 5000`);
  const browser = await launch();
  t.after(async () => { await browser.close(); await house.close(); });
  const mina = await enter(browser, house.base, "mina");
  const nari = await enter(browser, house.base, "나리", { locale: "ko-KR" });
  // What both saw when something was not as it should be: SHOTS names a folder.
  const step = (name, options, then = options) => t.test(name, typeof options === "object" ? options : {}, async () => {
    try {
      await then();
    } catch (error) {
      if (process.env.SHOTS) for (const [who, page] of [["mina", mina], ["nari", nari]]) await page.screenshot({ path: `${process.env.SHOTS}/${name.slice(0, 20)} ${who}.png` });
      throw error;
    }
  });
  const wrong = () => assert.deepEqual([...mina.wrong, ...nari.wrong], []);
  // Others may see it before the one who wrote it.
  const one = async (text) => {
    await said(nari, text);
    const list = await texts(nari);
    assert.equal(list.filter((have) => have === text).length, 1, `${text} once in ${list}`);
  };

  await step("two browsers talk; each speaks its own language; a mention is marked and counted elsewhere", async () => {
    assert.equal(await mina.getAttribute("html", "lang"), "en");
    assert.equal(await nari.getAttribute("html", "lang"), "ko");
    await write(mina, "hello @나리님, see https://example.org/a_(b)?c=1.");
    await said(nari, "hello");
    assert.equal(await nari.textContent(".message .mention.self"), "@나리");
    const link = await nari.$eval(".message .text a", (a) => [a.href, a.rel.includes("noopener"), a.textContent]);
    assert.deepEqual(link, ["https://example.org/a_(b)?c=1", true, "https://example.org/a_(b)?c=1"]);
    await write(nari, "안녕하세요");
    await said(mina, "안녕하세요");
    await mina.waitForFunction(() => document.querySelector("[aria-live=polite].unseen")?.textContent.includes("안녕하세요"));
    wrong();
  });

  await step("markup is text", async () => {
    await write(mina, `<img src=x onerror="document.title='x'"> \`<b>\` javascript:alert(1)`);
    await said(nari, "<img src=x");
    assert.equal(await nari.$$eval(".message .text img, .message .text b, .message .text a[href^='javascript']", (list) => list.length), 0);
    wrong();
  });

  await step("a syllable that is being put together never leaves, by Enter or by the button; the whole word does, once", async () => {
    const line = await nari.context().newCDPSession(nari);
    await nari.click("textarea");
    const compose = async (...steps) => { for (const text of steps) await line.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length }); };
    const enter_key = (code, more = {}) => nari.evaluate(([keyCode, init]) => {
      const event = new KeyboardEvent("keydown", { key: "Enter", code: "Enter", bubbles: true, cancelable: true, ...init });
      Object.defineProperty(event, "keyCode", { value: keyCode });
      return document.querySelector("textarea").dispatchEvent(event);
    }, [code, more]);
    const before = (await texts(nari)).length;
    await compose("ㅎ", "하", "한");
    // Chromium and Firefox: Enter while it composes.
    await enter_key(229, { isComposing: true });
    assert.equal(await nari.inputValue("textarea"), "한");
    await line.send("Input.insertText", { text: "한" });
    // Safari: the composition has ended, the key that ended it comes after and bears 229.
    await enter_key(229);
    await compose("ㄱ", "그", "글");
    // What had left would have come before what is said now.
    await write(mina, "and now?");
    await said(nari, "and now?");
    assert.equal((await texts(nari)).length, before + 1, "nothing left");
    await line.send("Input.insertText", { text: "글" });
    await nari.keyboard.press("Enter");
    await said(mina, "한글");
    await one("한글");
    assert.equal(await nari.inputValue("textarea"), "");
    // The button, in the middle of a syllable.
    await nari.keyboard.insertText("나");
    await compose("ㅁ", "무");
    await nari.click(".go");
    await said(mina, "나무");
    await one("나무");
    assert.equal(await nari.inputValue("textarea"), "", "nothing of it stays behind");
    assert.deepEqual((await texts(mina)).slice(-2), ["한글", "나무"]);
    wrong();
  });

  await step("edit, reply, react, delete: seen by both", async () => {
    await write(mina, "a frist try");
    await said(mina, "a frist try");
    await mina.keyboard.press("ArrowUp");
    await mina.fill("textarea", "a first try");
    await mina.keyboard.press("Enter");
    await said(nari, "a first try");
    const item = nari.locator(".message", { hasText: "a first try" }).first();
    await item.hover();
    await item.locator(".tools button").nth(1).click();
    await write(nari, "좋아요");
    await said(mina, "좋아요");
    assert.match(await mina.locator(".message", { hasText: "좋아요" }).locator(".quote").textContent(), /mina\s+a first try/);
    await item.hover();
    await item.locator(".tools button").nth(0).click();
    await nari.locator(".palette button").first().click();
    await mina.locator(".reactions button", { hasText: "1" }).click();
    await nari.locator(".reactions button", { hasText: "2" }).waitFor();
    await mina.locator(".message", { hasText: "a first try" }).first().focus();
    await mina.keyboard.press("Delete");
    await mina.keyboard.press("Enter");
    await nari.waitForFunction(() => document.querySelector(".message .text.removed"));
    wrong();
  });

  await step("a reload comes back as the same person, in the same rooms; what was said meanwhile is marked new", async () => {
    // What was read is told after a while.
    const told = nari.socket.waitForEvent("framesent", ({ payload }) => /"do":"read"/.test(payload));
    await write(mina, "this is read");
    await said(nari, "this is read");
    await told;
    await nari.goto("about:blank");
    await write(mina, "while you were away");
    await said(mina, "while you were away");
    await nari.goto(house.base);
    await said(nari, "while you were away");
    await one("while you were away");
    assert.equal(await nari.textContent(".me .name"), "나리손님");
    await nari.locator(".new-line").waitFor();
    wrong();
  });

  await step("without a network what is written waits, and is sent once when it is back", async () => {
    await nari.click("textarea");
    await nari.context().setOffline(true);
    await house.down();
    await nari.locator(".weather").waitFor({ timeout: 8000 });
    await write(nari, "첫째");
    await write(nari, "둘째");
    assert.deepEqual(await nari.$$eval(".line.pending .text", (list) => list.map((one) => one.textContent)), ["첫째", "둘째"]);
    await house.up();
    await nari.context().setOffline(false);
    await said(mina, "둘째");
    await nari.waitForFunction(() => !document.querySelector(".line.pending"));
    assert.deepEqual((await texts(mina)).slice(-2), ["첫째", "둘째"]);
    await one("첫째");
    await one("둘째");
    wrong();
  });

  await step("what waits survives a page that is closed without a server", async () => {
    await house.down();
    await mina.locator(".weather").waitFor({ timeout: 8000 });
    await write(mina, "kept over the reload");
    await mina.goto("about:blank");
    await house.up();
    await mina.goto(house.base);
    await said(nari, "kept over the reload");
    await said(mina, "kept over the reload");
    await one("kept over the reload");
    wrong();
  });

  await step("rooms are made, entered, named; people are invited and sent out; commands say what is wrong", async () => {
    await mina.click(".rail h2 .tool");
    await mina.fill("#room-name", "담장");
    await mina.fill("#room-topic", "stones");
    await mina.check("dialog input[type=checkbox] >> nth=1");
    await mina.keyboard.press("Enter");
    await mina.waitForFunction(() => document.querySelector(".top h1")?.textContent.includes("담장"));
    await write(mina, "/invite 나리");
    await nari.locator(".rail .door", { hasText: "담장" }).click();
    await write(nari, "왔어요");
    await said(mina, "왔어요");
    await write(mina, "/topic stones and lime");
    await nari.waitForFunction(() => document.querySelector(".topic")?.textContent.includes("lime"));
    await write(mina, "/nothing");
    await mina.waitForFunction(() => document.querySelector(".said")?.textContent.includes("/nothing"));
    await mina.fill("textarea", "");
    await mina.locator(".message .who", { hasText: "나리" }).first().click();
    await mina.locator("dialog button", { hasText: "Send out" }).click();
    await nari.waitForFunction(() => !document.querySelector(".rail")?.textContent.includes("담장"));
    wrong();
  });

  await step("direct messages arrive with a badge, and the switcher goes there by the keyboard alone", async () => {
    await mina.keyboard.press("Control+k");
    await mina.keyboard.insertText("나");
    await mina.keyboard.press("Enter");
    await mina.waitForFunction(() => document.querySelector(".top h1")?.textContent === "나리");
    await write(mina, "just between us");
    const door = nari.locator(".rail .door", { hasText: "mina" });
    await door.locator(".badge.loud").waitFor();
    await nari.waitForFunction(() => document.title.startsWith("(1)"));
    await nari.keyboard.press("Control+k");
    await nari.keyboard.insertText("mi");
    await nari.keyboard.press("Enter");
    await said(nari, "just between us");
    await nari.waitForFunction(() => !document.title.startsWith("("));
    wrong();
  });

  await step("files are dropped, pasted and picked; a picture is shown, another file is offered, a message of files alone is one", async () => {
    await mina.goto(`${house.base}#lobby`);
    await mina.reload();
    await mina.waitForSelector("textarea:visible");
    const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC", "base64");
    await mina.setInputFiles("input[type=file]", [{ name: "도면 1.png", mimeType: "image/png", buffer: png }, { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("tiles") }]);
    await mina.waitForFunction(() => [...document.querySelectorAll(".chips small")].filter((one) => one.textContent.endsWith("B")).length === 2);
    await mina.keyboard.press("Enter");
    await nari.locator(".rail .door", { hasText: "lobby" }).click();
    await nari.waitForFunction(() => document.querySelector(".picture img")?.naturalWidth === 10);
    assert.equal(await nari.textContent(".file"), "notes.txt (5 B)");
    const [saved] = await Promise.all([nari.waitForEvent("download"), nari.click(".file")]);
    assert.equal(saved.suggestedFilename(), "notes.txt");
    await mina.evaluate((bytes) => {
      const carried = new DataTransfer();
      carried.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
      for (const kind of ["dragenter", "dragover", "drop"]) document.querySelector(".talk").dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
    }, [...png]);
    await mina.waitForFunction(() => document.querySelector(".chips small")?.textContent.endsWith("B"));
    await write(mina, "dropped");
    await nari.waitForFunction(() => document.querySelectorAll(".picture img").length === 2);
    // From the clipboard, as after a screenshot; and a text from it is text, not a file.
    await mina.bringToFront();
    await mina.evaluate(async () => {
      const picture = new OffscreenCanvas(10, 10);
      picture.getContext("2d").fillRect(2, 2, 6, 6);
      await navigator.clipboard.write([new ClipboardItem({ "image/png": await picture.convertToBlob() })]);
    });
    await mina.click("textarea");
    await mina.keyboard.press("Control+V");
    await mina.waitForFunction(() => document.querySelector(".chips small")?.textContent.endsWith("B"));
    await write(mina, "pasted");
    await said(nari, "pasted");
    await nari.waitForFunction(() => [...document.querySelectorAll(".picture img")].filter((one) => one.naturalWidth === 10).length === 3);
    await mina.evaluate(() => navigator.clipboard.writeText("words from elsewhere"));
    await mina.click("textarea");
    await mina.keyboard.press("Control+V");
    await mina.waitForFunction(() => document.querySelector("textarea").value === "words from elsewhere");
    assert.equal(await mina.locator(".chips small").count(), 0);
    await mina.fill("textarea", "");
    wrong();
  });

  await step("a phone: one pane at a time, back and forth by touch and by the browser's own button; what may be done comes by a tap", async () => {
    const page = await open(browser, house.base, { width: 360, height: 740, phone: true, locale: "ko-KR", script: AXE });
    await come_in(page, "소라");
    await page.waitForSelector(".message");
    const seen = (selector) => page.isVisible(selector);
    assert.deepEqual([await seen(".rail"), await seen(".talk")], [false, true]);
    await page.tap(".narrow");
    assert.deepEqual([await seen(".rail"), await seen(".talk")], [true, false]);
    await page.tap(".rail .door");
    await page.waitForSelector(".talk");
    await page.goBack();
    await page.waitForSelector(".rail");
    await page.tap(".rail .door");
    await page.tap(".message >> nth=-1");
    assert.equal(await page.$eval(".message:focus-within > .tools", (tools) => getComputedStyle(tools).opacity), "1");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the screen");
    // Enter is a new line where there is no other key for it; the button sends.
    await page.tap("textarea");
    await page.keyboard.insertText("첫 줄");
    await page.keyboard.press("Enter");
    await page.keyboard.insertText("둘째 줄");
    await page.tap(".go");
    await said(mina, "첫 줄\n둘째 줄");
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120))}`), []);
    assert.deepEqual(page.wrong, []);
    await page.context().close();
  });

  await step("ten thousand messages: few lines are in the document, scrolling up stays at its place, search goes far back", { timeout: 120_000 }, async () => {
    const bot = connect(house.base, { name: "bot", storage: null, WebSocket: globalThis.WebSocket, queue_max: 20_000 });
    await new Promise((done) => bot.on("ready", done));
    // Several rooms' lanes would be faster, one is what is to be shown: one after the other.
    const room = await bot.join("long");
    const count = Number(process.env.LONG ?? 10_000);
    const all = [];
    for (let at = 0; at < count; at++) all.push(room.send(at === 500 ? "the persimmon tree" : `line ${at}`));
    await Promise.all(all);
    await mina.goto(`${house.base}#long`);
    await mina.reload();
    await said(mina, `line ${count - 1}`);
    const lines = () => mina.$$eval(".message", (list) => list.length);
    assert.ok((await lines()) < 320);
    /** Which line is looked at, and where it is; the same line is found again later. */
    const look = (offset) => mina.evaluate((wanted) => {
      const box = document.querySelector(".scroller"), edge = box.getBoundingClientRect().top;
      const one = wanted ? box.querySelector(`[data-offset="${wanted}"]`) : [...box.querySelectorAll(".message")].find((line) => line.getBoundingClientRect().bottom > edge + 1);
      return [Number(one?.dataset.offset), Math.round(one?.getBoundingClientRect().top - edge)];
    }, offset);
    /** Until there is more to scroll to again: the page brings lines in when fewer than 700 px are left, unless there are no more. */
    const settled = (up, last) => mina.waitForFunction(([up, last]) => {
      const box = document.querySelector(".scroller"), lines = [...box.querySelectorAll(".message .text")];
      const left = up ? box.scrollTop : box.scrollHeight - box.scrollTop - box.clientHeight;
      return left >= 700 || lines.at(up ? 0 : -1)?.textContent === last;
    }, [up, last]);
    let [at] = await look();
    for (let turn = 0; turn < 30; turn++) {
      await mina.evaluate(() => { document.querySelector(".scroller").scrollTop -= 900; });
      const now = await look();
      await settled(true, "line 0");
      const later = await look(now[0]);
      assert.ok(Math.abs(later[1] - now[1]) <= 2, `turn ${turn}: line ${now[0]} was at ${now[1]} px, then at ${later[1]}`);
      assert.ok(now[0] < at, `turn ${turn}: went up from ${at} to ${now[0]}`);
      [at] = now;
      assert.ok((await lines()) < 340, `${await lines()} lines`);
    }
    await mina.click(".newest");
    await mina.waitForFunction((last) => [...document.querySelectorAll(".message .text")].at(-1)?.textContent === last, `line ${count - 1}`);
    await mina.locator(".top .tool[aria-label=Search]").click();
    await mina.fill(".side input", "persimmon");
    await mina.locator(".found button").click();
    await said(mina, "the persimmon tree");
    await mina.waitForFunction(() => { const box = document.querySelector(".scroller").getBoundingClientRect(); const one = [...document.querySelectorAll(".message")].find((line) => line.textContent.includes("persimmon"))?.getBoundingClientRect(); return one && one.top > box.top && one.bottom < box.bottom; });
    for (let turn = 0; turn < 12; turn++) {
      await mina.evaluate(() => { document.querySelector(".scroller").scrollTop += 900; });
      await settled(false, `line ${count - 1}`);
    }
    const seen = await mina.$$eval(".message", (list) => list.map((line) => Number(line.dataset.offset)));
    assert.ok(seen.every((offset, index) => index === 0 || offset === seen[index - 1] + 1), "downwards without a hole");
    bot.close();
    wrong();
  });

  await step("the rules of accessibility hold at the gate, in a room, in every box, by day and by night", async () => {
    const found = [];
    const check = async (page, where) => {
      const result = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
      found.push(...result.violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.replace(/\s+/g, " ").slice(0, 200)}`).join(" | ")}`));
    };
    for (const dark of [false, true]) {
      const night = dark ? "night" : "day";
      const page = await open(browser, house.base, { dark, script: AXE });
      await page.waitForSelector("#name");
      await check(page, `${night} gate`);
      await come_in(page, `axe${night}`);
      await page.waitForSelector(".message");
      await page.locator(".top .tool").nth(1).click();
      await check(page, `${night} room`);
      for (const [button, where] of [[".me", "settings"], [".rail h2 .tool", "create"], [".rail header .tool", "switcher"], [".message .who >> nth=0", "person"], [".top .tool >> nth=-1", "about"]]) {
        await page.locator(button).first().click();
        await page.waitForSelector("dialog[open]");
        await check(page, `${night} ${where}`);
        await page.keyboard.press("Escape");
        await page.waitForSelector("dialog[open]", { state: "detached" }).catch(() => {});
      }
      assert.deepEqual(page.wrong, []);
      await page.context().close();
    }
    assert.deepEqual(found, []);
  });
});
