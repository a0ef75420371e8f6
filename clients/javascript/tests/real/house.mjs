// The real server for a test: settings in a folder that vanishes, started, killed, started again. Ports are asked for by port 0.
//
// Used by real/*.test.mjs here and by console/chat/tests. MADANG names the binary (default: target/debug/madang).
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const BINARY = process.env.MADANG ?? new URL("../../../../target/debug/madang", import.meta.url).pathname;
const READY_MS = 20_000;

const free_port = () => new Promise((done) => {
  const probe = createServer().listen(0, "127.0.0.1", () => { const { port } = probe.address(); probe.close(() => done(port)); });
});

export class House {
  /** `chat`: more settings of the chat; `routes`: more routes, with a comma behind each; `more`: other sections. */
  static async start(chat = "", { routes = "", more = "" } = {}) {
    const house = new House();
    house.folder = mkdtempSync(join(tmpdir(), "madang-chat-"));
    house.port = await free_port();
    writeFileSync(join(house.folder, "madang.toml"), `
[server]
data = "data"
workers = 2
[site.main]
listen = "http://127.0.0.1:${house.port}"
route = [${routes}{ path = "/chat/*", chat = "town" }]
[chat.town]
${chat}
${more}
`);
    await house.up();
    return house;
  }

  get base() { return `http://127.0.0.1:${this.port}/chat/`; }

  async up() {
    const child = (this.child = spawn(BINARY, ["run", "-c", join(this.folder, "madang.toml")], { stdio: ["ignore", "pipe", "pipe"] }));
    this.told = [];
    const ended = new Promise((done) => child.once("exit", done));
    this.ended = ended;
    await new Promise((ready, failed) => {
      const late = setTimeout(() => failed(new Error(`not ready: ${this.told.join("\n")}`)), READY_MS);
      for (const stream of [child.stdout, child.stderr]) {
        createInterface(stream).on("line", (line) => {
          this.told.push(line);
          if (/\bready\b/.test(line)) { clearTimeout(late); ready(); }
        });
      }
      void ended.then((code) => { clearTimeout(late); failed(new Error(`ended with ${code}: ${this.told.join("\n")}`)); });
    });
  }

  /** A command of the program, with this on its standard input; it must succeed. */
  order(command, input = "") {
    const done = spawnSync(BINARY, [...command, "-c", join(this.folder, "madang.toml")], { input, encoding: "utf8", timeout: READY_MS });
    if (done.status !== 0) throw new Error(`${command.join(" ")}: ${done.stderr}`);
    return done.stdout;
  }

  /** Where it listens by this scheme, as it told. */
  bound(scheme) {
    const line = this.told.find((line) => line.includes(`listening on ${scheme}://`));
    const [, host, port] = /:\/\/(.*):(\d+)/.exec(line ?? "") ?? [];
    if (!port) throw new Error(`it listens nowhere by ${scheme}: ${this.told.join("\n")}`);
    return { host, port: Number(port) };
  }

  async down(signal = "SIGKILL") {
    this.child.kill(signal);
    await this.ended;
  }

  async close() {
    await this.down("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
