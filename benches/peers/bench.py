"""Madang beside nginx, HAProxy and Caddy: the same work, the same machine, one run.

Questions: what does a request cost, how many come through one core, what does the server hold in memory?
Budgets are in WORKS: CPU per request over nginx's for files, over that of the better of nginx and HAProxy for the proxy, over
HAProxy's for streams (L4). Resident memory under 20 MiB idle and under 6 KiB for an idle plain connection.

Method: every server has one worker on core 0, every generator one thread on core 1. What the proxies pass on comes from one
nginx on core 1 too, so that a proxy has its core alone. All stand at once; a round does every work against each in turn
(A B C, A B C ...). What counts is the median of the rounds; of ratios the median of each round's own, so that what else the
machine does meanwhile meets both sides. CPU is user and system time of all the server's processes over the answers given.
Access logs are off for all; the rest of the settings is in this folder. Memory is measured on servers freshly started. wrk
drives HTTP/1.1, h2load HTTP/2 and new connections (it never offers a session again, which nginx's own log has to confirm here).

Usage: bench.py --madang BIN [--seconds 2] [--rounds 7] [--held 10000] [--quick] [--only WORK] [--peers NAMES]
       [--json FILE] [--markdown FILE]
One line again, in half a minute: bench.py --madang BIN --quick --only "proxy 1 KiB" --peers madang,nginx,haproxy,haproxy-tuned
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
    """One line of the table: how the load is made, beside whom Madang is judged, and the budget for its CPU per request over theirs."""

    name: str
    port: str
    load: object
    beside: tuple = ("nginx",)
    budget: float | None = None


def wrk(path, scheme="http"):
    return lambda port, seconds: load.wrk(f"{scheme}://127.0.0.1:{port}/{path}", seconds, CONNECTIONS, core=CLIENT_CORE)


def h2load(port, seconds):
    return load.h2load(f"https://127.0.0.1:{port}/1k.bin", seconds, 8, streams=8, core=CLIENT_CORE)


def new_connections(scheme, port, seconds):
    return load.new_connections(f"{scheme}://127.0.0.1:{port}/1k.bin", seconds, core=CLIENT_CORE)


FILE, PROXY, STREAM = ("nginx",), ("nginx", "haproxy"), ("haproxy",)
WORKS = [
    Work("static 1 KiB", "plain", wrk("1k.bin"), FILE, 0.75),
    Work("static 100 KiB", "plain", wrk("100k.bin"), FILE),
    Work("static 1 MiB", "plain", wrk("1m.bin"), FILE, 1.05),
    Work("new connection 1 KiB", "plain", partial(new_connections, "http"), FILE),
    Work("TLS 1.3 kept 1 KiB", "tls", wrk("1k.bin", "https"), FILE, 0.70),
    Work("TLS 1.3 new connection", "tls", partial(new_connections, "https"), FILE, 0.60),
    Work("HTTP/2 1 KiB", "tls", h2load, FILE),
    Work("proxy 1 KiB", "proxy", wrk("1k.bin"), PROXY, 0.85),
    Work("proxy 1 KiB, 3 servers", "proxy_three", wrk("1k.bin"), PROXY, 0.85),
    Work("proxy 100 KiB", "proxy", wrk("100k.bin"), PROXY, 1.00),
    Work("proxy new connection", "proxy", partial(new_connections, "http"), PROXY),
    Work("proxy TLS 1.3 kept 1 KiB", "proxy_tls", wrk("1k.bin", "https"), PROXY, 0.80),
    Work("proxy HTTP/2 1 KiB", "proxy_tls", h2load, PROXY),
    Work("proxy L4 1 KiB", "stream", wrk("1k.bin"), STREAM, 1.00),
    Work("proxy L4 100 KiB", "stream", wrk("100k.bin"), STREAM, 1.00),
    Work("proxy L4 new connection", "stream", partial(new_connections, "http"), STREAM),
]


class Bench:
    """The peers and what was measured of them."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        (self.folder / "www").mkdir()
        for name, size in FILES.items():
            (self.folder / "www" / name).write_bytes(os.urandom(size))
        self.cert, self.key = make_certificate(self.folder)
        peers = {"madang": self.madang, "nginx": self.nginx, "nginx-tuned": self.nginx_tuned, "haproxy": self.haproxy,
                 "haproxy-tuned": self.haproxy_tuned, "caddy": self.caddy, "floor": self.floor}
        self.peers = {name: start for name, start in peers.items() if not options.peers or name in options.peers.split(",")}
        self.pem = self.folder / "both.pem"
        self.pem.write_text(self.cert.read_text() + self.key.read_text())
        self.upstream_ports = {"up1": free_port(), "up2": free_port(), "up3": free_port()}
        self.failed = 0

    # The peers

    def start(self, name):
        """One peer on free ports."""
        folder = self.folder / f"{name}-{free_port()}"
        folder.mkdir()
        wanted = ["proxy", "proxy_three", "proxy_tls"]
        wanted += [] if name.startswith("haproxy") else ["plain", "tls"]
        wanted += [] if name == "caddy" else ["stream"]
        ports = {port: free_port() for port in wanted}
        values = {"folder": folder, "www": self.folder / "www", "cert": self.cert, "key": self.key, "pem": self.pem,
                  # As root nginx's workers would become a user who may not look into our folder.
                  "user": "user root;" if os.geteuid() == 0 else "", **ports, **self.upstream_ports}
        return self.peers[name](values, ports, folder)

    def upstream(self):
        """The servers behind the proxies."""
        folder = self.folder / "upstream"
        folder.mkdir()
        values = {"folder": folder, "www": self.folder / "www", "kibibyte": "m" * KIB,
                  "user": "user root;" if os.geteuid() == 0 else "", **self.upstream_ports}
        settings = fill(HERE / "upstream.conf", values, folder / "nginx.conf")
        return Server("upstream", [nginx_program(), "-p", folder, "-c", settings], self.upstream_ports, folder, CLIENT_CORE)

    def madang(self, values, ports, folder):
        settings = fill(HERE / "madang.toml", values, folder / "madang.toml")
        return Server("madang", [Path(self.options.madang).resolve(), "run", "-c", settings], ports, folder, SERVER_CORE)

    def nginx(self, values, ports, folder):
        """As Debian's package sets it up: sendfile, tcp_nopush, nothing cached; to the servers Debian's proxy_params."""
        more = {"cache": "", "told": "include /etc/nginx/proxy_params;", "proxied": "", "kept": "", "streamed": ""}
        return self.any_nginx("nginx", values | more, ports, folder)

    def nginx_tuned(self, values, ports, folder):
        """What its own advice adds for files; as a proxy it tells the servers nothing and has room for a whole answer."""
        more = {"cache": "open_file_cache max=1024 inactive=60s; open_file_cache_valid 30s;", "told": "",
                "proxied": "proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;",
                "kept": "keepalive_requests 1000000000; keepalive_timeout 300s;", "streamed": "proxy_buffer_size 64k;"}
        return self.any_nginx("nginx-tuned", values | more, ports, folder)

    def any_nginx(self, name, values, ports, folder):
        self.counted, self.resumed = free_port(), folder / "resumed.log"
        settings = fill(HERE / "nginx.conf", values | {"counted": self.counted}, folder / "nginx.conf")
        return Server(name, [nginx_program(), "-p", folder, "-c", settings], ports, folder, SERVER_CORE)

    def haproxy(self, values, ports, folder):
        """As Debian's package sets it up, and like Debian's nginx it tells the servers the client's address."""
        more = {"global": "", "http": "", "told": "option forwardfor"}
        return self.any_haproxy("haproxy", values | more, ports, folder)

    def haproxy_tuned(self, values, ports, folder):
        """It tells the servers nothing, uses every kept connection for everyone, and of the larger buffers has the best for all rows."""
        more = {"global": "tune.bufsize 32768", "http": "http-reuse always", "told": ""}
        return self.any_haproxy("haproxy-tuned", values | more, ports, folder)

    def any_haproxy(self, name, values, ports, folder):
        settings = fill(HERE / "haproxy.cfg", values, folder / "haproxy.cfg")
        return Server(name, ["/usr/sbin/haproxy", "-db", "-f", settings], ports, folder, SERVER_CORE)

    def caddy(self, values, ports, folder):
        settings = fill(HERE / "Caddyfile", values, folder / "Caddyfile")
        env = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        command = [caddy_program(), "run", "--adapter", "caddyfile", "--config", settings]
        return Server("caddy", command, ports, folder, SERVER_CORE, env)

    def floor(self, values, ports, folder):
        """Bytes handed on unread, the least that two connections can cost (floor.c): what is left to win for any proxy."""
        program = folder / "floor"
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, HERE / "floor.c"], check=True)
        port = ports["proxy"]
        command = [program, str(port), str(values["up1"])]
        return Server("floor", command, {"proxy": port, "stream": port}, folder, SERVER_CORE)

    # Memory

    def memory(self):
        """Resident bytes of each peer, freshly started, and what an idle plain connection adds."""
        found = {}
        for name in self.peers:
            if name.startswith("haproxy") or name == "floor":
                continue  # no files to hand out
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
        """Every work, every round, every peer that can do it."""
        only = self.options.only
        works = [work for work in WORKS if work.name == only] or [work for work in WORKS if only in work.name]
        with ExitStack() as open_servers:
            open_servers.enter_context(self.upstream())
            servers = {name: open_servers.enter_context(self.start(name)) for name in self.peers}
            self.same_work(servers)
            found = {work.name: {name: [] for name in servers if work.port in servers[name].ports} for work in works}
            for number in range(self.options.rounds):
                for work in works:
                    for name, rounds in found[work.name].items():
                        if name == "caddy" and self.options.quick:
                            if number == 0:
                                rounds.append(self.once(work, servers[name]))  # too far away for more to tell more
                            continue
                        if number == 0:
                            work.load(servers[name].ports[work.port], 1)  # warm: caches, connection buffers
                        rounds.append(self.once(work, servers[name]))
                        say(f"round {number + 1} {work.name}, {name}: {rounds[-1]['us']:.2f} us, {rounds[-1]['rate']:.0f}/s")
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
            for port in set(server.ports) & {"plain", "proxy", "proxy_three", "stream"}:
                if Held(server.ports[port]).ask("/100k.bin")[2] != want:
                    raise Failed(f"{name} serves other bytes on its port {port}")
            for port in set(server.ports) & {"tls", "proxy_tls"}:
                with socket.create_connection(("127.0.0.1", server.ports[port]), timeout=10) as plain:
                    with trusting().wrap_socket(plain, server_hostname="localhost") as secure:
                        have = (secure.version(), secure.getpeercert(binary_form=True))
                        if have != ("TLSv1.3", ssl.PEM_cert_to_DER_cert(self.cert.read_text())):
                            raise Failed(f"{name} speaks {have[0]} or shows another certificate")
        if not any(name.startswith("nginx") for name in servers):
            return
        load.new_connections(f"https://127.0.0.1:{self.counted}/1k.bin", 0.5, core=CLIENT_CORE)
        resumed = self.resumed.read_text().split()
        if "r" in resumed or not resumed:
            raise Failed(f"of {len(resumed)} new connections {resumed.count('r')} were resumed")


