// Goal: an account comes in by name and password, stays in when its short cookie is over, is told when it is not let in, and leaves altogether.
// Method: the scripted town, whose connections are whom the cookie shows; the requests of the login are answered here as docs/identity.md says.
import assert from "node:assert/strict";
import test from "node:test";
import { serve } from "../../../clients/javascript/tests/serve.mjs";
import { launch } from "./browser.mjs";

const DIST = new URL("../../../roles/chat/page/dist/", import.meta.url);

test("an account", { timeout: 60_000 }, async (t) => {
  const { server, town, port } = await serve(0, DIST);
  const browser = await launch();
  t.after(async () => { await browser.close(); server.closeAllConnections(); server.close(); });
  const context = await browser.newContext({ locale: "en-US" });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const asked = [];
  let session = false; // the longer cookie
  await page.route("**/auth/*", async (route) => {
    const what = new URL(route.request().url()).pathname.split("/").at(-1), body = route.request().postDataJSON();
    asked.push([what, body]);
    const answer = (status, json) => route.fulfill({ status, contentType: "application/json", body: JSON.stringify(json) });
    if (what === "login" && body.password === "right") { session = true; town.signed_in = "kim"; return answer(200, {}); }
    if (what === "refresh" && session) { town.signed_in = "kim"; return answer(200, {}); }
    if (what === "logout") { session = false; town.signed_in = undefined; return answer(200, {}); }
    return answer(401, { error: { name: "login-wrong", text: "name or password is not right" } });
  });
  const me = () => page.textContent(".me .name");
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.click("text=I have an account");
  await page.fill("#name", "kim");
  await page.fill("#password", "wrong");
  await page.keyboard.press("Enter");
  await page.waitForSelector("text=Name or password is not right.");
  await page.fill("#password", "right");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".house");
  assert.match(await me(), /^kim/);
  assert.deepEqual(asked[1], ["login", { name: "kim", password: "right", cookies: true }]);
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("right")), false, "the password is kept nowhere");

  // The short cookie is over, the server starts again: the longer cookie brings the next.
  town.signed_in = undefined;
  town.restart(1001);
  await page.waitForFunction(() => document.querySelector(".weather") === null);
  await page.reload();
  await page.waitForSelector(".house");
  assert.match(await me(), /^kim/);
  assert.ok(asked.some(([what]) => what === "refresh"));

  // Logged out elsewhere.
  session = false;
  town.signed_in = undefined;
  town.restart(4002);
  await page.waitForSelector("text=This connection was ended");
  session = true;
  town.signed_in = "kim";
  await page.reload();
  await page.waitForSelector(".house");
  await page.click(".me");
  await page.click("text=Leave this name");
  await page.waitForSelector("#name");
  assert.equal(asked.at(-1)[0], "logout");
});
