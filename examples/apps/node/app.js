// An app in Node: answers with its name and its process, and ends well when asked to (SIGTERM).
const http = require("node:http");

let stopping = false;
const server = http.createServer((request, response) => {
  const answer = () => {
    response.setHeader("content-type", "text/plain; charset=utf-8");
    // Said, so that nobody sends another request into a connection that is about to go.
    if (stopping) response.setHeader("connection", "close");
    response.end(`node ${process.env.MADANG_INSTANCE ?? "?"} ${process.pid}\n`);
  };
  if (request.url.startsWith("/slow")) setTimeout(answer, 300);
  else answer();
});
// Longer than whoever keeps connections to us: the side that sends must be the one that closes.
server.keepAliveTimeout = 120_000;
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log("listening on port", server.address().port));
process.on("SIGTERM", () => {
  stopping = true;
  server.close(() => {
    console.log("goodbye");
    process.exit(0);
  });
  server.closeIdleConnections();
});