def nginx_program():
    """Debian has it where users have no path to."""
    return "/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else "nginx"


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
        "nginx": said(nginx_program(), "-v").stderr.strip().rpartition("/")[2],
        "haproxy": said("/usr/sbin/haproxy", "-v").stdout.split()[2],
        "caddy": said(caddy_program(), "version").stdout.split()[0],
        "seconds": options.seconds, "rounds": options.rounds, "held": options.held,
    }


def best(peers, names):
    """Of the peers of these names the one that spends least per request, or nothing where none was measured."""
    measured = [name for name in peers if name in names]
    return min(measured, key=lambda name: middle(peers[name], "us"), default=None)


def over(peers, name):
    """Madang's CPU per request over a peer's: the median of the rounds' own ratios."""
    return median([ours["us"] / theirs["us"] for ours, theirs in zip(peers["madang"], peers[name])])


def line(work, peers, names):
    """One line of the first table."""
    cells = [f"{middle(peers[name], 'us'):.1f}" if name in peers else "-" for name in names]
    for beside, budgeted in ((work.beside, True), ([*work.beside, *(f"{name}-tuned" for name in work.beside)], False)):
        name = best(peers, beside)
        ratio = over(peers, name) if name and "madang" in peers else None
        cells.append(f"{ratio:.2f} {name}" if ratio else "-")
        if budgeted:
            cells.append(verdict(ratio, work.budget) if ratio else "-")
    return f"| {work.name} | {' | '.join(cells)} |"


