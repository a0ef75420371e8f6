"""Hostile clients: does a good client keep its rate while thousands hold on to what they can?

Question: which share of its undisturbed rate keeps wrk, on connections of its own, while 2,000 clients are idle, slow or
never read? Budget: at least 0.80 for every crowd, settings as they come (only the port and the folder are ours).

Method: the server has one worker on core 0, every client is on core 1. Each crowd is measured between two undisturbed
measurements of the same length, `--rounds` times; the ratio is disturbed over the mean of its two neighbours, the median
of the rounds counts. The crowds: ours (`crowd.py`, five kinds) and slowhttptest's slow heads, slow bodies, slow reads.
How many connections really stood is asked of the server in the middle of each measurement. The CPU the crowd itself takes
from wrk's core is shown beside: it lowers the ratio too.

Exit code 1 when a ratio is below the budget.

Usage: hostile.py --madang BIN [--count 2000] [--seconds 5] [--rounds 2] [--json FILE]
"""

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
from lab import load
from lab.server import CLOCK_TICKS, Failed, Server, free_port, go_first, median, raise_fd_limit, scratch, status

BUDGET = 0.80
SERVER_CORE, CLIENT_CORE = 0, 1
WRK_CONNECTIONS = 16
# Longer than any one measurement; each crowd is ended by us.
CROWD_S = 120
STANDING_S = 30
LARGE_BYTES = 8 << 20
# Files answer a POST at once (405), and its client says that it wants the connection closed: nobody is left to be slow,
# and what remains is 400 new connections a second.
NEVER_STANDS = ("slowhttptest -B, slow bodies",)
SETTINGS = """\
[server]
data    = "{folder}/data"
workers = 1

[site.main]
listen = "http://127.0.0.1:{port}"
route  = [{{ path = "/*", files = "{folder}/www" }}]
"""


