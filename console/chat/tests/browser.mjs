// Browsers for tests of the page: headless Chromium with the built page at the chat's address.
//
// CHROMIUM names the browser (default /usr/bin/chromium). Used by *.test.mjs and pictures.mjs here. Calls the real server (House).
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const DIST = new URL("../../../roles/chat/page/dist/", import.meta.url);
const TYPES = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks"] });

/** A page of its own browser profile. What goes wrong in it is gathered in `page.wrong`, its websocket is `page.socket`. */
export async function open(browser, base, { width = 1280, height = 800, locale = "en-US", dark = false, phone = false, script } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, locale, colorScheme: dark ? "dark" : "light", hasTouch: phone, isMobile: phone, permissions: ["clipboard-read", "clipboard-write"] });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.wrong = [];
  if (script) await page.addInitScript(script);
  // The newest of its websockets.
  page.on("websocket", (socket) => { page.socket = socket; });
  page.on("pageerror", (error) => page.wrong.push(error.message));
  page.on("console", (message) => {
    // A server that is away is told by the browser too; that is what some tests are about.
    if (message.type() === "error" && !/WebSocket connection|ERR_CONNECTION|ERR_INTERNET|net::ERR/.test(message.text())) page.wrong.push(message.text());
  });
  // As the server gives it, with all its headers; with PAGE=built from the folder: to try a page that no server was built with yet.
  if (process.env.PAGE === "built") {
    await page.route((url) => url.href.startsWith(base) && !/\/(ws|files|rooms)(\/|$|\?)/.test(url.pathname.slice(new URL(base).pathname.length - 1)), (route) => {
      const name = new URL(route.request().url()).pathname.slice(new URL(base).pathname.length) || "index.html";
      return route.fulfill({ body: readFileSync(new URL(name, DIST)), contentType: TYPES[name.split(".").at(-1)] });
    });
  }
  await page.goto(base);
  return page;
}

export async function come_in(page, name) {
  await page.fill("#name", name);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".house");
}

/** Opens and says the name; the room is there. */
export async function enter(browser, base, name, options = {}) {
  const page = await open(browser, base, options);
  await come_in(page, name);
  await page.waitForSelector("textarea:visible");
  return page;
}

export const write = async (page, text) => { await page.click("textarea"); await page.keyboard.insertText(text); await page.keyboard.press("Enter"); };
export const said = (page, text) => page.waitForFunction((wanted) => [...document.querySelectorAll(".message .text")].some((one) => one.textContent.includes(wanted)), text, { timeout: 30_000 });
export const texts = (page) => page.$$eval(".message .text", (list) => list.map((one) => one.textContent));
