"""A relay for clients that speak no TLS, or whose bytes must arrive together.

Job: take plain connections on a loopback port and pass them on to the server, through TLS where asked. What the client
sends is gathered until it is quiet for a moment, then passed on in one piece: frames that a suite writes one after another
are then always read together, and a test's result does not depend on which of two processes was faster.
Used by `http2_suite`. Not here: any knowledge of HTTP.
"""

import asyncio
import ssl
import threading

# The longest pause between two writes of one step of a test on a busy machine.
QUIET_S = 0.03
PIECE = 65536


class Relay:
    """A running relay (use with `with`); `port` is where clients connect."""

    def __init__(self, target_port, authority=None, alpn=None):
        self._target, self._tls = target_port, None
        if authority is not None:
            self._tls = ssl.create_default_context(cafile=authority)
            self._tls.set_alpn_protocols([alpn])
        self._alpn, self._loop = alpn, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port, self._ready, self._tasks = None, threading.Event(), set()

    def __enter__(self):
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the relay did not start within 10 s")
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _end(self):
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self):
        asyncio.set_event_loop(self._loop)

        async def listen():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=256)
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    async def _serve(self, client_in, client_out):
        try:
            await self._relay(client_in, client_out)
        except (ConnectionError, asyncio.CancelledError):
            pass  # either side may leave in the middle of a step, and we at the end: the suite judges that, not the relay
        finally:
            client_out.close()

    async def _relay(self, client_in, client_out):
        name = {"ssl": self._tls, "server_hostname": "localhost"} if self._tls else {}
        server_in, server_out = await asyncio.open_connection("127.0.0.1", self._target, **name)
        if self._tls and server_out.get_extra_info("ssl_object").selected_alpn_protocol() != self._alpn:
            raise ConnectionError(f"the server did not choose {self._alpn}")
        # Both ways end when either does: no suite here closes only half of a connection and goes on.
        ways = [asyncio.ensure_future(way) for way in (self._gather(client_in, server_out), pass_on(server_in, client_out))]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server_out.close()

    async def _gather(self, source, target):
        while piece := await source.read(PIECE):
            while True:
                try:
                    more = await asyncio.wait_for(source.read(PIECE), QUIET_S)
                except asyncio.TimeoutError:
                    break
                if not more:
                    break
                piece += more
            target.write(piece)
            await target.drain()


async def pass_on(source, target):
    """Copies until the source ends."""
    while piece := await source.read(PIECE):
        target.write(piece)
        await target.drain()
