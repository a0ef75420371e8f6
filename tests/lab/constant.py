"""wrk without a pause: from start to stop, however long that is, and what it counted.

Job: run one wrk until it is told to end (SIGINT, at which it prints its sums). Used by benches/apps. Not here: runs of a fixed
length (`load`), rounds that are repeated (`pressure`), what exactly failed (`asking`, `steady`).
"""

import re
import signal
import subprocess
from dataclasses import dataclass

from .server import Failed

# More than any bench takes; `stop` ends it.
LONGEST_S = 3600


@dataclass
class Count:
    """What one wrk saw."""

    requests: int = 0
    failed: int = 0
    slowest_ms: float = 0.0

    def __add__(self, other):
        return Count(self.requests + other.requests, self.failed + other.failed, max(self.slowest_ms, other.slowest_ms))


class Wrk:
    """One wrk of one thread. `keep`: its connections are kept, else each request has its own."""

    def __init__(self, url, connections, keep=True, timeout_s=10, around=list):
        """`around` makes of its command the one that is run: to start it somewhere else."""
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{LONGEST_S}s", "--timeout", f"{timeout_s}s"]
        command += [] if keep else ["-H", "Connection: close"]
        self.process = subprocess.Popen(
            around([*command, url]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)

    def stop(self):
        """Ends it; gives its sums. What is under way then is not counted."""
        self.process.send_signal(signal.SIGINT)
        try:
            out, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise Failed("wrk does not end")
        sums = re.search(r"(\d+) requests in ", out)
        if not sums:
            raise Failed(f"wrk said nothing countable:\n{out}")
        failed = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
        failed += sum(int(number) for number in errors.groups()) if errors else 0
        slowest = re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s|m)", out)
        scale = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}
        slowest_ms = float(slowest[1]) * scale[slowest[2]] if slowest else 0.0
        return Count(int(sums[1]), failed, slowest_ms)
