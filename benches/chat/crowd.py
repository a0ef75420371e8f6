"""The crowd of `madang-chat-drill load` as an object: everybody seated, then one order after the other.

Used by benches/chat. Every wait has a deadline. Not here: the server (`lab.server`).
"""

import json
import select
import subprocess
from pathlib import Path

from lab.server import Failed

CLIENT_CORE = 1
# Long enough for the seating of ten thousand and for a slow peer's backlog.
DEADLINE_S = 120
PROTOCOLS = {"madang": "madang", "floor": "floor", "socketio": "socket-io", "ngircd": "irc", "mosquitto-0": "mqtt0",
             "mosquitto-1": "mqtt1"}


class Crowd:
    """One generator; use with `with`."""

    def __init__(self, program, peer, port, rooms, members, *more):
        self.name, self._rest = peer, b""
        command = ["taskset", "-c", str(CLIENT_CORE), str(Path(program).resolve()), "load", "--protocol", PROTOCOLS[peer],
                   "--address", f"127.0.0.1:{port}", "--rooms", str(rooms), "--members", str(members), *map(str, more)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            self.people = self._line()["ready"]
        except Failed:
            self.__exit__()
            raise

    def go(self, rate, seconds):
        """So many messages a second for so long; gives what came of it."""
        self._process.stdin.write(f"go {rate} {seconds}\n".encode())
        self._process.stdin.flush()
        return self._line()

    def _line(self):
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            raise Failed(f"the crowd of {self.name}: {self._process.stderr.read().decode(errors='replace').strip() or 'no word'}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
