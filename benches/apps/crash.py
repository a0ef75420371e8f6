"""Madang itself is killed (SIGKILL) under load and started again, as systemd would with Restart=always.

Question: how soon is the site back, and what has become of the apps?
Method: three instances of the Rust example, clients that ask without end (`lab.asking`). Madang is killed again and again: while nothing
else happens, in the middle of a deploy, just after an instance was killed too. It is started again at once or after 100 ms
(RestartSec=0, 100ms). From each start it is measured how long until the first good answer; at most one second is allowed.
Processes of the app are counted by what stands in their environment, whoever their parent is: never more than the app may have at
that moment, three once it is calm, the same three where nothing else happened. A failed request must fall between a kill and the
first good answer after it. After the last stop (SIGTERM) nothing may be left: no process, no record of one, no control group.

Usage: crash.py --madang BIN [--kills 20] [--json FILE]
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from house import DEADLINE_S, ROOT, House, build, processes, version
from lab.asking import Asking
from lab.server import Failed, median, scratch, tail

INSTANCES = 3
BACK_WITHIN_S = 1.0
RESTART_S = (0.0, 0.1)
# A request that began before the first good answer may be told as failed a moment later.
TOLD_WITHIN_S = 0.25
WHILE = ("calm", "deploy", "kill")


def marked(mark):
    """Processes that have MARK=mark in their environment and are no zombies."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            continue  # ended while we looked, or another user's
        if f"MARK={mark}".encode() in environment and state != "Z":
            found.add(int(entry.name))
    return found


class Restarter:
    """Starts Madang, and again after it was killed."""

    def __init__(self, house):
        self.house, self.process, self.log = house, None, open(house.folder / "madang.log", "ab")

    def start(self):
        """Returns the seconds from the start to the first good answer."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.house.madang, "run", "-c", self.house.settings], stdout=self.log, stderr=self.log,
            stdin=subprocess.DEVNULL, cwd=self.house.folder)
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.house.port, timeout=DEADLINE_S)
            try:
                connection.request("GET", "/first")
                if connection.getresponse().status == 200:
                    return time.monotonic() - began
            except (OSError, http.client.HTTPException):
                pass  # nobody listens yet
            finally:
                connection.close()
            if self.process.poll() is not None or time.monotonic() - began > DEADLINE_S:
                raise Failed(f"it does not come back:\n{tail(self.house.folder / 'madang.log')}")
            time.sleep(0.001)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; its exit code."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                return self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        return None


def round_(house, restarter, mark, number, clients):
    """One kill and what followed; gives its record."""
    what, pause = WHILE[number % len(WHILE)], RESTART_S[number // len(WHILE) % len(RESTART_S)]
    before = processes(house.until_ready(INSTANCES))
    if marked(mark) != before:
        raise Failed(f"before kill {number}: {marked(mark)} run, {before} should")
    most, ordered = INSTANCES, None
    if what == "deploy":
        ordered = subprocess.Popen(
            [house.madang, "app", "restart", "steady", "-c", house.settings],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        house.until("a deploy is under way", lambda app: len(processes(app)) > INSTANCES)
        most = 2 * INSTANCES
    if what == "kill":
        os.kill(min(before), signal.SIGKILL)
    killed_at = time.monotonic()
    restarter.kill()
    clients.wait(pause)
    seconds = restarter.start()
    window = (killed_at - clients.began, time.monotonic() - clients.began + TOLD_WITHIN_S)
    doubled = len(marked(mark)) > most
    after = processes(house.until_ready(INSTANCES))
    doubled |= marked(mark) != after
    if ordered:
        ordered.wait(DEADLINE_S)
    kept = len(before & after)
    if what == "calm" and kept != INSTANCES or what == "kill" and kept != INSTANCES - 1:
        raise Failed(f"kill {number} ({what}): {before} ran, {after} run now")
    return {"while": what, "restart_s": pause, "back_s": seconds, "kept": kept, "doubled": doubled, "window": window}


def left(house, mark):
    """What is left after the stop, in words."""
    found = [f"process {process}" for process in marked(mark)]
    found += [f"record {path.name}" for path in (house.folder / "data/apps").glob("*/*.json")]
    return found


def main():
    """Kills it so often; 1 when a promise was not kept."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--madang", required=True, type=Path)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--json", metavar="FILE", type=Path, default=ROOT / "bench-results/apps-crash.json")
    options = arguments.parse_args()
    mark = uuid.uuid4().hex
    with scratch("apps-crash-") as folder:
        house = House(options.madang.resolve(), folder, version(folder, "a", build(folder)), instances=INSTANCES, mark=mark)
        restarter = Restarter(house)
        try:
            first = restarter.start()
            house.until_ready(INSTANCES)
            with Asking(house.port, gets=2, posts=0, new_connections=1, slow=1) as clients:
                rounds = [round_(house, restarter, mark, number, clients) for number in range(options.kills)]
                clients.wait(0.5)
            code, rest = restarter.stop(), left(house, mark)
        finally:
            restarter.stop()
            for process in marked(mark):
                os.kill(process, signal.SIGKILL)
    outside = [one for one in clients.failures
               if not any(begin <= one.at <= end for begin, end in (record["window"] for record in rounds))]
    times = sorted(record["back_s"] for record in rounds)
    doubled = sum(record["doubled"] for record in rounds)
    print(f"{len(rounds)} kills of Madang; the first start took {first * 1000:.0f} ms to its first good answer")
    print(f"back after, ms: least {times[0] * 1000:.0f}, median {median(times) * 1000:.0f}, "
          f"most {times[-1] * 1000:.0f} (at most {BACK_WITHIN_S * 1000:.0f})")
    for what in WHILE:
        mine = [record for record in rounds if record["while"] == what]
        if mine:
            print(f"  {what:<7} {len(mine):>2} times: back after {max(record['back_s'] for record in mine) * 1000:.0f} ms at most, "
                  f"{min(record['kept'] for record in mine)} to {max(record['kept'] for record in mine)} of {INSTANCES} processes kept")
    print(f"apps doubled: {doubled}; requests answered: {sum(clients.answered.values())}, failed while Madang was away: "
          f"{len(clients.failures) - len(outside)}, failed otherwise: {len(outside)}")
    for failure in outside[:10]:
        print(f"    FAILED at {failure.at:.3f} s: {failure.method} {failure.path}: {failure.reason}")
    print(f"the last stop: exit code {code}, left: {', '.join(rest) or 'nothing'}")
    kept = times[-1] <= BACK_WITHIN_S and not doubled and not outside and code == 0 and not rest
    options.json.parent.mkdir(parents=True, exist_ok=True)
    told = {"first_s": first, "rounds": rounds, "answered": clients.answered, "left": rest, "kept": kept}
    options.json.write_text(json.dumps(told, indent=1) + "\n")
    print("kept" if kept else "MISSED")
    return 0 if kept else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        sys.exit(1)
