// node's own fetch and the library ws, through the proxy. Usage: node node_client.js http://… ws://…
// Prints "all well", or what was not, and exits 1. Needs no package manager: ws is Debian's (NODE_PATH).
const assert = require("node:assert");
const { createHash } = require("node:crypto");
const WebSocket = require("ws");

const [base, sockets] = process.argv.slice(2);
const large = Buffer.alloc(3 * 1024 * 1024, "0123456789abcdef!");
const sum = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function transfers() {
  const download = Buffer.from(await (await fetch(base + "/files/large.bin")).arrayBuffer());
  assert.strictEqual(download.length, 300000);
  async function* pieces() {
    for (let at = 0; at < large.length; at += 100000) yield large.subarray(at, at + 100000);
  }
  const upload = await (await fetch(base + "/any", { method: "PUT", body: pieces(), duplex: "half" })).json();
  assert.deepStrictEqual([upload.method, upload.length, upload.sha256], ["PUT", large.length, sum(large)]);
  const many = await Promise.all(Array.from({ length: 50 }, async (_, index) => (await (await fetch(`${base}/any?${index}`)).json()).path));
  assert.deepStrictEqual(many, many.map((_, index) => `/any?${index}`));
}

function talk() {
  return new Promise((yes, no) => {
    const socket = new WebSocket(sockets + "/socket", "echo.v1");
    const wanted = ["마당", large, "x".repeat(100000)];
    let at = 0;
    socket.on("open", () => socket.send(wanted[0]));
    socket.on("message", (data, binary) => {
      const want = Buffer.from(wanted[at]);
      if (!want.equals(data) || binary !== Buffer.isBuffer(wanted[at])) no(new Error(`message ${at} differs`));
      at += 1;
      socket.send(at < wanted.length ? wanted[at] : "bye");
    });
    socket.on("close", (code) => (code === 4321 && at === wanted.length ? yes() : no(new Error(`closed with ${code} after ${at}`))));
    socket.on("error", no);
  });
}

transfers().then(talk).then(
  () => console.log("all well"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
