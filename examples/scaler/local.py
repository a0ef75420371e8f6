"""A scaler that needs no cloud: its machines are processes on free ports of 127.0.0.1.

Reads the question on stdin, writes the answer to stdout (docs/scaler.md). A machine is one file in `machines/`: its name is the port, it
holds the process. The three rules of any scaler:

1. Too few: buy. Name a machine as soon as its address is known; health checks decide when it gets requests.
2. Too many: leave the youngest out of the answer. They drain.
3. A machine that is not in the question any more has drained: only now it is given back.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
MACHINES = Path(os.environ.get("MACHINES", FOLDER / "machines"))
HOST = "127.0.0.1"


def runs(file):
    """Whether a machine's process is there; a number that was used again shows another program."""
    try:
        return b"server.py" in Path(f"/proc/{int(file.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def buy():
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    # A session of its own: what this program leaves in its process group is ended with it.
    process = subprocess.Popen(
        [sys.executable, FOLDER / "server.py"],
        env={**os.environ, "PORT": str(port)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (MACHINES / str(port)).write_text(str(process.pid))


def give_back(file):
    os.kill(int(file.read_text()), signal.SIGTERM)
    file.unlink()


def main():
    question = json.load(sys.stdin)
    MACHINES.mkdir(exist_ok=True)
    for file in MACHINES.iterdir():
        if not runs(file):
            file.unlink()
    for _ in range(question["wanted"] - len(list(MACHINES.iterdir()))):
        buy()
    by_age = sorted(MACHINES.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    kept, left_out = by_age[: question["wanted"]], by_age[question["wanted"] :]
    members = {server["address"] for server in question["servers"]}
    for file in left_out:
        if f"{HOST}:{file.name}" not in members:
            give_back(file)
    json.dump({"servers": [f"{HOST}:{file.name}" for file in kept]}, sys.stdout)


main()
