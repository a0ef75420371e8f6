// Goal: what the quickstart promises: two browsers and irssi in one room at once talk with each other.
// Method: the real server; two headless browsers in two languages, irssi in a terminal made by script(1); each says something and the other two
// show it, in rooms and alone.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import test from "node:test";
import { House } from "../../../clients/javascript/tests/real/house.mjs";
import { enter, launch, said, texts, write } from "./browser.mjs";

const PATIENCE_MS = 20_000;

/** irssi in a terminal of its own; what it draws is kept as plain text. */
class Irssi {
  #waiting = new Set();
  text = "";

  constructor(folder) {
    const command = `stty cols 160 rows 40; exec irssi --noconnect --home=${join(folder, "irssi")} --nick=issi`;
    this.child = spawn("script", ["-qfec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm", LANG: "C.UTF-8", HOME: folder }, stdio: ["pipe", "pipe", "inherit"] });
    this.child.stdout.setEncoding("utf8").on("data", (drawn) => {
      this.text += drawn.replace(/\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|[\x0e\x0f]/g, "");
      for (const look of [...this.#waiting]) look();
    });
  }

  types(line) { this.child.stdin.write(`${line}\r`); }

  shows(wanted) {
    return new Promise((done, failed) => {
      const late = setTimeout(() => { this.#waiting.delete(look); failed(new Error(`irssi does not show ${wanted}; it shows ${this.text.slice(-1500)}`)); }, PATIENCE_MS);
      const look = () => {
        if (!this.text.includes(wanted)) return;
        clearTimeout(late);
        this.#waiting.delete(look);
        done();
      };
      this.#waiting.add(look);
      look();
    });
  }

  async ends() {
    if (this.child.exitCode !== null) return;
    const ended = once(this.child, "exit");
    this.types("/quit");
    const late = setTimeout(() => this.child.kill("SIGKILL"), 3_000);
    await ended;
    clearTimeout(late);
  }
}

test("two browsers and irssi are in one room at once", { timeout: 120_000 }, async (t) => {
  const house = await House.start(`listen = "irc://127.0.0.1:0"\nmotd = "be kind to each other"`);
  const browser = await launch();
  const irssi = new Irssi(house.folder);
  t.after(async () => { await irssi.ends(); await browser.close(); await house.close(); });
  const mina = await enter(browser, house.base, "mina");
  const nari = await enter(browser, house.base, "나리", { locale: "ko-KR" });
  const { host, port } = house.bound("irc");
  // Everything is drawn on the one screen that is looked at.
  for (const line of ["/set autocreate_windows off", "/set autocreate_query_level NONE", "/set paste_detect_time 0", "/set cmd_queue_speed 10msec"]) irssi.types(line);
  irssi.types(`/connect ${host} ${port}`);
  await irssi.shows("be kind to each other");
  irssi.types("/join #lobby");
  await irssi.shows("has joined #lobby");
  await mina.locator(".side, .people, .top").first().waitFor();

  await write(mina, "hello from a browser");
  await Promise.all([said(nari, "hello from a browser"), irssi.shows("hello from a browser")]);
  await write(nari, "나리도 여기 있어요");
  await Promise.all([said(mina, "나리도 여기 있어요"), irssi.shows("나리도 여기 있어요")]);
  irssi.types("/msg #lobby 안녕, from irssi");
  await Promise.all([said(mina, "안녕, from irssi"), said(nari, "안녕, from irssi")]);
  irssi.types("/action #lobby waves");
  await Promise.all([said(mina, "waves"), said(nari, "waves")]);

  // In one order, once.
  const all = ["hello from a browser", "나리도 여기 있어요", "안녕, from irssi"];
  for (const page of [mina, nari]) assert.deepEqual((await texts(page)).filter((text) => all.includes(text)), all);

  // Alone: from irssi to a browser, and the answer.
  irssi.types("/msg mina psst mina");
  await mina.locator(".rail .door", { hasText: "issi" }).click();
  await said(mina, "psst mina");
  await write(mina, "yes, issi?");
  await irssi.shows("yes, issi?");
  assert.ok(!(await texts(nari)).some((text) => text.includes("psst")), "nobody else hears it");
  assert.deepEqual([...mina.wrong, ...nari.wrong], []);
});
