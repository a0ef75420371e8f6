"""A small machine: Madang, two Node instances and the load they are under, in 512 MiB together, without swap.

Question: does it stay inside, and does it grow?
Method: a control group (version 1 or 2, whichever the machine has) with a limit of 512 MiB of memory and none of swap. In it run Madang,
which runs two instances of the Node example, and three wrk: kept connections, a connection for each request, a slow answer (0.3 s).
Every second is read what the group uses (page cache and kernel memory included), what Madang, the apps and the generators have
resident, and how often the limit was met. Nothing may fail, nothing may be killed, and memory may not grow: the last quarter's most is
at most 8 MiB over the second quarter's, Madang's own at most 2 MiB.

Needs root, or a group that is delegated. Usage: small.py --madang BIN [--seconds 600] [--limit-mib 512] [--core N] [--json FILE]
"""

import argparse
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lab.constant import Wrk
from lab.server import PAGE, Failed, Server, free_port, scratch, status

MIB = 1 << 20
GROWTH_MIB, OWN_GROWTH_MIB = 8, 2
KEPT, NEW, SLOW = 32, 4, 32
SHOWN = 8
SETTINGS = """\
[server]
data = "data"
[site.main]
listen = "http://127.0.0.1:{port}"
route  = [{{ path = "/*", proxy = "small" }}]
[app.small]
run       = ["node", "app.js"]
dir       = "{dir}"
instances = 2
health    = {{ path = "/healthz", every = "1s" }}
restart   = {{ after = "1s" }}
"""


class Group:
    """A control group with a limit of its memory; use with `with`."""

    def __init__(self, limit):
        self.limit, self.version = limit, 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
        own = {}
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own.update({controller: path for controller in controllers.split(",")})
        top = Path("/sys/fs/cgroup") if self.version == 2 else Path("/sys/fs/cgroup/memory")
        above = top / own["" if self.version == 2 else "memory"].lstrip("/")
        # Of version 2 a group with processes hands nothing down, but for the root.
        self.folder = (above if self.version == 1 or above == top else above.parent) / f"madang-small-{os.getpid()}"

    def __enter__(self):
        try:
            self.folder.mkdir()
            if self.version == 1:
                self._write("memory.use_hierarchy", 1, needed=False)
                self._write("memory.limit_in_bytes", self.limit)
                self._write("memory.memsw.limit_in_bytes", self.limit, needed=False)
                self._write("memory.swappiness", 0, needed=False)
            else:
                self._write("memory.max", self.limit)
                self._write("memory.swap.max", 0, needed=False)
        except OSError as error:
            raise Failed(f"this machine lets nobody make a control group here: {error}")
        return self

    def __exit__(self, *_):
        for _ in range(100):
            try:
                # Madang's own below it are gone; what is left of them would be empty.
                for below in sorted(self.folder.glob("**/"), reverse=True):
                    below.rmdir()
                return
            except OSError:
                select.select([], [], [], 0.05)  # what has just ended leaves a moment later
        print(f"{self.folder} is left", file=sys.stderr)

    def _write(self, name, value, needed=True):
        try:
            (self.folder / name).write_text(str(value))
        except OSError:
            if needed:
                raise

    def joining(self, words):
        """A command that joins the group before it becomes `words`."""
        return ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(self.folder / "cgroup.procs"), *words]

    def used(self):
        """Bytes in use."""
        return int((self.folder / ("memory.current" if self.version == 2 else "memory.usage_in_bytes")).read_text())

    def trouble(self):
        """How often the limit was met, and how many processes were killed for it."""
        if self.version == 2:
            events = dict(line.split() for line in (self.folder / "memory.events").read_text().splitlines())
            return int(events["max"]), int(events["oom_kill"])
        killed = dict(line.split() for line in (self.folder / "memory.oom_control").read_text().splitlines())
        return int((self.folder / "memory.failcnt").read_text()), int(killed.get("oom_kill", 0))


