// The pictures of docs/pictures: the page with a small story told by clients. `make pictures`.
import { connect } from "../../../clients/javascript/dist/index.js";
import { House } from "../../../clients/javascript/tests/real/house.mjs";
import { come_in, launch, open } from "./browser.mjs";

const OUT = process.argv[2] ?? new URL("../../../docs/pictures/", import.meta.url).pathname;
const house = await House.start(`rate = "200/s"\nburst = 2000`);
const browser = await launch();
const people = {};
for (const name of ["Nari", "dori", "소라", "jun"]) {
  people[name] = connect(house.base, { name, storage: null });
  await new Promise((done) => people[name].on("ready", done));
}
const in_room = (name, room) => people[name].join(room);
const say = async (name, room, text, more) => (await in_room(name, room)).send(text, more).then(({ offset }) => offset);

await people.Nari.create("lobby", { topic: "Tiles, timber, and who brings lunch" });
for (const name of ["dori", "소라", "jun"]) await in_room(name, "lobby");
await say("dori", "garden", "The persimmons are ripe.");
await say("소라", "마당", "내일 비 온대요.");
await say("jun", "release-2", "Draft notes are up.");
const page = await open(browser, house.base, { width: 1280, height: 800 });
await come_in(page, "Mina");
await page.waitForSelector("textarea:visible");
for (const room of ["garden", "마당", "release-2"]) await page.locator(".rail .door", { hasText: room }).click().then(() => page.waitForFunction((name) => document.querySelector(".top h1")?.textContent.includes(name), room));
await page.locator(".rail .door", { hasText: "lobby" }).click();
await page.locator(".top .tool").nth(1).click();
await say("Nari", "lobby", "Good morning! The tiles for the west wing arrived.");
await say("Nari", "lobby", "The invoice is at https://example.org/tiles?lot=7 (they want an answer today).");
const asked = await say("dori", "lobby", "Can we meet at ten? @Mina wanted to see the joints before they close the roof.");
for (const name of ["Nari", "소라"]) await (await in_room(name, "lobby")).react(asked, "👍");
await say("소라", "lobby", "열 시 좋아요. 점심은 제가 준비할게요. 비가 오면 대청에서 먹어요!", { reply: asked });
await say("jun", "lobby", "Measured it again:\n```\nwest  4.20 m\neast  4.18 m\n```\nso `west - east` is 2 cm, within what we said.");
await page.click("textarea");
await page.keyboard.insertText("Two centimetres is nothing. Ten it is.");
await page.keyboard.press("Enter");
await say("dori", "garden", "@Mina, come and see!");
await say("jun", "release-2", "Reviewed, only two questions left.");
await people["소라"].room("@Mina").send("점심에 뭐 먹을까요?");
await page.waitForFunction(() => document.querySelectorAll(".badge").length === 3);
const typing = (await in_room("Nari", "lobby"));
typing.typing();
await page.waitForSelector(".dots");
await page.screenshot({ path: `${OUT}chat-desktop.png` });
await page.emulateMedia({ colorScheme: "dark" });
await page.evaluate(() => document.querySelector(".me").click());
await page.locator("dialog button", { hasText: "한국어" }).click();
await page.keyboard.press("Escape");
// It is shown for five seconds, and given every three at most: when it is gone it may be given again.
await page.waitForSelector(".dots", { state: "detached" });
typing.typing();
await page.waitForSelector(".dots");
await page.screenshot({ path: `${OUT}chat-dark.png` });
const phone = await open(browser, house.base, { width: 390, height: 760, phone: true });
await come_in(phone, "mori");
await phone.waitForSelector(".message");
if (!(await phone.textContent(".top h1")).includes("lobby")) {
  await phone.click(".narrow");
  await phone.locator(".rail .door", { hasText: "lobby" }).click();
}
await phone.waitForFunction(() => document.querySelectorAll(".message").length > 5);
await phone.waitForFunction(() => { const box = document.querySelector(".scroller"); return box.scrollHeight - box.scrollTop - box.clientHeight < 2; });
await phone.screenshot({ path: `${OUT}chat-phone.png` });
if (page.wrong.length || phone.wrong.length) throw new Error([...page.wrong, ...phone.wrong].join("\n"));
for (const chat of Object.values(people)) chat.close();
await browser.close();
await house.close();
process.exit(0);
