"""Connections held by hand: one that is asked now and then, and one that reads slowly.

Used by tests/soak. Every wait has a deadline. Not here: load (`steady`, `load`).
"""

import socket

from .server import Failed

DEADLINE_S = 20


class Held:
    """One plain connection that is kept."""

    def __init__(self, port, receive_bytes=None):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_S)
        if receive_bytes:
            # Before connecting: it decides the window that is offered.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.rest = b""

    def ask(self, path="/", host="localhost"):
        """One GET; gives status, head (lower case) and body."""
        self.begin(path, host)
        head = self.head()
        body = self.exactly(int(field(head, "content-length") or 0))
        return int(head[9:12]), head, body

    def begin(self, path, host="localhost"):
        """Sends a GET and reads nothing."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    def head(self):
        """Reads an answer's head."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head.decode("latin-1").lower()

    def exactly(self, count):
        """Reads that many bytes."""
        while len(self.rest) < count:
            self._more()
        bytes_, self.rest = self.rest[:count], self.rest[count:]
        return bytes_

    def ended(self):
        """Whether the server has closed it, and nothing is left to read."""
        self.socket.settimeout(0)
        try:
            more = self.socket.recv(1 << 16)
            self.rest += more
            return not more and not self.rest
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(DEADLINE_S)

    def _more(self):
        try:
            more = self.socket.recv(1 << 16)
        except OSError as error:
            raise Failed(f"a held connection broke: {error}")
        if not more:
            raise Failed("a held connection was closed in the middle of an answer")
        self.rest += more

    def close(self):
        """Ends it."""
        self.socket.close()


class Download:
    """A file that is read piece by piece, as a phone at the edge of the network does."""

    def __init__(self, port, path, whole):
        self.whole, self.read = whole, 0
        self.connection = Held(port, receive_bytes=64 * 1024)
        self.connection.begin(path)
        head = self.connection.head()
        if int(head[9:12]) != 200 or int(field(head, "content-length")) != len(whole):
            raise Failed(f"the download began with {head!r}")

    def step(self, count):
        """Reads up to `count` bytes more; False once it is whole."""
        count = min(count, len(self.whole) - self.read)
        piece = self.connection.exactly(count)
        if piece != self.whole[self.read:self.read + count]:
            raise Failed(f"the download differs between byte {self.read} and {self.read + count}")
        self.read += count
        return self.read < len(self.whole)

    def finish(self):
        """Reads the rest and compares the whole."""
        while self.step(1 << 20):
            pass
        self.connection.close()


def field(head, name):
    """A field's value in a head of lower case, or nothing."""
    for line in head.split("\r\n")[1:]:
        have, _, value = line.partition(":")
        if have == name:
            return value.strip()
    return None
