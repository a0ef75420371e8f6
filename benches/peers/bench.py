"""Madang beside nginx and Caddy: the same work, the same machine, one run.

Questions: what does a request cost, how many come through one core, what does the server hold in memory?
Budgets (CPU per request over nginx's): 0.75 for 1 KiB, 1.05 for 1 MiB, 0.70 over TLS on kept connections, 0.60 for a new
TLS connection; resident memory under 20 MiB idle and under 6 KiB for an idle plain connection.

Method: every server has one worker on core 0, every generator one thread on core 1. All stand at once; a round does every
work against each in turn (A B C, A B C ...). What counts is the median of the rounds; of ratios the median of each round's own,
so that what else the machine does meanwhile meets both sides. CPU is user and system time of all the
server's processes over the answers given. Access logs are off for all; the rest of the settings is in this folder. Memory
is measured on servers freshly started. wrk drives HTTP/1.1, h2load HTTP/2 and new connections (it never offers a session
again, which nginx's own log has to confirm here).

Usage: bench.py --madang BIN [--seconds 2] [--rounds 7] [--held 10000] [--quick] [--only WORK]
       [--json FILE] [--markdown FILE]
"""

import argparse
import json
import os
import platform
import re
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lab import load
from lab.raw import Held
from lab.server import (
    Failed, Server, fill, free_port, go_first, make_certificate, median, raise_fd_limit, scratch, trusting,
)

SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 32
KIB, MIB = 1 << 10, 1 << 20
FILES = {"1k.bin": KIB, "100k.bin": 100 * KIB, "1m.bin": MIB}
IDLE_BYTES_MAX, HELD_BYTES_MAX = 20 * MIB, 6 * KIB


@dataclass(frozen=True)
class Work:
    """One line of the table: how the load is made, and the budget for CPU per request over nginx's."""

    name: str
    port: str
    load: object
    budget: float | None = None


def wrk(path, scheme="http"):
    return lambda port, seconds: load.wrk(f"{scheme}://127.0.0.1:{port}/{path}", seconds, CONNECTIONS, core=CLIENT_CORE)


def h2load(port, seconds):
    return load.h2load(f"https://127.0.0.1:{port}/1k.bin", seconds, 8, streams=8, core=CLIENT_CORE)


def new_connections(scheme, port, seconds):
    return load.new_connections(f"{scheme}://127.0.0.1:{port}/1k.bin", seconds, core=CLIENT_CORE)


WORKS = [
    Work("static 1 KiB", "plain", wrk("1k.bin"), 0.75),
    Work("static 100 KiB", "plain", wrk("100k.bin")),
    Work("static 1 MiB", "plain", wrk("1m.bin"), 1.05),
    Work("new connection 1 KiB", "plain", partial(new_connections, "http")),
    Work("TLS 1.3 kept 1 KiB", "tls", wrk("1k.bin", "https"), 0.70),
    Work("TLS 1.3 new connection", "tls", partial(new_connections, "https"), 0.60),
    Work("HTTP/2 1 KiB", "tls", h2load),
]


