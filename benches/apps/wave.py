"""A CPU-bound app scaled by CPU time under a wave of load: do its instances follow, and does anything fail?

Question: how soon are there enough instances when load comes, how slowly do they go, what do clients notice? And how long does the
first request wait that wakes an app with `min = 0`?
Method: an app in Python that burns 10 ms of CPU time per request, `scale = { by = "cpu", target = "35%" }` between 1 and 4
instances. An open load: requests leave at times that were planned before, whatever became of the others (a sine between 10 and 120 a
second, and a spike of 110 more for 8 s in a trough); what is measured counts from the planned time. Each second is read what was
offered and answered, how many instances were ready and wanted, and what CPU time they used. Nothing may fail; every instance count
from 1 to the most must be seen; at the end there is one again. Madang, the apps and the load share the machine.

Usage: wave.py --madang BIN [--seconds 130] [--json FILE] [--svg FILE] [--csv FILE]
"""

import argparse
import asyncio
import json
import math
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(HERE)]
from lab.server import Failed, Server, free_port, scratch, status
from picture import draw

LEAST, MOST, PERIOD_S = 10.0, 120.0, 65.0
SPIKE, SPIKE_AT_S, SPIKE_S = 110.0, 61.0, 8.0
BURN_MS, TARGET_PERCENT, INSTANCES_MAX = 10, 35, 4
# A request that is not answered after this has failed.
PATIENCE_S = 20
# After the load: until one instance is left again.
CALM_S = 90
WAKES = 3
SETTINGS = """\
[server]
data = "data"
workers = 1
[site.main]
listen = "http://127.0.0.1:{port}"
route  = [{{ path = "/sleeper/*", proxy = "sleeper" }}, {{ path = "/*", proxy = "burn" }}]
[app.burn]
run       = ["python3", "burn.py"]
dir       = "{dir}"
env       = {{ BURN_MS = "{burn}" }}
instances = {{ min = 1, max = {most} }}
scale     = {{ by = "cpu", target = "{target}%", up = "2s", down = "8s" }}
health    = {{ path = "/healthz", every = "250ms", timeout = "5s", rise = 1 }}
[app.sleeper]
run       = ["python3", "burn.py"]
dir       = "{dir}"
instances = {{ min = 0, max = 1 }}
scale     = {{ idle = "2s" }}
health    = {{ path = "/healthz", every = "250ms", rise = 1 }}
"""


def rate(at):
    """Requests a second that are offered at a moment."""
    wave = LEAST + (MOST - LEAST) * math.sin(math.pi * at / PERIOD_S) ** 2
    return wave + (SPIKE if SPIKE_AT_S <= at < SPIKE_AT_S + SPIKE_S else 0.0)


def planned(seconds):
    """The times at which requests leave: evenly by the rate, the same in every run."""
    times, due, step = [], 0.0, 0.001
    for tick in range(round(seconds / step)):
        due += rate(tick * step) * step
        while due >= 1.0:
            times.append(tick * step)
            due -= 1.0
    return times


class Client:
    """Asks by HTTP/1.1 over as many kept connections as are needed at once."""

    def __init__(self, port):
        self.port, self.idle, self.failures = port, [], []
        self.done = []  # (second it was planned for, second it was answered in, ms)

    async def ask(self, path, began, plan):
        """One request; what it took since `plan` is kept."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, IndexError, TimeoutError) as error:
            self.failures.append((plan, repr(error)))
            return
        now = time.monotonic() - began
        if head.split()[1] == b"200":
            self.idle.append((reader, writer))
            self.done.append((plan, now, (now - plan) * 1000))
        else:
            writer.close()
            self.failures.append((plan, head.split(b"\r\n")[0].decode()))


def look(madang, settings, began):
    """What the server says of the app now."""
    app = next(app for app in status(madang, settings)["apps"] if app["app"] == "burn")
    used = [one["cpu_percent"] or 0.0 for one in app["instances"]]
    return {
        "at_s": time.monotonic() - began, "ready": app["ready"], "wanted": app["wanted"], "cpu_percent": sum(used),
        "in_flight": sum(one["in_flight"] for one in app["instances"])}


async def wave(madang, settings, port, seconds):
    """The load; gives the client and a look for each second, until the last instance is alone again."""
    client, looks, tasks = Client(port), [], []
    began = time.monotonic()

    async def watch():
        while True:
            looks.append(await asyncio.to_thread(look, madang, settings, began))
            over = time.monotonic() - began > seconds
            if (over and looks[-1]["ready"] == looks[-1]["wanted"] == 1) or time.monotonic() - began > seconds + CALM_S:
                return
            await asyncio.sleep(max(0.0, began + len(looks) - time.monotonic()))

    watching = asyncio.create_task(watch())
    for plan in planned(seconds):
        await asyncio.sleep(max(0.0, began + plan - time.monotonic()))
        tasks.append(asyncio.create_task(client.ask("/", began, plan)))
    await asyncio.gather(*tasks)
    await watching
    return client, looks


def of(values, share):
    """The value below which this share of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def by_second(client, looks, seconds):
    """One row for each second."""
    rows = []
    for second in range(len(looks)):
        planned_now = [ms for plan, _, ms in client.done if second <= plan < second + 1]
        failed = sum(1 for plan, _ in client.failures if second <= plan < second + 1)
        rows.append({
            "second": second, "offered": len(planned_now) + failed, "failed": failed,
            "answered": sum(1 for _, at, _ in client.done if second <= at < second + 1),
            "p50_ms": of(planned_now, 0.5), "p99_ms": of(planned_now, 0.99), **looks[second]})
    return rows