class Hostile:
    """The server, its settings, what was measured."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        www = self.folder / "www"
        www.mkdir()
        (www / "page.bin").write_bytes(os.urandom(1024))
        (www / "large.bin").write_bytes(os.urandom(LARGE_BYTES))
        self.settings = self.folder / "madang.toml"
        self.settings.write_text(SETTINGS.format(folder=self.folder, port=self.port))
        self.crowd_told = {}

    def run(self):
        """All crowds, all rounds; the table's rows."""
        crowds = [("ours, five kinds", self.ours)]
        crowds += [(f"slowhttptest {words[0]}, {name}", lambda words=words: self.slowhttptest(words))
                   for name, words in self.slowhttptest_ways()]
        madang = Path(self.options.madang).resolve()
        command = [madang, "run", "-c", self.settings]
        found = {name: [] for name, _ in crowds}
        with Server("madang", command, {"plain": self.port}, self.folder, core=SERVER_CORE) as self.server:
            self.rate(1)  # warm
            before = self.rate()
            for _ in range(self.options.rounds):
                for name, crowd in crowds:
                    with crowd() as process:
                        self.wait_until_standing(name)
                        cpu = cpu_s(process.pid)
                        disturbed = self.rate()
                        cpu = (cpu_s(process.pid) - cpu) / self.options.seconds
                    self.wait_until_gone(name)
                    after = self.rate()
                    calm = (before["rate"] + after["rate"]) / 2
                    found[name].append({
                        "undisturbed": calm, "disturbed": disturbed["rate"], "ratio": disturbed["rate"] / calm,
                        "held": disturbed["held"], "failed": disturbed["failed"], "crowd_cpu": cpu,
                        "us_per_request": [calm_us(before, after), disturbed["us_per_request"]],
                    })
                    say(f"{name}: {found[name][-1]['ratio']:.2f} with {disturbed['held']} held")
                    before = after
            self.served = self.server.rss_bytes()
        return found

    # Crowds

    @contextmanager
    def ours(self):
        """crowd.py."""
        process = subprocess.Popen(
            ["taskset", "-c", str(CLIENT_CORE), sys.executable, HERE / "crowd.py", "--port", str(self.port), "--count",
             str(self.options.count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            ready, _, _ = select.select([process.stdout], [], [], STANDING_S)
            if not ready or process.stdout.readline() != "standing\n":
                raise Failed(f"our crowd does not stand after {STANDING_S} s")
            yield process
            process.stdin.close()
            self.crowd_told = json.loads(process.stdout.readline())
        finally:
            end(process)

    def slowhttptest_ways(self):
        """Slow heads, slow bodies, slow reads: names and words of the command line."""
        return [
            ("slow heads", ["-H", "-i", "1", "-u", self.url + "page.bin"]),
            ("slow bodies", ["-B", "-i", "1", "-s", "60000", "-u", self.url + "page.bin"]),
            ("slow reads", ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-u", self.url + "large.bin"]),
        ]

    @contextmanager
    def slowhttptest(self, words):
        """slowhttptest of Debian, begun again whenever the server has got rid of it before its time.

        Its own probe of the server is not what we measure.
        """
        again = 'while :; do "$@"; done'
        command = ["taskset", "-c", str(CLIENT_CORE), "sh", "-c", again, "sh", "slowhttptest", *words,
                   "-c", str(self.options.count), "-r", "400", "-l", str(CROWD_S), "-p", "30", "-v", "0"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   process_group=0)
        try:
            yield process
        finally:
            end_group(process)

    # Measuring

    def rate(self, seconds=None):
        """wrk's rate, what a request cost the server, and the connections that the server held meanwhile."""
        seconds = seconds or self.options.seconds
        held = []
        asked = threading.Timer(seconds / 2, lambda: held.append(self.held()))
        asked.start()
        before = self.server.cpu_ns()
        seen = load.wrk(self.url + "page.bin", seconds, WRK_CONNECTIONS, core=CLIENT_CORE)
        spent = self.server.cpu_ns() - before
        asked.join()
        return {"rate": seen.rate, "failed": seen.failed, "held": held[0] - WRK_CONNECTIONS,
                "us_per_request": spent / 1000 / seen.requests}

    def held(self):
        """Connections as the server counts them."""
        return status(self.options.madang, self.settings)["connections"]

    def wait_until_standing(self, name):
        """Returns when nearly all of the crowd is connected: kinds that the server ends come and go."""
        if name in NEVER_STANDS:
            return
        self.wait(lambda: self.held() >= self.options.count * 0.75, f"{name}: the crowd does not stand")

    def wait_until_gone(self, name):
        """Returns when the crowd has left."""
        self.wait(lambda: self.held() <= 1, f"{name}: connections of the crowd stay")

    def wait(self, true, what):
        for _ in range(STANDING_S * 10):
            if true():
                return
            select.select([], [], [], 0.1)
        raise Failed(f"{what} after {STANDING_S} s: {self.held()} connections")


def end(process):
    """Ends a crowd that we started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_group(process):
    """Ends a crowd that has processes of its own; they are in the group that we made for it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cpu_s(pid):
    """User and system time of a crowd's process, its ended children included, and of those it has now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(int(ticks) for ticks in fields[11:15]) / CLOCK_TICKS + sum(cpu_s(child) for child in children)


def calm_us(before, after):
    return (before["us_per_request"] + after["us_per_request"]) / 2


def say(line):
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description="A good client's rate among hostile ones.")
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--count", type=int, default=2000, help="hostile connections (default 2000)")
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write what was measured there")
    options = parser.parse_args()
    if raise_fd_limit() < options.count + 100:
        say(f"only {resource.getrlimit(resource.RLIMIT_NOFILE)[1]} descriptors may be open: too few for {options.count}")
        return 2
    say(f"server on core {SERVER_CORE}, clients on core {CLIENT_CORE}, niceness {go_first()}")
    with scratch("hostile") as folder:
        hostile = Hostile(options, folder)
        try:
            found = hostile.run()
        except Failed as failed:
            print(f"hostile: FAILED: {failed}", file=sys.stderr)
            return 1
    worst = min(median([row["ratio"] for row in rows]) for rows in found.values())
    say("")
    say(f"{'crowd':32} {'held':>6} {'undisturbed/s':>14} {'disturbed/s':>12} {'ratio':>6} {'us/request':>13} {'crowd CPU':>9} failed")
    for name, rows in found.items():
        middle = {key: median([row[key] for row in rows]) for key in ("held", "undisturbed", "disturbed", "ratio", "crowd_cpu")}
        us = [median([row["us_per_request"][side] for row in rows]) for side in (0, 1)]
        say(f"{name:32} {middle['held']:6.0f} {middle['undisturbed']:14.0f} {middle['disturbed']:12.0f}"
            f" {middle['ratio']:6.2f} {us[0]:5.1f} ->{us[1]:5.1f} {middle['crowd_cpu']:8.0%} {sum(row['failed'] for row in rows):7}")
    say(f"our crowd, last round: {json.dumps(hostile.crowd_told)}")
    say(f"resident memory at the end: {hostile.served / (1 << 20):.1f} MiB")
    failed = sum(row["failed"] for rows in found.values() for row in rows)
    if options.json:
        Path(options.json).write_text(json.dumps({"budget": BUDGET, "crowds": found, "ours": hostile.crowd_told}, indent=1) + "\n")
    if worst < BUDGET or failed:
        print(f"hostile: FAILED: the worst ratio is {worst:.2f}, at least {BUDGET:.2f} is wanted; {failed} failed requests",
              file=sys.stderr)
        return 1
    say(f"hostile: the worst ratio is {worst:.2f}, at least {BUDGET:.2f} is wanted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