class Bench:
    """The peers and what was measured of them."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        (self.folder / "www").mkdir()
        for name, size in FILES.items():
            (self.folder / "www" / name).write_bytes(os.urandom(size))
        self.cert, self.key = make_certificate(self.folder)
        self.peers = {"madang": self.madang, "nginx": self.nginx, "tuned": self.tuned, "caddy": self.caddy}
        self.failed = 0

    # The peers

    def start(self, name):
        """One peer on free ports."""
        folder = self.folder / f"{name}-{free_port()}"
        folder.mkdir()
        ports = {"plain": free_port(), "tls": free_port()}
        values = {"folder": folder, "www": self.folder / "www", "cert": self.cert, "key": self.key, **ports}
        return self.peers[name](values, ports, folder)

    def madang(self, values, ports, folder):
        settings = fill(HERE / "madang.toml", values, folder / "madang.toml")
        return Server("madang", [Path(self.options.madang).resolve(), "run", "-c", settings], ports, folder, SERVER_CORE)

    def nginx(self, values, ports, folder):
        """As Debian's package sets it up: sendfile, tcp_nopush, nothing cached."""
        return self.any_nginx("nginx", values | {"cache": ""}, ports, folder)

    def tuned(self, values, ports, folder):
        """The same with what its own advice for static files adds."""
        cache = "open_file_cache max=1024 inactive=60s; open_file_cache_valid 30s;"
        return self.any_nginx("tuned", values | {"cache": cache}, ports, folder)

    def any_nginx(self, name, values, ports, folder):
        self.counted, self.resumed = free_port(), folder / "resumed.log"
        # As root its workers would become a user who may not look into our folder.
        values |= {"counted": self.counted, "user": "user root;" if os.geteuid() == 0 else ""}
        settings = fill(HERE / "nginx.conf", values, folder / "nginx.conf")
        program = "/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else "nginx"
        return Server(name, [program, "-p", folder, "-c", settings], ports, folder, SERVER_CORE)

    def caddy(self, values, ports, folder):
        settings = fill(HERE / "Caddyfile", values, folder / "Caddyfile")
        env = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        command = [caddy_program(), "run", "--adapter", "caddyfile", "--config", settings]
        return Server("caddy", command, ports, folder, SERVER_CORE, env)

    # Memory

    def memory(self):
        """Resident bytes of each peer, freshly started, and what an idle plain connection adds."""
        found = {}
        for name in self.peers:
            with self.start(name) as server:
                # The first answers load what every later one needs.
                Held(server.ports["plain"]).ask("/1k.bin")
                idle = server.rss_bytes()
                held = []
                for _ in range(self.options.held):
                    held.append(Held(server.ports["plain"]))
                    if held[-1].ask("/1k.bin")[0] != 200:
                        raise Failed(f"{name}: a connection to be held was not answered")
                each = (server.rss_bytes() - idle) / len(held)
                for connection in held:
                    connection.close()
            found[name] = {"idle_bytes": idle, "per_connection_bytes": each}
            say(f"memory {name}: {idle / MIB:.1f} MiB idle, {each:.0f} bytes a connection")
        return found

    # Work

    def works(self):
        """Every work, every round, every peer."""
        works = [work for work in WORKS if self.options.only in work.name]
        found = {work.name: {name: [] for name in self.peers} for work in works}
        with ExitStack() as open_servers:
            servers = {name: open_servers.enter_context(self.start(name)) for name in self.peers}
            self.same_work(servers)
            for number in range(self.options.rounds):
                for work in works:
                    for name, server in servers.items():
                        if number == 0:
                            work.load(server.ports[work.port], 1)  # warm: caches, connection buffers
                        found[work.name][name].append(self.once(work, server))
                        last = found[work.name][name][-1]
                        say(f"round {number + 1} {work.name}, {name}: {last['us']:.2f} us, {last['rate']:.0f}/s")
        return found

    def once(self, work, server):
        """One measurement."""
        before = server.cpu_ns()
        seen = work.load(server.ports[work.port], self.options.seconds)
        spent = server.cpu_ns() - before
        self.failed += seen.failed
        return {"us": spent / 1000 / seen.requests, "rate": seen.rate, "p99_ms": seen.p99_ms, "failed": seen.failed}

    def same_work(self, servers):
        """All answer the same bytes over the same TLS, and the generator of new connections resumes none."""
        want = (self.folder / "www/100k.bin").read_bytes()
        for name, server in servers.items():
            if Held(server.ports["plain"]).ask("/100k.bin")[2] != want:
                raise Failed(f"{name} serves other bytes")
            with socket.create_connection(("127.0.0.1", server.ports["tls"]), timeout=10) as plain:
                with trusting().wrap_socket(plain, server_hostname="localhost") as secure:
                    have = (secure.version(), secure.getpeercert(binary_form=True))
                    if have != ("TLSv1.3", ssl.PEM_cert_to_DER_cert(self.cert.read_text())):
                        raise Failed(f"{name} speaks {have[0]} or shows another certificate")
        load.new_connections(f"https://127.0.0.1:{self.counted}/1k.bin", 0.5, core=CLIENT_CORE)
        resumed = self.resumed.read_text().split()
        if "r" in resumed or not resumed:
            raise Failed(f"of {len(resumed)} new connections {resumed.count('r')} were resumed")


def caddy_program():
    """Where tests/setup/install put it."""
    for place in (ROOT / ".tools/venv/bin/caddy", Path("/usr/bin/caddy")):
        if place.exists():
            return place
    raise Failed("no caddy: run tests/setup/install bench")


def middle(rounds, key):
    """The median over the rounds, or nothing where the generator does not tell."""
    values = [one[key] for one in rounds if one[key] is not None]
    return median(values) if values else None


def verdict(ratio, budget):
    """How a ratio stands to its budget."""
    return "-" if budget is None else f"{budget:.2f} {'kept' if ratio <= budget else 'MISSED'}"


