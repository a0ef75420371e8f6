"""HTTP/2 frames written by hand: a client that checks nothing of what it sends.

Job: one connection without TLS, by prior knowledge; field blocks and bodies in any pieces; what came back for a stream.
Used by `downgrade_suite`. Calls hyperframe and hpack. Not here: what is asked and judged.
"""

import socket
from dataclasses import dataclass

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame,
    WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE_S = 5


@dataclass
class Came:
    """What came for a stream: `status` and `body`, or how it ended instead (`reset`, `goodbye`, `closed`)."""

    status: int | None = None
    body: bytes = b""
    instead: str | None = None


class Connection:
    """One connection to 127.0.0.1:port (use with `with`)."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder, self._decoder, self._got, self._next = Encoder(), Decoder(), b"", 1
        self.over = False
        self._send(PREFACE + SettingsFrame(0).serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def ask(self, fields, body=(), trailers=None, pieces=False):
        """One request; `fields` and `trailers` are pairs of bytes, `body` pieces of bytes. Gives what came."""
        stream, self._next = self._next, self._next + 2
        last = len(body) == 0 and trailers is None
        self._fields(stream, fields, last, pieces)
        for index, data in enumerate(body):
            ends = index == len(body) - 1 and trailers is None
            steps = [data[at:at + 1] for at in range(len(data))] if pieces and data else [data]
            for at, step in enumerate(steps):
                frame = DataFrame(stream, data=step)
                if ends and at == len(steps) - 1:
                    frame.flags.add("END_STREAM")
                self._send(frame.serialize())
        if trailers is not None:
            self._fields(stream, trailers, True, pieces)
        return self._answer(stream)

    def _fields(self, stream, fields, last, pieces):
        # No Huffman and no index: the bytes stay as they are, and one block does not depend on another.
        block = self._encoder.encode(fields, huffman=False)
        parts = [block[at:at + 9] for at in range(0, len(block), 9)] if pieces else [block]
        for index, part in enumerate(parts or [b""]):
            frame = HeadersFrame(stream, data=part) if index == 0 else ContinuationFrame(stream, data=part)
            if index == 0 and last:
                frame.flags.add("END_STREAM")
            if index == len(parts) - 1:
                frame.flags.add("END_HEADERS")
            self._send(frame.serialize())

    def _send(self, data):
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.over = True

    def _answer(self, stream):
        came = Came()
        while True:
            frame = self._frame()
            if frame is None:
                came.instead = came.instead or "closed"
                return came
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                acknowledged = SettingsFrame(0)
                acknowledged.flags.add("ACK")
                self._send(acknowledged.serialize())
            elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                pong = PingFrame(0, opaque_data=frame.opaque_data)
                pong.flags.add("ACK")
                self._send(pong.serialize())
            elif isinstance(frame, GoAwayFrame):
                # What this stream still gets may follow; nothing new may be asked.
                self.over = True
                if frame.last_stream_id < stream:
                    came.instead = "goodbye"
                    return came
            elif isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                # An answer that is whole may be followed by a reset with NO_ERROR: what was left to send is not wanted.
                came.instead = None if came.status and frame.error_code == 0 else "reset"
                return came
            elif isinstance(frame, HeadersFrame):
                fields = dict(self._decoder.decode(frame.data, raw=True))
                if frame.stream_id == stream and b":status" in fields and not fields[b":status"].startswith(b"1"):
                    came.status = int(fields[b":status"])
            elif isinstance(frame, DataFrame) and frame.stream_id == stream:
                came.body += frame.data
                for grown in (0, stream):
                    if frame.flow_controlled_length:
                        self._send(WindowUpdateFrame(grown, window_increment=frame.flow_controlled_length).serialize())
            if frame.stream_id == stream and "END_STREAM" in frame.flags:
                return came

    def _frame(self):
        """The next frame; None at the end."""
        head = self._exactly(9)
        if head is None:
            return None
        frame, length = Frame.parse_frame_header(memoryview(head))
        body = self._exactly(length)
        if body is None:
            return None
        frame.parse_body(memoryview(body))
        return frame

    def _exactly(self, count):
        while len(self._got) < count:
            try:
                piece = self._socket.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                self.over = True
                return None
            self._got += piece
        taken, self._got = self._got[:count], self._got[count:]
        return taken
