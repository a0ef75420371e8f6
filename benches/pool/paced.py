"""Many clients that keep their connections and ask at a set pace: one process, one thread. Started by `crowd.py`.

Job: open `--count` connections to 127.0.0.1:`--port`, have each ask once, print `standing`; after a line on standard input ask
`--rate` times a second for `--seconds`, the clients in turn, and every `--burst-every` seconds `--burst` of them at once; print one
line of JSON; hold all connections until standard input ends.

A request counts from the moment it was due, not from when it could be sent: what a client had to wait for its turn is in it.
A failure is an answer other than 200 with the body expected, a connection that ends, or no answer within `DEADLINE_S`; that
client comes again on a new connection.
"""

import argparse
import json
import random
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque

DEADLINE_S = 20.0
BODY_BYTES = 1024
REQUEST = b"GET /1k.bin HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Client:
    """One connection; `due` is when its open request should have been sent, None between requests."""

    def __init__(self):
        self.socket, self.due, self.read = None, None, b""


class Crowd:
    """All clients and what they saw."""

    def __init__(self, port, count):
        self.port = port
        self.poll = select.epoll()
        self.by_fd, self.idle = {}, deque()
        self.waits, self.failed = array("f"), Counter()
        clients = [Client() for _ in range(count)]
        for client in clients:
            self.open(client)
        random.Random(1).shuffle(clients)
        self.idle.extend(clients)

    def open(self, client):
        """Connects; 127.0.0.1 answers at once or not at all."""
        client.socket = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        client.socket.setblocking(False)
        client.due, client.read = None, b""
        self.by_fd[client.socket.fileno()] = client
        self.poll.register(client.socket, select.EPOLLIN)

    def ask(self, due):
        """The next client in turn asks; False when none is free."""
        if not self.idle:
            return False
        client = self.idle.popleft()
        client.due = due
        try:
            client.socket.send(REQUEST)
        except OSError as error:
            self.fail(client, f"send: {error.strerror}")
        return True

    def fail(self, client, kind):
        """Counts it and begins anew."""
        self.failed[kind] += 1
        self.poll.unregister(client.socket)
        del self.by_fd[client.socket.fileno()]
        client.socket.close()
        self.open(client)
        self.idle.append(client)

    def hear(self, timeout_s):
        """Reads what has come."""
        for fd, _ in self.poll.poll(timeout_s):
            client = self.by_fd[fd]
            try:
                more = client.socket.recv(1 << 16)
            except OSError as error:
                self.fail(client, f"read: {error.strerror}")
                continue
            if not more:
                self.fail(client, "closed while waiting" if client.due is not None else "closed between requests")
                continue
            client.read += more
            head = client.read.find(b"\r\n\r\n")
            if head < 0 or client.due is None:
                if client.due is None:
                    self.fail(client, "unasked bytes")
                continue
            if not client.read.startswith(b"HTTP/1.1 200"):
                self.fail(client, client.read[:12].decode("latin-1"))
            elif len(client.read) >= head + 4 + BODY_BYTES:
                self.waits.append(time.monotonic() - client.due)
                client.due, client.read = None, b""
                self.idle.append(client)

    def late(self):
        """Whoever waits too long has failed."""
        now = time.monotonic()
        for client in list(self.by_fd.values()):
            if client.due is not None and now - client.due > DEADLINE_S:
                self.fail(client, "no answer in time")

    def settle(self):
        """Waits until every request is answered or failed."""
        end = time.monotonic() + DEADLINE_S + 1
        while any(client.due is not None for client in self.by_fd.values()) and time.monotonic() < end:
            self.hear(0.05)
        self.late()

    def all_once(self, at_once=50):
        """Every client asks once, never more than a few at a time: what a client costs that waits between requests."""
        asked, count = 0, len(self.idle)
        while asked < count:
            while asked < count and asked - len(self.waits) - self.failed.total() < at_once:
                self.ask(time.monotonic())
                asked += 1
            self.hear(1.0)
            self.late()
        self.settle()
        self.waits = array("f")

    def run(self, seconds, rate, burst, burst_every):
        """The load."""
        began = time.monotonic()
        sent, bursts, swept = 0, 0, began
        while (now := time.monotonic()) < began + seconds:
            while (due := began + sent / rate) <= now and self.ask(due):
                sent += 1
            if burst and now >= began + (bursts + 1) * burst_every:
                bursts += 1
                for _ in range(burst):
                    self.ask(now)
            if now > swept + 1:
                swept = now
                self.late()
            self.hear(max(0.0, began + sent / rate - time.monotonic()))
        self.settle()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("port", "count", "burst"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("seconds", "rate", "burst-every"):
        parser.add_argument(f"--{name}", type=float, required=True)
    options = parser.parse_args()
    crowd = Crowd(options.port, options.count)
    crowd.all_once()
    print("standing", flush=True)
    sys.stdin.readline()
    crowd.run(options.seconds, options.rate, options.burst, options.burst_every)
    waits = sorted(crowd.waits) or [0.0]
    part = lambda share: 1000 * waits[min(len(waits) - 1, int(share * len(waits)))]  # noqa: E731
    print(json.dumps({"answered": len(crowd.waits), "failed": dict(crowd.failed), "p50_ms": part(0.5), "p99_ms": part(0.99),
                      "p999_ms": part(0.999), "max_ms": part(1.0)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
