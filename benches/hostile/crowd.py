"""Clients that only hold what they got: one process, one thread, as many connections as told.

Job: keep `--count` connections of five kinds open against 127.0.0.1:`--port` until standard input ends, opening again
what the server ends. Prints `standing` once all are connected and did their first step, and at the end one line of JSON:
how many connections of each kind were opened, ended by the server and refused. Started by `hostile.py`.

| kind | what it does |
|---|---|
| idle | connects and says nothing |
| slow head | a byte of a request head a second, never the last |
| slow body | a whole head that announces 60 kB (of more the server reads nothing), then a byte a second |
| slow read | asks for a large file, takes 64 bytes a second |
| never reads | asks for a large file, takes nothing |
"""

import argparse
import json
import os
import selectors
import socket
import sys
import time
from collections import Counter

STEP_S = 1.0
# A client that was ended comes again after this: it holds, it does not flood.
AGAIN_S = 1.0
RECEIVE_BYTES = 4096
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 10_000
POST = b"POST /page.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
LARGE = b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What is sent at once, what then byte by byte, how many bytes are read a step (None: whatever comes).
KINDS = {
    "idle": (b"", b"", None),
    "slow head": (b"", HEAD, None),
    "slow body": (POST, b"x" * 60_000, None),
    "slow read": (LARGE, b"", 64),
    "never reads": (LARGE, b"", 0),
}


class Client:
    """One connection of one kind, and the next after it is ended."""

    def __init__(self, crowd, kind):
        self.crowd, self.kind = crowd, kind
        self.at_once, self.drip, self.reads = KINDS[kind]
        self.socket = None

    def open(self):
        """Connects; 127.0.0.1 answers at once or not at all."""
        self.socket = socket.socket()
        if self.reads is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.sent = 0
        try:
            self.socket.settimeout(5)
            self.socket.connect(("127.0.0.1", self.crowd.port))
            self.socket.setblocking(False)
            if self.at_once:
                self.socket.send(self.at_once)
        except OSError:
            self.crowd.refused[self.kind] += 1
            return self.ended(count=False)
        self.crowd.opened[self.kind] += 1
        if self.reads is None:
            # Readable means: an answer, or the end. Readers are only looked at in their own time.
            self.crowd.selector.register(self.socket, selectors.EVENT_READ, self)
        return STEP_S

    def step(self):
        """What it does once a second; gives the time to the next."""
        if self.socket is None:
            return self.open()
        try:
            if self.drip:
                self.socket.send(self.drip[self.sent:self.sent + 1])
                self.sent += 1
            if self.reads and not self.socket.recv(self.reads):
                return self.ended()
        except BlockingIOError:
            pass
        except OSError:
            return self.ended()
        return STEP_S

    def readable(self):
        """The server said something: read it, notice the end."""
        try:
            if self.socket.recv(1 << 16):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.ended()

    def ended(self, count=True):
        """The connection is gone; another one comes after a while."""
        if self.reads is None and count:
            self.crowd.selector.unregister(self.socket)
        self.socket.close()
        self.socket = None
        self.crowd.ended[self.kind] += count
        return AGAIN_S


class Crowd:
    """All of them."""

    def __init__(self, port, count):
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.opened, self.ended, self.refused = Counter(), Counter(), Counter()
        kinds = list(KINDS)
        self.clients = [Client(self, kinds[number % len(kinds)]) for number in range(count)]

    def run(self):
        """Stands until standard input ends."""
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        # Everybody's first step; afterwards each has its place within the second, so that nothing comes in bursts.
        now = time.monotonic()
        due = [now + client.open() * (1 + number / len(self.clients)) for number, client in enumerate(self.clients)]
        print("standing", flush=True)
        at = 0
        while True:
            now = time.monotonic()
            # All steps are a second apart, so the order of the first round is the order of all.
            while due[at] <= now:
                due[at] = max(due[at], now - STEP_S) + self.clients[at].step()
                at = (at + 1) % len(self.clients)
            for key, _ in self.selector.select(max(0.0, min(0.05, due[at] - now))):
                if key.data is None:
                    return
                key.data.readable()


def main():
    parser = argparse.ArgumentParser(description="Holds connections.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    crowd = Crowd(options.port, options.count)
    crowd.run()
    told = {kind: {"opened": crowd.opened[kind], "ended by the server": crowd.ended[kind], "refused": crowd.refused[kind]}
            for kind in KINDS}
    print(json.dumps(told), flush=True)
    os._exit(0)  # thousands of sockets end with the process


if __name__ == "__main__":
    main()
