"""A steady load that counts every failure by its kind: what proves that nothing was dropped.

Job: many clients in one thread of their own, over plain TCP and TLS, on connections that are kept and on connections that
are new for each request; every answer is compared byte for byte. Used by tests/soak. Bounded: a fixed number of clients,
a rate in requests per second, a deadline on every step.

A kept connection that the server closes without having said `Connection: close` counts as a failure here, although a
client may ask again (RFC 9112 9.3.1): a server that promises to drop nothing must not need that.

Not here: the most a server can do (`load.wrk`), connections that are held by hand (`raw`).
"""

import asyncio
import errno
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass

from .server import Failed, trusting

STEP_S = 10
EXAMPLES_MAX = 10


@dataclass(frozen=True)
class Target:
    """One way to come: `clients` of them, `rate` requests a second together."""

    name: str
    port: int
    tls: bool
    keep: bool
    clients: int
    rate: float


class Wrong(Exception):
    """A request failed; the text is its kind."""


class Steady:
    """The load. `start`, then `pause`/`resume` as often as needed, then `stop`."""

    def __init__(self, targets, path, body):
        self.targets, self.body = targets, body
        self.request = {
            keep: (f"GET {path} HTTP/1.1\r\nHost: localhost\r\n" + ("" if keep else "Connection: close\r\n") + "\r\n").encode()
            for keep in (True, False)
        }
        self.answered, self.failed, self.examples = Counter(), Counter(), []
        self.said_close = 0
        self.began = time.monotonic()
        self._tls = trusting()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._parked = 0
        self._commands = threading.Lock()

    def start(self):
        """Begins; returns once the first answer of every target was counted."""
        self._go, self._ended = asyncio.Event(), False
        self._quiet, self._count = asyncio.Event(), sum(target.clients for target in self.targets)
        self._go.set()
        self._thread.start()
        end = time.monotonic() + STEP_S
        while any(not self.answered[target.name] for target in self.targets):
            if self.failed or time.monotonic() > end:
                raise Failed(f"the load does not start: {dict(self.failed)} {self.examples}")
            self.wait_for_requests(1)

    def wait_for_requests(self, count):
        """Returns after `count` more requests ended, however they did."""
        goal, end = self.total() + count, time.monotonic() + STEP_S
        while self.total() < goal:
            if time.monotonic() > end:
                raise Failed(f"the load stands still after {self.total()} requests")
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.005), self._loop).result(STEP_S)

    def total(self):
        """Requests that ended, well or not."""
        return sum(self.answered.values()) + sum(self.failed.values())

    def pause(self):
        """Every client finishes its request and closes its connection; returns when the last has."""
        self._call(self._pause)
        asyncio.run_coroutine_threadsafe(self._quiet.wait(), self._loop).result(3 * STEP_S)

    def resume(self):
        """Every client goes on with a new connection."""
        self._call(self._resume)

    def stop(self):
        """Ends the load."""
        self._ended = True
        self._call(self._resume)
        self._thread.join(3 * STEP_S)

    def _call(self, function):
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (function(), done.set()))
        if not done.wait(STEP_S):
            raise Failed("the load's thread hangs")

    def _pause(self):
        self._quiet.clear()
        self._go.clear()

    def _resume(self):
        self._parked = 0
        self._go.set()

    async def _run(self):
        clients = [self._client(target, number) for target in self.targets for number in range(target.clients)]
        await asyncio.gather(*clients)

    async def _client(self, target, number):
        pause = target.clients / target.rate
        due = time.monotonic() + pause * number / target.clients
        connection = None
        while not self._ended:
            if not self._go.is_set():
                await _close(connection)
                connection = None
                self._parked += 1
                if self._parked == self._count:
                    self._quiet.set()
                await self._go.wait()
                due = time.monotonic()
                continue
            # A client that is late does not hurry afterwards: the rate is a ceiling.
            wait = due - time.monotonic()
            due = max(due, time.monotonic()) + pause
            if wait > 0:
                await asyncio.sleep(wait)
            try:
                if connection is None:
                    connection = await self._connect(target)
                keep = await self._ask(connection, target.keep)
                self.answered[target.name] += 1
                self.said_close += target.keep and not keep
            except Wrong as wrong:
                self._fail(target, str(wrong))
                keep = False
            if not keep:
                await _close(connection)
                connection = None
        await _close(connection)

    def _fail(self, target, kind):
        self.failed[f"{target.name}: {kind}"] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{time.monotonic() - self.began:.3f} s {target.name}: {kind}")

    async def _connect(self, target):
        context = self._tls if target.tls else None
        return await _step("connect", asyncio.open_connection(
            "127.0.0.1", target.port, ssl=context, server_hostname="localhost" if context else None))

    async def _ask(self, connection, keep):
        """One request; True when the connection may be used again."""
        reader, writer = connection
        writer.write(self.request[keep])
        await _step("send", writer.drain())
        head = await _step("head", reader.readuntil(b"\r\n\r\n"))
        status = head[9:12].decode("latin-1")
        if status != "200":
            raise Wrong(f"status {status}")
        fields = head.lower()
        if f"\r\ncontent-length: {len(self.body)}\r\n".encode() not in fields:
            raise Wrong("another length")
        body = await _step("body", reader.readexactly(len(self.body)))
        if body != self.body:
            raise Wrong("another body")
        return keep and b"\r\nconnection: close\r\n" not in fields


async def _step(name, work):
    """Names a failure after the step it happened in."""
    try:
        return await asyncio.wait_for(work, STEP_S)
    except asyncio.TimeoutError:
        raise Wrong(f"{name}: timeout")
    except asyncio.IncompleteReadError as error:
        raise Wrong(f"{name}: closed {'before a byte' if not error.partial else 'in the middle'}")
    except ssl.SSLError as error:
        raise Wrong(f"{name}: TLS {error.reason}")
    except OSError as error:
        raise Wrong(f"{name}: {errno.errorcode.get(error.errno, type(error).__name__)}")


async def _close(connection):
    if connection is not None:
        connection[1].close()
        try:
            await asyncio.wait_for(connection[1].wait_closed(), STEP_S)
        except (OSError, asyncio.TimeoutError):
            pass  # it is gone either way, and its last answer was whole
