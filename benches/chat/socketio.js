// socket.io as its own guide sets a chat up, without its HTTP polling: rooms, and what is said goes to everybody in them.
// Nothing is kept: a message that nobody hears is gone.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });

io.on("connection", (socket) => {
  let room;
  socket.on("join", (name) => {
    room = name;
    socket.join(room);
    socket.emit("joined");
  });
  socket.on("say", (text) => io.to(room).emit("said", text));
});

http.listen(Number(process.argv[2]), "127.0.0.1");
