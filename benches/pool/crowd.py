"""Ten thousand clients over a hundred connections to the server, beside HAProxy in the same run.

Question: does a pool that may hold 100 connections serve 10,000 clients that stay, for minutes, without a failed request, without
growing, without losing a descriptor, and how long do they wait beside HAProxy's?
Budget: 0 failed; never more than 100 connections to the server; resident memory is flat: in the last quarter of the run at most a
fiftieth more than before; after all clients went no descriptor more than before but the kept ones to the server.

Method: Madang and HAProxy stand on core 0 at the same time, each with clients (`paced.py`) of its own and its own port of one nginx
that takes 20 ms for an answer, all of these on core 1. Both get the same: 2,000 requests a second, each client in turn, and every five
seconds 300 at once, which is more than 100 connections carry: they wait in the pool's line. Access logs are off. Memory is read every
two seconds.

Usage: crowd.py --madang BIN [--count 10000] [--seconds 300] [--rate 2000] [--quick] [--json FILE] [--markdown FILE]
"""

import argparse
import json
import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lab.raw import Held
from lab.server import Failed, Server, fill, free_port, go_first, raise_fd_limit, scratch

SERVER_CORE, CLIENT_CORE = 0, 1
UPSTREAM_MAX, SERVICE_S = 100, 0.020
BURST, BURST_EVERY_S = 300, 5
GROWTH_MAX = 1 / 50
# In a shorter run the allocator is still making room for bursts that meet other clients each time.
JUDGED_S = 240
SAMPLE_S = 2.0
# Opening connections and asking once on each, and the last answers after the run.
STANDING_S, CLOSED_S = 120, 15
MADANG = """[server]
data = "{folder}/data"
workers = 1
connections_per_address_max = 0
[site.crowd]
listen = "http://127.0.0.1:{port}"
route = [{{ proxy = "one" }}]
[pool.one]
servers = [{{ address = "127.0.0.1:{upstream}", max_connections = {most} }}]
keep_alive = {most}
queue = {{ length = {count}, wait = "20s" }}
"""
HAPROXY = """global
  nbthread 1
  maxconn {room}
  # It wants two descriptors for each client; here 100 serve all.
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  timeout queue 20s
frontend crowd
  bind 127.0.0.1:{port} backlog 4096
  default_backend one
backend one
  http-reuse always
  server s1 127.0.0.1:{upstream} maxconn {most}
"""


def connections_to(port):
    """Established TCP connections from anybody to this port of 127.0.0.1."""
    wanted = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as table:
        return sum(1 for line in table if (fields := line.split())[2] == wanted and fields[3] == "01")


class Side:
    """One balancer with its clients, and what was seen of it."""

    def __init__(self, name, server, upstream_port):
        self.name, self.server, self.upstream_port = name, server, upstream_port
        self.before = self.look()
        self.before["fds"] -= connections_to(upstream_port)
        self.samples, self.upstream_most = [], 0

    def look(self):
        """Memory and descriptors now."""
        return {"rss": self.server.rss_bytes(), "fds": self.server.fds()}

    def expect(self, deadline_s):
        """The clients' next line."""
        if not select.select([self.clients.stdout], [], [], deadline_s)[0]:
            raise Failed(f"{self.name}: the clients say nothing for {deadline_s} s")
        line = self.clients.stdout.readline().decode()
        if not line:
            raise Failed(f"{self.name}: the clients ended")
        return line

    def sample(self, at):
        """One look in the middle of the run."""
        self.samples.append((at, self.server.rss_bytes()))
        self.upstream_most = max(self.upstream_most, connections_to(self.upstream_port))

    def tell(self, count, seconds):
        """What came of it; the clients are gone after that."""
        seen = json.loads(self.expect(STANDING_S))
        third, fourth = ([rss for at, rss in self.samples if part <= 4 * at / seconds < part + 1] for part in (2, 3))
        growth = max(fourth) / max(third) - 1
        cpu_us = (self.server.cpu_ns() - self.cpu_before) / 1000 / max(1, seen["answered"])
        self.clients.stdin.close()
        self.clients.wait(STANDING_S)
        end = time.monotonic() + CLOSED_S
        while self.server.fds() > self.before["fds"] + UPSTREAM_MAX and time.monotonic() < end:
            select.select([], [], [], 0.1)  # the closing of 10,000 connections is not an event one can wait for here
        after, kept = self.look(), connections_to(self.upstream_port)
        return seen | {
            "rss_before": self.before["rss"], "rss_standing": self.standing["rss"], "rss_end": fourth[-1], "rss_after": after["rss"],
            "bytes_per_client": (self.standing["rss"] - self.before["rss"]) / count, "growth": growth,
            "fds_before": self.before["fds"], "fds_standing": self.standing["fds"], "fds_after": after["fds"],
            "fds_lost": after["fds"] - kept - self.before["fds"], "upstream_most": self.upstream_most, "cpu_us": cpu_us,
            "samples": self.samples,
        }


