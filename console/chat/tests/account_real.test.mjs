// Goal: an account against the real server: a wrong password is named, guessing is held up with its time, who is in stays in over a reload and
// when the short token is over, is told when an operator logs it out, and leaves altogether; in English and in Korean.
// Method: the real server with two users, whose pages speak a language each; the browser's own cookies, of which the short one is taken away as
// its age would.
import assert from "node:assert/strict";
import test from "node:test";
import { House } from "../../../clients/javascript/tests/real/house.mjs";
import { launch, open, said, write } from "./browser.mjs";

const PASSWORD = "correct horse";
const TONGUES = [
  { locale: "en-US", user: "kim", account: "I have an account", wrong: "Name or password is not right.", held: /^Too many wrong passwords\. Try again in \d+ s\.$/, ended: "This connection was ended", leave: "Leave this name" },
  { locale: "ko-KR", user: "민아", account: "계정이 있어요", wrong: "이름이나 비밀번호가 맞지 않습니다.", held: /^비밀번호를 여러 번 틀렸습니다\. \d+초 뒤에 다시 해 주세요\.$/, ended: "연결이 끝났습니다", leave: "이 이름 버리기" },
];

test("an account of the real server", { timeout: 120_000 }, async (t) => {
  const house = await House.start("guests = false", {
    routes: `{ path = "/auth/*", identity = true }, `,
    more: `[identity]\nhash_memory = "8MiB"\nhash_passes = 1`,
  });
  const browser = await launch();
  t.after(async () => { await browser.close(); await house.close(); });
  for (const { user } of TONGUES) house.order(["user", "add", user], PASSWORD);

  for (const { locale, user, account, wrong, held, ended, leave } of TONGUES) {
    await t.test(`in ${locale}`, async () => {
      const page = await open(browser, house.base, { locale });
      const me = () => page.textContent(".me .name");
      const told = () => page.textContent("#told");
      const enter = async (password) => {
        await page.fill("#name", user);
        await page.fill("#password", password);
        const [answer] = await Promise.all([page.waitForResponse("**/auth/login"), page.keyboard.press("Enter")]);
        return answer.status();
      };
      const sign_in = async () => {
        await page.click(`text=${account}`);
        assert.equal(await enter(PASSWORD), 200);
        await page.waitForSelector(".house");
        assert.ok((await me()).startsWith(user), await me());
      };

      await page.click(`text=${account}`);
      assert.equal(await enter("wrong horse"), 401);
      await page.waitForSelector(`text=${wrong}`);
      assert.equal(await page.getAttribute("#name", "aria-invalid"), "true");
      // It was one wrong one: the right one is taken at once.
      assert.equal(await enter(PASSWORD), 200);
      await page.waitForSelector(".house");
      await page.waitForSelector("textarea:visible");
      await write(page, `from ${user}`);
      await said(page, `from ${user}`);
      const kept = await page.evaluate(() => document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage));
      assert.ok(!kept.includes(PASSWORD) && !kept.includes("mdr_") && !kept.includes("eyJ"), "scripts see no password and no token");

      // Over a reload, and when the short token is over.
      await page.reload();
      await page.waitForSelector(".house");
      assert.ok((await me()).startsWith(user));
      const names = async () => (await page.context().cookies(`${house.base}../auth/`)).map(({ name }) => name).sort();
      assert.deepEqual(await names(), ["madang", "madang-refresh"]);
      await page.context().clearCookies({ name: "madang" });
      const [refreshed] = await Promise.all([page.waitForResponse("**/auth/refresh"), page.reload()]);
      assert.equal(refreshed.status(), 200);
      await page.waitForSelector(".house");
      assert.ok((await me()).startsWith(user));
      await said(page, `from ${user}`);
      assert.deepEqual(await names(), ["madang", "madang-refresh"]);

      // By an operator, while it is open.
      house.order(["user", "logout", user]);
      await page.waitForSelector(`text=${ended}`);
      await sign_in();

      // By oneself, for good.
      await page.click(".me");
      await Promise.all([page.waitForResponse((answer) => answer.url().endsWith("/auth/logout") && answer.status() === 204), page.click(`text=${leave}`)]);
      await page.waitForSelector("#name");
      assert.deepEqual(await names(), []);
      await page.reload();
      await page.waitForSelector("#name");

      // Guessing, at the end: it is held up for a while.
      await page.click(`text=${account}`);
      let status;
      for (let guess = 0; guess < 7 && status !== 429; guess++) status = await enter(`guess ${guess}`);
      assert.equal(status, 429, "the sixth is not looked at");
      await page.waitForFunction(() => document.querySelector("#told")?.textContent !== "");
      assert.match(await told(), held);
      assert.equal(await enter(PASSWORD), 429, "nor is the right one now");
      // What the browser tells of an answer of 401 and 429 is what this is about.
      assert.deepEqual(page.wrong.filter((text) => !/status of 4(01|29)/.test(text)), []);
      await page.context().close();
    });
  }
});