def tables(facts_, memory, works, names):
    """The result as Markdown, which reads well on a terminal too."""
    lines = [
        f"{facts_['cores']} cores of {facts_['processor']}, Linux {facts_['kernel']}. {facts_['madang']}, nginx {facts_['nginx']},"
        f" HAProxy {facts_['haproxy']}, Caddy {facts_['caddy']}. {facts_['rounds']} rounds of {facts_['seconds']} s: medians, of ratios too.",
        "", "CPU microseconds per request (user and system, all processes of the server):", "",
        f"| work | {' | '.join(name.replace('-', ', ') for name in names)} | over the better as shipped | budget | over the best of all |",
        f"|---|{'---:|' * len(names)}---|---|---|",
    ]
    lines += [line(work, works[work.name], names) for work in WORKS if work.name in works]
    lines += ["", "Requests per second through one core, and what the slowest hundredth waited (32 connections at full speed):",
              "", f"| work | {' | '.join(name.replace('-', ', ') for name in names)} |", f"|---|{'---:|' * len(names)}"]
    for name, peers in works.items():
        cells = []
        for peer in names:
            p99 = middle(peers.get(peer, []), "p99_ms")
            rate = middle(peers.get(peer, []), "rate")
            cells.append(f"{rate:.0f}" + (f", {p99:.2f} ms" if p99 else "") if rate else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if memory:
        ours = memory.get("madang")
        kept = lambda key, limit: "-" if not ours else "kept" if ours[key] < limit else "MISSED"  # noqa: E731
        lines += ["", f"Resident memory; the connections are {facts_['held']} plain ones that each asked once:", "",
                  f"| | {' | '.join(memory)} | budget |", f"|---|{'---:|' * len(memory)}---|"]
        lines.append("| idle, MiB | " + " | ".join(f"{one['idle_bytes'] / MIB:.1f}" for one in memory.values())
                     + f" | 20 {kept('idle_bytes', IDLE_BYTES_MAX)} |")
        lines.append("| an idle connection, bytes | " + " | ".join(f"{one['per_connection_bytes']:.0f}" for one in memory.values())
                     + f" | {HELD_BYTES_MAX} {kept('per_connection_bytes', HELD_BYTES_MAX)} |")
    return "\n".join(lines) + "\n"


def say(line):
    """A step is told when it is done."""
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description="Madang beside nginx, HAProxy and Caddy.")
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--seconds", type=int, default=2, help="of one measurement (default 2)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--held", type=int, default=10_000, help="idle connections to measure memory with; 0: none")
    parser.add_argument("--quick", action="store_true", help="six minutes: 1 s, 3 rounds; Caddy once")
    parser.add_argument("--only", default="", help="the work of this name, or all whose names hold this text; no memory then")
    parser.add_argument("--peers", default="", help="only these, of madang,nginx,nginx-tuned,haproxy,haproxy-tuned,caddy")
    parser.add_argument("--json", metavar="FILE", default=ROOT / "bench-results/peers.json")
    parser.add_argument("--markdown", metavar="FILE", default=ROOT / "bench-results/peers.md")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 1, 3
    if raise_fd_limit() < options.held + 100:
        print(f"too few descriptors for {options.held} connections: raise the limit or lower --held", file=sys.stderr)
        return 2
    niceness = go_first()
    with scratch("bench") as folder:
        bench = Bench(options, folder)
        try:
            memory = bench.memory() if options.held and not options.only else {}
            works = bench.works()
        except Failed as failed:
            print(f"bench: FAILED: {failed}", file=sys.stderr)
            return 1
    told = facts(options) | {"niceness": niceness}
    text = tables(told, memory, works, list(bench.peers))
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