class Bench:
    """The run."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)

    def nginx(self, ports):
        """The server behind both."""
        values = {"folder": self.folder, "service_s": SERVICE_S, "kibibyte": "m" * 1024,
                  "user": "user root;" if os.geteuid() == 0 else "", **ports}
        settings = fill(HERE / "crowd.nginx.conf", values, self.folder / "nginx.conf")
        return Server("nginx", ["/usr/sbin/nginx", "-p", self.folder, "-c", settings], ports, self.folder, CLIENT_CORE)

    def balancer(self, name, upstream):
        """Madang or HAProxy on a free port."""
        folder = self.folder / name
        folder.mkdir()
        port, count = free_port(), self.options.count
        values = {"folder": folder, "port": port, "upstream": upstream, "most": UPSTREAM_MAX, "count": count, "room": count + 100}
        settings = folder / "settings"
        settings.write_text((MADANG if name == "madang" else HAPROXY).format(**values))
        command = {"madang": [Path(self.options.madang).resolve(), "run", "-c", settings],
                   "haproxy": ["/usr/sbin/haproxy", "-db", "-f", settings]}[name]
        return Server(name, command, {"plain": port}, folder, SERVER_CORE)

    def clients(self, port):
        """Its clients, opening their connections."""
        words = {"port": port, "count": self.options.count, "seconds": self.options.seconds, "rate": self.options.rate,
                 "burst": BURST, "burst-every": BURST_EVERY_S}
        command = ["taskset", "-c", str(CLIENT_CORE), sys.executable, HERE / "paced.py"]
        command += [word for name, value in words.items() for word in (f"--{name}", str(value))]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self):
        """Both at once."""
        upstreams = {"madang": free_port(), "haproxy": free_port()}
        sides = []
        with ExitStack() as stack:
            stack.enter_context(self.nginx({f"up_{name}": port for name, port in upstreams.items()}))
            for name, upstream in upstreams.items():
                server = stack.enter_context(self.balancer(name, upstream))
                first = Held(server.ports["plain"])  # the first request opens what every later one needs
                first.ask("/1k.bin")
                first.close()
                sides.append(Side(name, server, upstream))
            for side in sides:
                side.clients = self.clients(side.server.ports["plain"])
                stack.callback(end, side.clients)
            for side in sides:
                if side.expect(STANDING_S) != "standing\n":
                    raise Failed(f"{side.name}: not all clients stand")
                side.standing = side.look()
                side.cpu_before = side.server.cpu_ns()
            for side in sides:
                side.clients.stdin.write(b"go\n")
                side.clients.stdin.flush()
            began = time.monotonic()
            while (at := time.monotonic() - began) < self.options.seconds:
                for side in sides:
                    side.sample(at)
                ended = [side.clients.stdout for side in sides]
                select.select(ended, [], [], SAMPLE_S)
            return {side.name: side.tell(self.options.count, self.options.seconds) for side in sides}


def end(process):
    """Ends clients that were not asked to go."""
    if process.poll() is None:
        process.kill()
    process.wait()


def table(options, found):
    """The result as Markdown."""
    mib = lambda key: lambda one: f"{one[key] / (1 << 20):.1f}"  # noqa: E731
    plain = lambda key, digits=0: lambda one: f"{one[key]:.{digits}f}"  # noqa: E731
    lines = {
        "answered": plain("answered"), "failed": lambda one: str(one["failed"] or 0), "p50, ms": plain("p50_ms", 1),
        "p99, ms": plain("p99_ms", 1), "p99.9, ms": plain("p999_ms", 1), "longest, ms": plain("max_ms", 1),
        "connections to the server, at most": plain("upstream_most"), "CPU per request, us": plain("cpu_us", 1),
        "resident before, MiB": mib("rss_before"), "with all clients, each asked once, MiB": mib("rss_standing"),
        "at the end, MiB": mib("rss_end"), "bytes a client": plain("bytes_per_client"),
        "most in the last quarter of the time over most in the third": lambda one: f"{100 * one['growth']:+.2f} %",
        "descriptors before, with all clients, after": lambda one: f"{one['fds_before']}, {one['fds_standing']}, {one['fds_after']}",
        "descriptors lost": plain("fds_lost"),
    }
    text = [f"{options.count} clients over at most {UPSTREAM_MAX} connections, {options.rate:.0f} requests a second and {BURST} more every"
            f" {BURST_EVERY_S} s, {options.seconds:.0f} s, an answer takes the server {1000 * SERVICE_S:.0f} ms.", "",
            f"| | {' | '.join(found)} |", f"|---|{'---:|' * len(found)}"]
    text += [f"| {name} | {' | '.join(cell(one) for one in found.values())} |" for name, cell in lines.items()]
    return "\n".join(text) + "\n"


def missed(one, seconds):
    """Which budgets Madang missed. Memory is judged only in a run long enough."""
    return [name for name, wrong in {
        "requests failed": one["failed"], "too many connections to the server": one["upstream_most"] > UPSTREAM_MAX,
        "memory grew": seconds >= JUDGED_S and one["growth"] > GROWTH_MAX, "descriptors were lost": one["fds_lost"] > 0}.items() if wrong]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--count", type=int, default=10_000, help="clients of each (default 10000)")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=2000, help="requests a second to each")
    parser.add_argument("--quick", action="store_true", help="40 seconds, too short to judge memory")
    parser.add_argument("--json", metavar="FILE", default=ROOT / "bench-results/crowd.json")
    parser.add_argument("--markdown", metavar="FILE", default=ROOT / "bench-results/crowd.md")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 40
    if raise_fd_limit() < options.count + 300:
        print(f"too few descriptors for {options.count} clients: raise the limit or lower --count", file=sys.stderr)
        return 2
    go_first()
    with scratch("crowd") as folder:
        try:
            found = Bench(options, folder).run()
        except Failed as failed:
            print(f"crowd: FAILED: {failed}", file=sys.stderr)
            return 1
    text = table(options, found)
    for path, content in ((options.json, json.dumps(found, indent=1) + "\n"), (options.markdown, text)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
    print(text)
    wrong = missed(found["madang"], options.seconds)
    print("kept" if not wrong else f"MISSED: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
