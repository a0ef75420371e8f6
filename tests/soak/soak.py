"""Soak: many reloads and upgrades of the real binary under load. Nothing may fail and nothing may grow.

What must hold, and what ends this with exit code 1:
- 0 failed requests of the steady load: plain and TLS, kept connections and new ones, every answer compared;
- every reload really changes what is served (another site's text, a site that comes and goes, a listener that comes and
  goes) and is in force when the command returns;
- a long download and an idle connection from before the first reload are alive after the last; an asked connection sees
  each new setting;
- an upgrade serves new connections at once, finishes the download of the old process, answers its idle connection once
  more and says goodbye, and the old process ends with 0;
- descriptors and resident memory, measured with the load paused and its connections gone, do not grow: over the reloads
  in one process, over the upgrades from the first successor to the last.

Usage: soak.py --madang BIN [--reloads 200] [--upgrades 20] [--allowed-growth-mib 8] [--rate 1000] [--pressure] [--json FILE]
"""

import argparse
import http.client
import json
import random
import select
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lab import pressure
from lab.raw import DEADLINE_S, Download, Held
from lab.server import (
    Failed, Server, adopt_orphans, command, end_orphans, free_port, make_certificate, raise_fd_limit, scratch, status,
)
from lab.steady import Steady, Target

MIB = 1 << 20
PAGE_BYTES = 1024
# More than kernel buffers take on loopback, so that the download is really under way at every step.
DOWNLOAD_BYTES = 48 * MIB
WARM_UP_RELOADS = 10
STABLE_READINGS = 10
# The kernel draws a worker for each: that one of two workers gets none of these has odds of 1 to 2^31.
WARM_UP_CONNECTIONS = 32
SETTINGS = """\
[server]
data    = "{folder}/data"
workers = 2
drain   = "60s"
connections_per_address_max = 0

[limits]
keep_alive_timeout = "1h"
write_idle_timeout = "1h"
requests_per_connection_max = 1000000000

[site.main]
listen = ["http://127.0.0.1:{plain}", "https://127.0.0.1:{tls}"]
tls    = {{ cert = "{cert}", key = "{key}" }}
route  = [{{ path = "/*", files = "{folder}/www" }}]

[site.changing]
listen = [{changing}]
hosts  = ["changing.test"]
route  = [{{ path = "/*", respond = "generation {generation}" }}]
"""
# A whole site that comes and goes, with a listener of its own.
VISITOR = """
[site.visitor]
listen = "http://127.0.0.1:{visitor}"
route  = [{{ path = "/*", respond = "visitor {generation}" }}]
"""


