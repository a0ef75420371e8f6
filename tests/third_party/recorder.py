"""The server behind the proxies: reads strictly, notes every request exactly as it was framed, answers who asked for what.

Job: be the last reader. What arrived whole is in `requests`, what broke off in `broken`, what no strict reader would take in
`strange`. Every answer repeats method and target, so that a client sees whose answer it got. Used by `differential_suite`
and `downgrade_suite`. Not here: what should have arrived.
"""

import socket
import threading
from dataclasses import dataclass

HEAD_BYTES_MAX = 64 * 1024
IDLE_S = 30


@dataclass(frozen=True)
class Request:
    """One request: all bytes as they came, names of fields in lower case, framing taken off the body."""

    method: bytes
    target: bytes
    fields: tuple
    body: bytes

    def field(self, name):
        """The values of a field, in order."""
        return [value for have, value in self.fields if have == name]

    def essence(self):
        """What every server must agree about: method, target, host, body."""
        return self.method, self.target, b",".join(self.field(b"host")), self.body


class Strange(Exception):
    """Bytes that are no request to a strict reader."""


class Recorder:
    """A running recorder (use with `with`)."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._lock, self._open = threading.Lock(), set()
        self.requests, self.broken, self.strange = [], [], []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        # A shutdown wakes the accepting thread, a close alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for line in self._open:
                line.close()
        self._thread.join(10)

    def take(self):
        """What was noted since the last call: (requests, broken, strange)."""
        with self._lock:
            taken = self.requests, self.broken, self.strange
            self.requests, self.broken, self.strange = [], [], []
        return taken

    def _accept(self):
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            line.settimeout(IDLE_S)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line):
        reader = Reader(line)
        try:
            while (request := reader.request()) is not None:
                with self._lock:
                    self.requests.append(request)
                line.sendall(answer(request))
        except Strange as strange:
            with self._lock:
                self.strange.append(f"{strange}: {reader.whole[-200:]!r}")
        except OSError:
            pass  # left, or the run is over
        finally:
            if reader.begun:
                with self._lock:
                    self.broken.append(reader.whole)
            with self._lock:
                self._open.discard(line)
            line.close()


class Reader:
    """Requests of one connection, one after another."""

    def __init__(self, line):
        self._line, self._got, self.begun, self.whole = line, b"", False, b""

    def request(self):
        """The next request; None at an end between two."""
        self.begun, self.whole = False, self._got
        while b"\r\n\r\n" not in self._got:
            if len(self._got) > HEAD_BYTES_MAX:
                raise Strange("a head without end")
            if not self._more():
                return None
        self.begun = True
        head, self._got = self._got.split(b"\r\n\r\n", 1)
        first, *lines = head.split(b"\r\n")
        words = first.split(b" ")
        if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or any(end in head.replace(b"\r\n", b"") for end in b"\r\n\0"):
            raise Strange("not a request line, or an odd line end")
        fields = []
        for each in lines:
            name, colon, value = each.partition(b":")
            if not colon or not name or name != name.strip() or b" " in name:
                raise Strange(f"not a field: {each!r}")
            fields.append((name.lower(), value.strip(b" \t")))
        request = Request(words[0], words[1], tuple(fields), b"")
        lengths, codings = request.field(b"content-length"), request.field(b"transfer-encoding")
        if len(lengths) > 1 or (codings and (lengths or codings != [b"chunked"])) or len(request.field(b"host")) != 1:
            raise Strange("framed in two ways, or not one host")
        body = b""
        if lengths:
            if not lengths[0].isdigit():
                raise Strange("a length that is no number")
            body = self._exactly(int(lengths[0]))
        elif codings:
            body = self._chunks()
        if body is None:
            return None
        self.begun = False
        return Request(words[0], words[1], tuple(fields), body)

    def _more(self):
        piece = self._line.recv(65536)
        self._got += piece
        self.whole += piece
        self.begun = self.begun or bool(piece)
        return bool(piece)

    def _exactly(self, count):
        while len(self._got) < count:
            if not self._more():
                return None
        body, self._got = self._got[:count], self._got[count:]
        return body

    def _text_line(self):
        while b"\r\n" not in self._got:
            if not self._more():
                return None
        text, self._got = self._got.split(b"\r\n", 1)
        return text

    def _chunks(self):
        body = b""
        while True:
            text = self._text_line()
            if text is None:
                return None
            try:
                size = int(text.split(b";")[0], 16)
            except ValueError:
                raise Strange(f"not a chunk size: {text!r}")
            if size == 0:
                break
            piece = self._exactly(size + 2)
            if piece is None:
                return None
            if not piece.endswith(b"\r\n"):
                raise Strange("a chunk longer than it says")
            body += piece[:-2]
        while text := self._text_line():
            pass  # trailers
        return None if text is None else body


def answer(request):
    """200 and who asked for what."""
    body = request.method + b" " + request.target + b"\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head if request.method == b"HEAD" else head + body