def facts(options):
    """The machine and the programs, without names of hosts or folders."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    said = lambda *command: subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: E731
    return {
        "processor": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release(),
        "madang": said(options.madang, "--version").stdout.strip(),
        "nginx": said("/usr/sbin/nginx", "-v").stderr.strip().rpartition("/")[2],
        "caddy": said(caddy_program(), "version").stdout.split()[0],
        "seconds": options.seconds, "rounds": options.rounds, "held": options.held,
    }


def tables(facts_, memory, works):
    """The result as Markdown, which reads well on a terminal too."""
    lines = [
        f"{facts_['cores']} cores of {facts_['processor']}, Linux {facts_['kernel']}. {facts_['madang']}, nginx"
        f" {facts_['nginx']}, Caddy {facts_['caddy']}. {facts_['rounds']} rounds of {facts_['seconds']} s: medians, of ratios too.",
        "", "CPU microseconds per request (user and system, all processes of the server):", "",
        "| work | madang | nginx | nginx, tuned | caddy | madang/nginx | budget | madang/tuned |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    budgets = {work.name: work.budget for work in WORKS}
    for name, peers in works.items():
        us = {peer: middle(rounds, "us") for peer, rounds in peers.items()}
        over = lambda peer: median(  # noqa: E731
            [ours["us"] / theirs["us"] for ours, theirs in zip(peers["madang"], peers[peer])])
        ratio = over("nginx")
        lines.append(f"| {name} | {us['madang']:.1f} | {us['nginx']:.1f} | {us['tuned']:.1f} | {us['caddy']:.1f} |"
                     f" {ratio:.2f} | {verdict(ratio, budgets[name])} | {over('tuned'):.2f} |")
    lines += ["", "Requests per second through one core, and what the slowest hundredth waited (32 connections at full speed):",
              "", "| work | madang | nginx | nginx, tuned | caddy |", "|---|---:|---:|---:|---:|"]
    for name, peers in works.items():
        cells = []
        for rounds in peers.values():
            p99 = middle(rounds, "p99_ms")
            cells.append(f"{middle(rounds, 'rate'):.0f}" + (f", {p99:.2f} ms" if p99 else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if memory:
        ours = memory["madang"]
        kept = lambda value, limit: "kept" if value < limit else "MISSED"  # noqa: E731
        lines += ["", f"Resident memory; the connections are {facts_['held']} plain ones that each asked once:", "",
                  "| | madang | nginx | nginx, tuned | caddy | budget |", "|---|---:|---:|---:|---:|---|"]
        lines.append("| idle, MiB | " + " | ".join(f"{one['idle_bytes'] / MIB:.1f}" for one in memory.values())
                     + f" | 20 {kept(ours['idle_bytes'], IDLE_BYTES_MAX)} |")
        lines.append("| an idle connection, bytes | " + " | ".join(f"{one['per_connection_bytes']:.0f}" for one in memory.values())
                     + f" | {HELD_BYTES_MAX} {kept(ours['per_connection_bytes'], HELD_BYTES_MAX)} |")
    return "\n".join(lines) + "\n"


def say(line):
    """A step is told when it is done."""
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description="Madang beside nginx and Caddy.")
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--seconds", type=int, default=2, help="of one measurement (default 2)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--held", type=int, default=10_000, help="idle connections to measure memory with; 0: none")
    parser.add_argument("--quick", action="store_true", help="three minutes: 1 s, 5 rounds")
    parser.add_argument("--only", default="", help="works whose name holds this text")
    parser.add_argument("--json", metavar="FILE", default=ROOT / "bench-results/peers.json")
    parser.add_argument("--markdown", metavar="FILE", default=ROOT / "bench-results/peers.md")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 1, 5
    if raise_fd_limit() < options.held + 100:
        print(f"too few descriptors for {options.held} connections: raise the limit or lower --held", file=sys.stderr)
        return 2
    niceness = go_first()
    with scratch("bench") as folder:
        bench = Bench(options, folder)
        try:
            memory = bench.memory() if options.held else {}
            works = bench.works()
        except Failed as failed:
            print(f"bench: FAILED: {failed}", file=sys.stderr)
            return 1
    told = facts(options) | {"niceness": niceness}
    text = tables(told, memory, works)
    for path, content in ((options.json, json.dumps({"facts": told, "memory": memory, "works": works}, indent=1) + "\n"),
                          (options.markdown, text)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
    say("\n" + text)
    if bench.failed:
        print(f"bench: FAILED: {bench.failed} requests failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
