// The town over real sockets, and the built page, to look at without the server. Usage: node tests/serve.mjs [PORT] [FOLDER of the page]
//
// Just enough of RFC 6455 for browsers on this machine. Used by hand and by console/chat/tests. Not here: what the town does.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Town } from "./town.mjs";

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

export function serve(port, folder, town = new Town({ now: Date.now })) {
  const files = new Map();
  const server = createServer((request, answer) => {
    const { pathname, searchParams } = new URL(request.url, "http://house");
    if (request.method === "POST" && pathname === "/files") {
      const pieces = [];
      request.on("data", (piece) => pieces.push(piece));
      request.on("end", () => {
        const body = Buffer.concat(pieces), name = searchParams.get("name"), id = randomBytes(8).toString("hex"), type = request.headers["content-type"];
        files.set(`/files/${id}/${encodeURIComponent(name)}`, { body, type });
        answer.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify({ name, url: `files/${id}/${encodeURIComponent(name)}`, bytes: body.length, type }));
      });
      return;
    }
    const file = files.get(pathname);
    if (file) return void answer.writeHead(200, { "content-type": file.type }).end(file.body);
    try {
      const name = pathname === "/" ? "index.html" : pathname.slice(1).replaceAll("..", "");
      answer.writeHead(200, { "content-type": TYPES[name.split(".").at(-1)] ?? "application/octet-stream" }).end(readFileSync(new URL(name, folder)));
    } catch {
      answer.writeHead(404).end();
    }
  });
  server.on("upgrade", (request, socket) => {
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: madang.chat.v1\r\n\r\n`);
    const frame = (kind, body) => {
      const head = body.length < 126 ? Buffer.from([0x80 | kind, body.length]) : Buffer.from([0x80 | kind, 126, body.length >> 8, body.length & 255]);
      if (socket.writable) socket.write(Buffer.concat([head, body]));
    };
    const side = town.connect({
      send: (text) => frame(1, Buffer.from(text)),
      close: (code) => { frame(8, Buffer.from([code >> 8, code & 255])); socket.end(); },
    });
    let rest = Buffer.alloc(0);
    socket.on("data", (piece) => {
      rest = Buffer.concat([rest, piece]);
      for (;;) {
        let at = 2, length = rest[1] & 127;
        if (rest.length < 2 || (length === 126 && rest.length < 4)) return;
        if (length === 126) { length = rest.readUInt16BE(2); at = 4; }
        if (rest.length < at + 4 + length) return;
        const mask = rest.subarray(at, at + 4), body = Buffer.from(rest.subarray(at + 4, at + 4 + length)).map((byte, index) => byte ^ mask[index & 3]);
        const kind = rest[0] & 15;
        rest = rest.subarray(at + 4 + length);
        if (kind === 1) side.message(body.toString());
        if (kind === 9) frame(10, body);
        if (kind === 8) socket.end();
      }
    });
    socket.on("close", () => side.gone());
    socket.on("error", () => {});
  });
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done({ server, town, port: server.address().port })));
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { port } = await serve(Number(process.argv[2] ?? 8099), new URL(process.argv[3] ?? "../../../roles/chat/page/dist/", import.meta.url));
  console.log(`http://127.0.0.1:${port}/`);
}