async def wakes(madang, settings, port, times):
    """How long the first request waits for an app that sleeps, in ms, each time."""
    waits = []
    for _ in range(times):
        end = time.monotonic() + 30
        while next(app for app in status(madang, settings)["apps"] if app["app"] == "sleeper")["state"] != "asleep":
            if time.monotonic() > end:
                raise Failed("the app does not fall asleep")
            await asyncio.sleep(0.1)
        client, began = Client(port), time.monotonic()
        await client.ask("/sleeper/", began, 0.0)
        if client.failures:
            raise Failed(f"the request that wakes failed: {client.failures[0][1]}")
        waits.append(client.done[0][2])
    return waits


def main():
    """Runs it; 1 when something failed or the instances did not follow."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--madang", required=True, type=Path)
    arguments.add_argument("--seconds", type=int, default=130)
    arguments.add_argument("--json", metavar="FILE", type=Path, default=ROOT / "bench-results/apps-wave.json")
    arguments.add_argument("--svg", metavar="FILE", type=Path, default=ROOT / "bench-results/apps-wave.svg")
    arguments.add_argument("--csv", metavar="FILE", type=Path, help="the recording that the simulation replays")
    options = arguments.parse_args()
    madang, port = options.madang.resolve(), free_port()
    with scratch("apps-wave-") as folder:
        settings = Path(folder) / "madang.toml"
        settings.write_text(SETTINGS.format(port=port, dir=HERE, burn=BURN_MS, most=INSTANCES_MAX, target=TARGET_PERCENT))
        with Server("madang", [madang, "run", "-c", settings], {"http": port}, folder):
            client, looks = asyncio.run(wave(madang, settings, port, options.seconds))
            waits = asyncio.run(wakes(madang, settings, port, WAKES))
    rows = by_second(client, looks, options.seconds)
    ready = [row["ready"] for row in rows]
    changes = sum(1 for before, now in zip(ready, ready[1:]) if before != now)
    times = [ms for _, _, ms in client.done]
    told = {
        "requests": len(client.done) + len(client.failures), "failed": len(client.failures), "instances_most": max(ready),
        "changes": changes, "p50_ms": of(times, 0.5), "p99_ms": of(times, 0.99), "slowest_ms": max(times),
        "wake_ms": waits, "rows": rows}
    print(f"{told['requests']} requests, {told['failed']} failed; instances 1 to {max(ready)}, {changes} changes, {ready[-1]} at the end")
    print(f"p50 {told['p50_ms']:.0f} ms, p99 {told['p99_ms']:.0f} ms, slowest {told['slowest_ms']:.0f} ms")
    print(f"the first request of an app that sleeps waits {', '.join(f'{wait:.0f}' for wait in waits)} ms")
    for plan, why in client.failures[:10]:
        print(f"    FAILED, planned for {plan:.2f} s: {why}")
    for file, text in [(options.json, json.dumps(told) + "\n"), (options.svg, draw(rows))]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if options.csv:
        lines = [f"{row['second']},{row['offered']},{row['cpu_percent']:.0f},{row['in_flight']}" for row in rows]
        options.csv.write_text("\n".join(["second,offered,cpu_percent,in_flight", *lines]) + "\n")
    followed = max(ready) == INSTANCES_MAX and ready[-1] == 1
    print("kept" if followed and not client.failures else "MISSED")
    return 0 if followed and not client.failures else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        sys.exit(1)
