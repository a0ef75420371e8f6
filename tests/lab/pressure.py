"""As much load as the generators give, in the background, until it is told to stop.

Job: run wrk (HTTP/1.1, kept connections) and h2load (HTTP/2) again and again in short rounds and add up what failed.
Used by tests/soak beside the steady load, which knows what failed and why. Not here: the generators themselves (`load`).
"""

import threading

from . import load
from .server import Failed

ROUND_S = 2


class Pressure:
    """One generator at full speed; `start` and `stop` as often as needed."""

    def __init__(self, name, once):
        self.name, self.once = name, once
        self.requests, self.failed, self.trouble = 0, 0, None
        self._thread = None

    def start(self):
        """Begins."""
        self._wanted = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        """Returns after the round under way; its connections are gone then."""
        self._wanted = False
        if self._thread:
            self._thread.join(60)
            self._thread = None

    def _run(self):
        while self._wanted and not self.trouble:
            try:
                done = self.once()
            except Failed as failed:
                self.trouble = str(failed)
                return
            self.requests, self.failed = self.requests + done.requests, self.failed + done.failed


def plain(port, path, connections=32):
    """Kept HTTP/1.1 connections by wrk. One that is told to come again does."""
    return Pressure("wrk", lambda: load.wrk(f"http://127.0.0.1:{port}{path}", ROUND_S, connections, core=None))


def http2(port, path, clients=8):
    """HTTP/2 by h2load. It does not come again after a GOAWAY: not for upgrades."""
    return Pressure("h2load", lambda: load.h2load(f"https://127.0.0.1:{port}{path}", ROUND_S, clients, streams=4, core=None))
