"""One WebSocket to the chat whose every frame is judged, both ways.

Job: say requests, wait for their answers and for events, on a connection of the package `websockets`. Used by `walk`, `generated`. Calls
`book`. Every wait has a deadline. Not here: what is said.
"""

import itertools
import json
import time

from websockets.sync.client import connect

PATIENCE_S = 20


class Talk:
    """A connection (use with `with`)."""

    def __init__(self, book, port, folder="chat", **more):
        self.port = port
        self.book, self.asked, self.heard, self._ids = book, {}, [], itertools.count(1)
        self.socket = connect(f"ws://127.0.0.1:{port}/{folder}/ws", subprotocols=["madang.chat.v1"], open_timeout=PATIENCE_S, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, do, **fields):
        """A valid request; gives its `ok`, or its error's name."""
        request = {"do": do, "id": next(self._ids), **fields}
        self.book.judge(f"request.{do}", request)
        return self.answer(request)

    def answer(self, request):
        """Sends a request as it is; gives its `ok`, or its error's name."""
        self.asked[request["id"]] = request["do"]
        return self.of(self.say(json.dumps(request), request["id"]))

    def say(self, text, id):
        """Sends a text; gives the answer of this number."""
        self.socket.send(text)
        return self.until(lambda came: "on" not in came and came.get("id") == id)

    @staticmethod
    def of(came):
        return came["error"]["name"] if "error" in came else came["ok"]

    def hear(self, on, **fields):
        """Waits for an event; one that came already counts, once."""
        def fits(came):
            return came.get("on") == on and all(came.get(name) == value for name, value in fields.items())
        for at, came in enumerate(self.heard):
            if fits(came):
                return self.heard.pop(at)
        return self.until(fits)

    def until(self, fits):
        """The next frame that fits; the others are kept."""
        end = time.monotonic() + PATIENCE_S
        while True:
            came = self.book.came(self.socket.recv(timeout=max(0.01, end - time.monotonic())), self.asked)
            if fits(came):
                return came
            self.heard.append(came)

    def hello(self, **claim):
        """Comes in; gives the answer."""
        return self.ask("hello", **claim)
