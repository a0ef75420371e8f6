"""HTTP/1.1 answers read from a socket, strictly.

Job: send bytes as they are and read answers one by one, so that a suite can say how many there were and what came after.
Used by `corpus_suite` and `lint_suite`. Not here: judging an answer.
"""

import socket
from dataclasses import dataclass

PATIENCE_S = 10
HEAD_BYTES_MAX = 64 * 1024


class NotHttp(Exception):
    """What came is not an answer of HTTP/1.1; the text shows it."""


@dataclass
class Answer:
    """One answer: `fields` in order, names in lower case, all bytes."""

    status: int
    phrase: bytes
    fields: list
    body: bytes

    def field(self, name):
        """The values of a field, joined; None where there is none."""
        values = [value for have, value in self.fields if have == name]
        return b", ".join(values) if values else None


class Line:
    """A connection to 127.0.0.1:port (use with `with`)."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got, self.ended = b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, data):
        """Sends all. A server that has refused and closed already may not take the rest: that is no fault."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self, method=b"GET"):
        """The next final answer (1xx are read past); None when the connection ended before its first byte."""
        while True:
            while b"\r\n\r\n" not in self._got:
                if len(self._got) > HEAD_BYTES_MAX:
                    raise NotHttp(f"a head of more than {HEAD_BYTES_MAX} bytes")
                if not self._more():
                    if self._got:
                        raise NotHttp(f"ended inside a head: {self._got!r}")
                    return None
            head, self._got = self._got.split(b"\r\n\r\n", 1)
            answer = read_head(head)
            if answer.status >= 200 or answer.status == 101:
                break
        if method == b"HEAD" or answer.status in (101, 204, 304):
            return answer
        if answer.field("transfer-encoding") is not None:
            answer.body = self._chunks()
        elif answer.field("content-length") is not None:
            answer.body = self._exactly(int(answer.field("content-length")))
        else:
            while self._more():
                pass
            answer.body, self._got = self._got, b""
        return answer

    def rest(self):
        """Everything until the server closes. TimeoutError when it does not."""
        while self._more():
            pass
        rest, self._got = self._got, b""
        return rest

    def _more(self):
        if self.ended:
            return False
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            piece = b""  # closed while bytes of ours were on the way
        self.ended = not piece
        self._got += piece
        return bool(piece)

    def _exactly(self, count):
        while len(self._got) < count:
            if not self._more():
                raise NotHttp(f"{len(self._got)} of {count} bytes of a body")
        body, self._got = self._got[:count], self._got[count:]
        return body

    def _line(self):
        while b"\r\n" not in self._got:
            if not self._more():
                raise NotHttp(f"ended inside a chunk: {self._got[:100]!r}")
        line, self._got = self._got.split(b"\r\n", 1)
        return line

    def _chunks(self):
        body = b""
        while size := int(self._line().split(b";")[0], 16):
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise NotHttp("a chunk longer than it says")
        while self._line():
            pass  # trailers
        return body


def read_head(head):
    """Status line and fields."""
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status, _, phrase = rest.partition(b" ")
    if version != b"HTTP/1.1" or len(status) != 3 or not status.isdigit():
        raise NotHttp(f"not a status line: {first!r}")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise NotHttp(f"not a field: {line!r}")
        fields.append((name.decode("ascii").lower(), value.strip(b" \t")))
    return Answer(int(status), phrase, fields, b"")


def ask(port, method, path, fields=()):
    """One request on a connection of its own; the answer."""
    with Line(port) as line:
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{port}", *(f"{name}: {value}" for name, value in fields)]
        line.send("\r\n".join([*lines, "", ""]).encode())
        return line.answer(method.encode())
