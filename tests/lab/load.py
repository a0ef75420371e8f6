"""Load from outside tools, each call bounded in time, read into one shape.

Job: run wrk or h2load on the generator's core and say how many requests were answered and how many were not.
Used by benches and tests/soak. Not here: what a request costs the server (`server.Server.cpu_ns`).
"""

import re
import subprocess
import time
from dataclasses import dataclass

from .server import Failed


@dataclass
class Load:
    """What a generator saw."""

    requests: int
    failed: int
    seconds: float
    # The slowest hundredth took longer, where the generator tells.
    p99_ms: float | None = None

    @property
    def rate(self):
        """Answered requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0


def wrk(url, seconds, connections, core=1, extra=()):
    """Keep-alive HTTP/1.1 from one thread for `seconds`."""
    out = _run(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "5s", "--latency", *extra, url],
               core, seconds + 20)
    requests, took = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
    failed = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    failed += sum(int(number) for number in errors.groups()) if errors else 0
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    p99_ms = float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return Load(int(requests), failed, float(took), p99_ms)


def h2load(url, seconds, clients, streams=1, core=1):
    """HTTP/2 (by ALPN) from one thread for `seconds`: `clients` connections of `streams` requests at once."""
    start = time.monotonic()
    out = _run(["h2load", "-t", "1", "-c", str(clients), "-m", str(streams), "-D", str(seconds), url], core, seconds + 20)
    done, failed = _h2load_counts(out)
    if "Application protocol: h2" not in out:
        raise Failed(f"h2load did not speak HTTP/2:\n{out}")
    return Load(done, failed, min(time.monotonic() - start, float(seconds)))


def new_connections(url, seconds, clients=100, core=1):
    """One HTTP/1.1 request per new connection, `clients` at once, again and again for `seconds`.

    h2load never offers a session it had before, so over TLS each is a full handshake (`bench.py` has nginx confirm it).
    """
    start, done, failed = time.monotonic(), 0, 0
    while time.monotonic() - start < seconds:
        out = _run(["h2load", "--h1", "-t", "1", "-c", str(clients), "-n", str(clients), url], core, 60)
        more, wrong = _h2load_counts(out)
        done, failed = done + more, failed + wrong
    return Load(done, failed, time.monotonic() - start)


def _h2load_counts(out):
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    if not counts:
        raise Failed(f"h2load said nothing countable:\n{out}")
    succeeded, failed, _errored, _timeout = (int(number) for number in counts.groups())
    # h2load takes a redirect for a success. (Its count of 2xx is ahead of its successes by the answers under way at the end.)
    elsewhere = re.search(r"status codes: \d+ 2xx, (\d+) 3xx", out)
    return succeeded, failed + int(elsewhere[1])


def _run(command, core, deadline_s):
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline_s, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
