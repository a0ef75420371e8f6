"""Clients in threads that ask one thing after the other and can say of every failure what was asked and what came.

Job: a few GETs and a few POSTs at once, on kept connections and on new ones, until told to stop. Used by
benches/pool and benches/apps. Every wait has a deadline. Not here: as many requests as possible (`load`).
"""

import http.client
import itertools
import threading
import time
from dataclasses import dataclass

DEADLINE_S = 20
BODY = b"x" * 512


@dataclass(frozen=True)
class Failure:
    """One request that was not answered with 200, and when."""

    method: str
    path: str
    reason: str
    at: float


class Asking:
    """The clients; use with `with`."""

    def __init__(self, port, gets, posts, new_connections=0, slow=0):
        """So many clients that GET and POST on kept connections, GET on new ones, GET `/slow` on kept ones."""
        self.port, self.failures, self.answered = port, [], {"GET": 0, "POST": 0}
        self._numbers, self._stop, self._count = itertools.count(1), threading.Event(), threading.Lock()
        clients = [("GET", "get", False)] * gets + [("POST", "post", False)] * posts
        clients += [("GET", "get", True)] * new_connections + [("GET", "slow", False)] * slow
        self._threads = [threading.Thread(target=self._client, args=client, daemon=True) for client in clients]
        self.began = time.monotonic()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * DEADLINE_S)
        self.seconds = time.monotonic() - self.began

    def wait(self, seconds):
        """Goes on asking for so long."""
        self._stop.wait(seconds)

    def _client(self, method, what, always_new):
        connection = None
        while not self._stop.is_set():
            path = f"/{what}/{next(self._numbers)}"
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
            try:
                connection.request(method, path, BODY if method == "POST" else None)
                answer = connection.getresponse()
                body = answer.read()
                reason = None if answer.status == 200 else f"{answer.status} {told(body)}"
                if answer.will_close or always_new:
                    connection = self._close(connection)
            except (OSError, http.client.HTTPException) as error:
                reason, connection = f"{type(error).__name__}: {error}", self._close(connection)
            with self._count:
                if reason is None:
                    self.answered[method] += 1
                else:
                    self.failures.append(Failure(method, path, reason, time.monotonic() - self.began))

    @staticmethod
    def _close(connection):
        connection.close()


def told(body):
    """What an error page says, on one line."""
    return " ".join(body.decode("utf-8", "replace").split())[:120]
