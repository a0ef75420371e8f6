// An app in Node: answers with its name and its process, and ends well when asked to (SIGTERM).
const http = require("node:http");

const server = http.createServer((request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`node ${process.env.MADANG_INSTANCE ?? "?"} ${process.pid}\n`);
});
// Longer than whoever keeps connections to us: the side that sends must be the one that closes.
server.keepAliveTimeout = 120_000;
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log("listening on", server.address().port));
process.on("SIGTERM", () => {
  console.log("goodbye");
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
