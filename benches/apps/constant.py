"""Everything that happens to an app, under constant load: deploys, kills, scaling, broken versions. No request may fail.

Question: does anybody notice?
Method: three instances of the Rust example. All the time, at once: wrk on kept connections, wrk with a connection for each request,
wrk on a slow answer (0.3 s), each without a pause from the first to the last change of a phase; and clients of our own (`lab.asking`), that tell
of each failure when it was and what came. Then: deploys of another folder, one after the other; `kill -9` of one instance of the three;
scaling up to six and down to two; versions that are broken (one never opens its port, one ends after it got requests, one answers
500), each of which must be taken back by itself with exit code 1. A failed request is whatever wrk counts as a socket error or as
another status than 2xx, and whatever our clients did not get with 200.

Usage: constant.py --madang BIN [--deploys 30] [--kills 30] [--scales 10] [--rollbacks 10] [--watch 3] [--json FILE]
"""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from house import ROOT, House, build, processes, version
from lab.asking import Asking
from lab.constant import Count, Wrk
from lab.server import Failed, scratch, tail

INSTANCES, MOST, FEWEST = 3, 6, 2
# Kinds of load, connections of each: few, so that the apps get their share of two cores.
KEPT, NEW, SLOW = 8, 2, 8
# It ends when half of the time it is watched is over: it has had requests then.
BROKEN = {
    "never opens its port": "#!/bin/sh\nexec sleep 600\n",
    "ends after a while": "#!/bin/sh\n../a/app &\nsleep {half}\nkill -9 $!\nexit 3\n",
    "answers 500": "#!/bin/sh\nexec python3 {here}/sick.py\n",
}


class Phase:
    """A kind of change under load; use with `with`."""

    def __init__(self, house, name, times):
        self.house, self.name, self.times = house, name, times

    def __enter__(self):
        self.began = time.monotonic()
        house = self.house
        self.load = {
            "kept": Wrk(house.url(), KEPT), "new": Wrk(house.url(), NEW, keep=False), "slow": Wrk(house.url("/slow"), SLOW)}
        self.asking = Asking(house.port, gets=2, posts=0, new_connections=2, slow=2).__enter__()
        return self

    def __exit__(self, *_):
        self.counts = {name: wrk.stop() for name, wrk in self.load.items()}
        self.asking.__exit__()
        self.counts["own"] = Count(sum(self.asking.answered.values()), len(self.asking.failures))
        self.seconds = time.monotonic() - self.began
        self.failed = sum(count.failed for count in self.counts.values())
        requests = "  ".join(f"{count.requests:>8}" for count in self.counts.values())
        print(f"{self.name:<28} {self.times:>4}  {self.seconds:7.1f}  {requests}  {self.failed:>6}", flush=True)
        for failure in self.asking.failures[:10]:
            print(f"    FAILED at {failure.at:.3f} s: {failure.method} {failure.path}: {failure.reason}")

    def told(self):
        """For JSON."""
        counts = {name: asdict(count) for name, count in self.counts.items()}
        failures = [asdict(failure) for failure in self.asking.failures]
        return {"name": self.name, "times": self.times, "seconds": self.seconds, "load": counts, "failures": failures}


def deploy(house, dirs, times):
    """Another folder each time; all old processes are gone before the next."""
    with Phase(house, "deploys", times) as phase:
        for round_ in range(times):
            before = processes(house.app())
            house.order("deploy", "steady", "--dir", dirs[round_ % 2])
            house.until_ready(INSTANCES, without=before)
    return phase


def kill(house, times):
    """`kill -9` of one instance, the oldest of them; the next once three are ready again."""
    with Phase(house, "kill -9 of an instance", times) as phase:
        for _ in range(times):
            app = house.until_ready(INSTANCES)
            process = min(app["instances"], key=lambda one: one["instance"])["process"]
            os.kill(process, signal.SIGKILL)
            house.until_ready(INSTANCES, without={process})
    return phase


def scale(house, times):
    """Up and down by order."""
    with Phase(house, "scaled up and down", times) as phase:
        for _ in range(times):
            for count in (MOST, FEWEST):
                house.order("scale", "steady", str(count))
                house.until_ready(count)
        house.order("scale", "steady", str(INSTANCES))
        house.until_ready(INSTANCES)
    return phase


def roll_back(house, broken, times):
    """Broken versions in turn; each is taken back, and the version before is untouched."""
    with Phase(house, "broken versions taken back", times) as phase:
        for round_ in range(times):
            name, directory = list(broken.items())[round_ % len(broken)]
            before = house.until_ready(INSTANCES)
            done = house.order("deploy", "steady", "--dir", directory, check=False)
            if done.returncode != 1 or "was taken back" not in done.stderr:
                raise Failed(f"a version that {name}: exit code {done.returncode}, {done.stdout}{done.stderr}")
            after = house.until_ready(INSTANCES)
            if processes(before) != processes(after):
                raise Failed(f"a version that {name}: the instances of the version before were replaced too")
    return phase


def main():
    """Runs all phases; 1 when a request failed."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--madang", required=True, type=Path)
    for name, default in (("deploys", 30), ("kills", 30), ("scales", 10), ("rollbacks", 10)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--watch", type=float, default=3.0, help="seconds a new version is watched")
    arguments.add_argument("--json", metavar="FILE", type=Path, default=ROOT / "bench-results/apps-constant.json")
    options = arguments.parse_args()
    with scratch("apps-constant-") as folder:
        program = build(folder)
        dirs = [version(folder, name, program) for name in ("a", "b")]
        broken = {
            name: version(folder, name.split()[0], text.format(half=options.watch / 2, here=HERE))
            for name, text in BROKEN.items()}
        with House(options.madang.resolve(), folder, dirs[0], instances=INSTANCES, watch=options.watch) as house:
            house.until_ready(INSTANCES)
            print(f"{'':<28} {'':>4}  {'seconds':>7}  {'kept':>8}  {'new':>8}  {'slow':>8}  {'own':>8}  {'failed':>6}")
            try:
                phases = [
                    deploy(house, dirs[::-1], options.deploys), kill(house, options.kills), scale(house, options.scales),
                    roll_back(house, broken, options.rollbacks)]
            except Failed as failed:
                raise Failed(f"{failed}\n{tail(house.folder / 'madang.log', 40)}")
            log = (house.folder / "madang.log").read_text()
    failed = sum(phase.failed for phase in phases)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"failed": failed, "phases": [phase.told() for phase in phases]}, indent=1) + "\n")
    if failed:
        options.json.with_suffix(".log").write_text(log)
        print(f"what Madang said is in {options.json.with_suffix('.log')}")
    print("kept: no request failed" if not failed else f"MISSED: {failed} requests failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        sys.exit(1)