class Soak:
    """The run: the server, its settings, what is held, what was measured."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        self.settings = self.folder / "madang.toml"
        self.generation = 0
        self.ports = {"plain": free_port(), "tls": free_port()}
        self.visitor = free_port()
        draw = random.Random(1)
        self.page, self.large = draw.randbytes(PAGE_BYTES), draw.randbytes(DOWNLOAD_BYTES)
        (self.folder / "www").mkdir()
        (self.folder / "www/page.bin").write_bytes(self.page)
        (self.folder / "www/large.bin").write_bytes(self.large)
        self.cert, self.key = make_certificate(self.folder)
        self.report = {"reload_ms": [], "upgrade_ms": []}
        self.write()

    def write(self):
        """Writes the settings of this generation: every one differs from the one before."""
        visits = self.generation % 2 == 1
        facts = {
            "folder": self.folder, "cert": self.cert, "key": self.key, **self.ports, "visitor": self.visitor,
            "generation": self.generation,
            "changing": f'"http://127.0.0.1:{self.ports["plain"]}"',
        }
        self.settings.write_text((SETTINGS + (VISITOR if visits else "")).format(**facts))

    def run(self):
        """Everything in order."""
        rate = self.options.rate
        targets = [
            Target("plain, kept", self.ports["plain"], False, True, 8, rate * 0.6),
            Target("plain, new", self.ports["plain"], False, False, 4, rate * 0.2),
            Target("TLS, kept", self.ports["tls"], True, True, 4, rate * 0.15),
            Target("TLS, new", self.ports["tls"], True, False, 2, rate * 0.05),
        ]
        madang = Path(self.options.madang).resolve()
        with Server("madang", [madang, "run", "-c", self.settings], self.ports, self.folder) as self.server:
            self.load = Steady(targets, "/page.bin", self.page)
            self.load.start()
            try:
                self.reloads()
                self.upgrades()
            finally:
                self.load.stop()
                self.report["load"] = {
                    "answered": dict(self.load.answered), "failed": dict(self.load.failed), "examples": self.load.examples,
                    "closed_by_goodbye": self.load.said_close,
                }
        if self.load.failed:
            raise Failed(f"failed requests: {dict(self.load.failed)}; the first: {self.load.examples}")

    # Reloads

    def reloads(self):
        """The reloads, with a measurement after the warm-up and one at the end."""
        count = self.options.reloads
        if not count:
            return
        warm_up = min(WARM_UP_RELOADS, count // 2)
        for number in range(warm_up):
            self.reload(f"warm-up reload {number + 1}/{warm_up}")
        with self.pressed("plain", "HTTP/2"):
            pass  # the buffers and caches that full speed needs belong to the warm-up
        before = self.measure("before the reloads")
        download = Download(self.ports["plain"], "/large.bin", self.large)
        silent, asked = Held(self.ports["plain"]), Held(self.ports["plain"])
        check(silent.ask("/page.bin")[2] == self.page, "the first answer on the connection that will be silent")
        with self.pressed("plain", "HTTP/2"):
            for number in range(count):
                self.reload(f"reload {number + 1}/{count}", asked)
                check(download.step(DOWNLOAD_BYTES // (2 * count)), "the download has to outlive the reloads")
                check(not silent.ended(), f"reload {number + 1} closed the idle connection")
        if count % 2:
            self.reload("reload back to the first shape", asked)
        check(silent.ask("/page.bin")[2] == self.page, "the idle connection's answer after all reloads")
        download.finish()
        say(f"download of {DOWNLOAD_BYTES // MIB} MiB lived through {count} reloads and is whole; idle connection answers")
        silent.close()
        asked.close()
        # Not before: a request under way keeps the settings it began with, and their open folder.
        self.compare("reloads", before, self.measure("after the reloads"))

    def reload(self, name, asked=None):
        """One reload; its settings are in force when the command is back."""
        self.generation += 1
        self.write()
        begun = time.monotonic()
        command(self.options.madang, "reload", settings=self.settings)
        took = time.monotonic() - begun
        want = f"generation {self.generation}".encode()
        check(self.fresh("changing.test") == want, f"{name}: a new connection gets another answer than {want}")
        if asked:
            answer = asked.ask(host="changing.test")
            check(answer[2] == want, f"{name}: the kept connection gets {answer[2]}, not {want}")
        visits = self.generation % 2 == 1
        check(listens(self.visitor) == visits, f"{name}: the visitor's port {'is closed' if visits else 'is still open'}")
        self.load.wait_for_requests(20)
        self.quiet(name)
        self.report["reload_ms"].append(round(took * 1000, 2))
        say(f"{name}: {took * 1000:.1f} ms, {self.load.total()} requests, 0 failed")

    # Upgrades

    def upgrades(self):
        """The upgrades; the first successor is the measure of the others."""
        count, first = self.options.upgrades, None
        if count:
            with self.pressed("plain"):
                self.upgrade(f"upgrade 1/{count}")
            first = self.measure("after the first upgrade")
        if count > 1:
            with self.pressed("plain"):
                for number in range(1, count):
                    self.upgrade(f"upgrade {number + 1}/{count}")
            self.compare("upgrades", first, self.measure("after the last upgrade"))

    def upgrade(self, name):
        """One upgrade with a download and an idle connection in the old process."""
        download, idle = Download(self.ports["plain"], "/large.bin", self.large), Held(self.ports["plain"])
        check(idle.ask("/page.bin")[2] == self.page, f"{name}: the idle connection's first answer")
        download.step(MIB)
        before = self.server.pid
        begun = time.monotonic()
        answer = json.loads(command(self.options.madang, "upgrade", "--json", settings=self.settings).stdout)
        took = time.monotonic() - begun
        check(self.fresh("localhost", "/page.bin") == self.page, f"{name}: a new connection after the upgrade")
        serving = status(self.options.madang, self.settings)["process"]
        check(serving == answer["process"] != before, f"{name}: process {serving} answers, {answer} was announced")
        self.load.wait_for_requests(50)
        check(not idle.ended(), f"{name}: the idle connection was closed without an answer")
        code, head, body = idle.ask("/page.bin")
        check((code, body) == (200, self.page), f"{name}: the idle connection's last answer is {code}")
        check("connection: close" in head, f"{name}: the old process does not say that it goes: {head!r}")
        idle.close()
        check(download.step(MIB), f"{name}: the download has to be under way still")
        download.finish()
        # Whoever of the load still has a connection there is told at its next request; then the old process ends.
        self.server.succeed(answer["process"])
        whole = time.monotonic() - begun
        self.quiet(name)
        self.report["upgrade_ms"].append(round(took * 1000, 2))
        say(f"{name}: process {before} -> {serving} in {took * 1000:.0f} ms, the old one ended with 0 after"
            f" {whole:.2f} s, {self.load.total()} requests, 0 failed")

    # Measuring and checking

    @contextmanager
    def pressed(self, *ways):
        """With `--pressure`, as much load as the generators give beside the steady one; its failures count too."""
        if not self.options.pressure:
            ways = ()
        makers = {"plain": (pressure.plain, "plain"), "HTTP/2": (pressure.http2, "tls")}
        generators = [makers[way][0](self.ports[makers[way][1]], "/page.bin") for way in ways]
        for generator in generators:
            generator.start()
        try:
            yield
        finally:
            for generator in generators:
                generator.stop()
        for generator in generators:
            name = f"{generator.name} at full speed"
            check(generator.trouble is None, f"{name}: {generator.trouble}")
            check(generator.failed == 0, f"{name}: {generator.failed} of {generator.requests} requests failed")
            pressed = self.report.setdefault("pressure", {})
            pressed[generator.name] = pressed.get(generator.name, 0) + generator.requests

    def know_files(self):
        """Every worker opens the files once, as its open-file cache will keep them."""
        for _ in range(WARM_UP_CONNECTIONS):
            self.fresh("localhost", "/large.bin", "HEAD")

    def fresh(self, host, path="/", method="GET"):
        """What a new connection gets."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["plain"], timeout=DEADLINE_S)
        try:
            connection.request(method, path, headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read()
            check(answer.status == 200, f"{host}{path} answers {answer.status}")
            return body
        finally:
            connection.close()

    def quiet(self, name):
        """The load has had no failure so far."""
        if self.load.failed:
            raise Failed(f"{name}: failed requests {dict(self.load.failed)}; the first: {self.load.examples}")

    def measure(self, name):
        """Descriptors and memory while nobody is there."""
        self.know_files()
        self.load.pause()
        end = time.monotonic() + DEADLINE_S
        while (open_now := status(self.options.madang, self.settings)["connections"]):
            check(time.monotonic() < end, f"{name}: {open_now} connections are still open")
        # The command that asked is closed by the server a moment after it has its answer.
        seen = [self.server.fds()]
        while len(seen) < STABLE_READINGS or len(set(seen[-STABLE_READINGS:])) > 1:
            check(time.monotonic() < end, f"{name}: the number of descriptors does not settle: {seen}")
            select.select([], [], [], 0.01)
            seen.append(self.server.fds())
        found = {"fds": seen[-1], "names": self.server.fd_names(), "rss_bytes": self.server.rss_bytes()}
        self.load.resume()
        self.load.wait_for_requests(20)
        say(f"{name}: {found['fds']} descriptors, {found['rss_bytes'] / MIB:.2f} MiB resident")
        return found

    def compare(self, name, before, after):
        """Growth must stay within what is allowed."""
        fds, rss = after["fds"] - before["fds"], after["rss_bytes"] - before["rss_bytes"]
        self.report[name] = {"before": before, "after": after}
        say(f"{name}: descriptors grew by {fds}, memory by {rss / MIB:.2f} MiB")
        more = {what: count for what, count in after["names"].items() if count > before["names"].get(what, 0)}
        check(fds <= 0, f"{name}: {fds} descriptors more: before {before['names']}, more now {more}")
        allowed = self.options.allowed_growth_mib
        check(rss <= allowed * MIB, f"{name}: {rss / MIB:.2f} MiB more, {allowed} are allowed")


def listens(port):
    """Whether a port of this machine accepts."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S).close()
        return True
    except ConnectionRefusedError:
        return False


def check(true, what):
    """The one way to fail here."""
    if not true:
        raise Failed(what)


def say(line):
    """A step is told when it is done."""
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description="Reloads and upgrades under load: no failed request, no growth.")
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--upgrades", type=int, default=20)
    parser.add_argument("--allowed-growth-mib", type=float, default=8, help="resident memory, per phase (default 8)")
    parser.add_argument("--rate", type=float, default=1000, help="requests per second of the load (default 1000)")
    parser.add_argument("--pressure", action="store_true", help="wrk and h2load at full speed as well")
    parser.add_argument("--json", metavar="FILE", help="write what was measured there")
    options = parser.parse_args()
    raise_fd_limit()
    adopt_orphans()
    failure = None
    begun = time.monotonic()
    with scratch("soak") as folder:
        soak = Soak(options, folder)
        try:
            soak.run()
        except Failed as failed:
            failure = str(failed)
        finally:
            end_orphans()
    report = {**soak.report, "reloads_done": len(soak.report["reload_ms"]), "upgrades_done": len(soak.report["upgrade_ms"]),
              "seconds": round(time.monotonic() - begun, 1), "failure": failure}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    load = report.get("load", {"answered": {}, "failed": {}, "closed_by_goodbye": 0})
    say("")
    for way, count in load["answered"].items():
        say(f"{way:12} {count:8} answered {sum(n for name, n in load['failed'].items() if name.startswith(way)):4} failed")
    for name, count in report.get("pressure", {}).items():
        say(f"{name:12} {count:8} answered    0 failed, at full speed")
    say(f"{report['reloads_done']} reloads, {report['upgrades_done']} upgrades in {report['seconds']} s;"
        f" {load['closed_by_goodbye']} kept connections were told to come again")
    if failure:
        print(f"soak: FAILED: {failure}", file=sys.stderr)
        return 1
    say("soak: nothing was dropped, nothing grew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