def resident(pids):
    """Bytes; pages that they share count for each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            pass  # ended while we looked; the caller counts failures otherwise
    return total


def watch(group, house, settings, options, load):
    """Reads once a second; gives the samples."""
    samples, began, apps = [], time.monotonic(), set()
    while (now := time.monotonic() - began) < options.seconds:
        if len(samples) % 10 == 0:
            view = next(app for app in status(options.madang, settings)["apps"] if app["app"] == "small")
            apps = {one["process"] for one in view["instances"]}
        samples.append({
            "at_s": now, "group": group.used(), "madang": resident([house.pid]), "apps": resident(apps),
            "load": resident(wrk.process.pid for wrk in load)})
        select.select([], [], [], max(0.0, began + len(samples) - time.monotonic()))
    return samples


def most(samples, what, quarter=None):
    """The most of all samples, or of a quarter of them (0 to 3)."""
    count = len(samples)
    part = samples if quarter is None else samples[count * quarter // 4:count * (quarter + 1) // 4]
    return max(sample[what] for sample in part)


def main():
    """Runs it; 1 when something failed, was killed or grew."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--madang", required=True, type=Path)
    arguments.add_argument("--seconds", type=int, default=600)
    arguments.add_argument("--limit-mib", type=int, default=512)
    arguments.add_argument("--core", type=int, help="everything on this core alone")
    arguments.add_argument("--json", metavar="FILE", type=Path, default=ROOT / "bench-results/apps-small.json")
    options = arguments.parse_args()
    port, pinned = free_port(), [] if options.core is None else ["taskset", "-c", str(options.core)]
    with scratch("apps-small-") as folder, Group(options.limit_mib * MIB) as group:
        settings = Path(folder) / "madang.toml"
        settings.write_text(SETTINGS.format(port=port, dir=ROOT / "examples/apps/node"))
        words = group.joining([*pinned, str(options.madang.resolve()), "run", "-c", str(settings)])
        with Server("madang", words, {"http": port}, folder) as house:
            before = group.used()
            inside = lambda words: group.joining([*pinned, *words])
            url = f"http://127.0.0.1:{port}"
            load = [Wrk(f"{url}/", KEPT, around=inside), Wrk(f"{url}/", NEW, keep=False, around=inside),
                    Wrk(f"{url}/slow", SLOW, around=inside)]
            try:
                samples = watch(group, house, settings, options, load)
            finally:
                counts = [wrk.stop() for wrk in load]
            met, killed = group.trouble()
            log = (Path(folder) / "madang.log").read_text()
    requests, failed = sum(count.requests for count in counts), sum(count.failed for count in counts)
    kinds = ["group", "madang", "apps", "load"]
    print(f"limit {options.limit_mib} MiB, control groups of version {group.version}; before the load the group had {before / MIB:.0f} MiB")
    print("| after, s | in the group, MiB | Madang | two Node instances | three wrk |\n|---:|---:|---:|---:|---:|")
    for row in range(SHOWN + 1):
        sample = samples[min(len(samples) - 1, row * len(samples) // SHOWN)]
        print(f"| {sample['at_s']:.0f} | " + " | ".join(f"{sample[kind] / MIB:.1f}" for kind in kinds) + " |")
    print("| most | " + " | ".join(f"{most(samples, kind) / MIB:.1f}" for kind in kinds) + " |")
    growth = {kind: (most(samples, kind, 3) - most(samples, kind, 1)) / MIB for kind in kinds}
    print(f"{requests} requests in {options.seconds} s, {failed} failed; the limit was met {met} times, {killed} killed")
    print("from the second to the last quarter, MiB: " + ", ".join(f"{kind} {growth[kind]:+.1f}" for kind in kinds))
    ends = [line for line in log.splitlines() if " app: " in line and " ended " in line and "the server ends" not in line
            or "was killed" in line]
    for line in ends[:10]:
        print(f"    {line}")
    kept = not failed and not killed and not ends and growth["group"] <= GROWTH_MIB and growth["madang"] <= OWN_GROWTH_MIB
    options.json.parent.mkdir(parents=True, exist_ok=True)
    told = {"limit_mib": options.limit_mib, "requests": requests, "failed": failed, "limit_met": met, "killed": killed,
            "growth_mib": growth, "samples": samples}
    options.json.write_text(json.dumps(told) + "\n")
    print("kept" if kept else "MISSED")
    return 0 if kept else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        sys.exit(1)
