"""Madang's chat beside socket.io, ngircd, mosquitto and the floor: the same rooms, the same pace, one run.

Questions: what does it cost to bring one message to one more person, how long does it take, what does a silent connection hold?
Budgets: CPU per delivery at most 1.4 of the floor's (floor.c: one write(2) for each delivery and nothing else), at least 2.2
times less than socket.io's and 1.3 times less than mosquitto's with QoS 0; in a busy room 5 times less than socket.io's; under
20 ms for 99 of 100 deliveries at half of what a core can do; under 10 KiB for an idle connection.

Method: every server has core 0, one generator (drills/, `madang-chat-drill load`) core 1, which says messages of 128 bytes at a
constant pace, whoever's turn it is. All stand at once with everybody seated; a round does one work against each in turn. What
counts is the median of the rounds, of ratios the median of each round's own. CPU is user and system time of all the server's
processes from the first message to the last delivery. Every message has to come to everybody exactly once, else the run fails.
Madang keeps every message on disk before it acknowledges it; the others keep nothing.

Usage: bench.py --madang BIN --drill BIN [--seconds 3] [--rounds 5] [--held 10000] [--only WORK] [--peers NAMES] [--quick]
       [--json FILE] [--markdown FILE]
"""

import argparse
import grp
import json
import os
import platform
import pwd
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(HERE))
from crowd import Crowd
from lab.server import Failed, Server, fill, free_port, go_first, median, raise_fd_limit, scratch

SERVER_CORE = 0
KIB, MIB = 1 << 10, 1 << 20
HELD_BYTES_MAX, P99_MS_MAX = 10 * KIB, 20
HALF_LOAD = "p99 at half load"


@dataclass(frozen=True)
class Work:
    """One line of the table: who sits where, how much is said, and who takes part."""

    name: str
    rooms: int
    members: int
    rate: float
    peers: tuple = ("madang", "floor", "socketio", "ngircd", "mosquitto-0", "mosquitto-1")
    seconds: float | None = None
    # Of Madang's CPU per delivery over a peer's, at most.
    budgets: tuple = (("floor", 1.4), ("socketio", 1 / 2.2), ("mosquitto-0", 1 / 1.3))


WORKS = [
    Work("room of 500", 1, 500, 40),
    Work("room of 1,000", 1, 1000, 20),
    Work("200 rooms of 5", 200, 5, 4000),
    # Of 500 a second one comes in 2 ms, of 1,000 two.
    Work("busy room of 500", 1, 500, 500, ("madang", "floor", "socketio"), 2, (("socketio", 1 / 5),)),
    Work("busier room of 500", 1, 500, 1000, ("madang", "floor", "socketio"), 2, (("socketio", 1 / 5),)),
]


class Bench:
    """The peers and what was measured of them."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        all_peers = {"madang": self.madang, "floor": self.floor, "socketio": self.socketio, "ngircd": self.ngircd,
                     "mosquitto-0": self.mosquitto, "mosquitto-1": self.mosquitto}
        wanted = options.peers.split(",") if options.peers else list(all_peers)
        self.peers = {name: start for name, start in all_peers.items() if name in wanted}

    # The peers

    def start(self, name, members):
        """One peer on a free port, with rooms of so many people."""
        folder = self.folder / f"{name}-{free_port()}"
        folder.mkdir()
        return self.peers[name](name, free_port(), folder, members)

    def madang(self, name, port, folder, _members):
        settings = fill(HERE / "madang.toml", {"plain": port}, folder / "madang.toml")
        command = [Path(self.options.madang).resolve(), "run", "-c", settings]
        return Server(name, command, {"plain": port}, folder, SERVER_CORE)

    def floor(self, name, port, folder, members):
        program = folder / "floor"
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, HERE / "floor.c"], check=True)
        return Server(name, [program, str(port), str(members)], {"plain": port}, folder, SERVER_CORE)

    def socketio(self, name, port, folder, _members):
        env = {"NODE_PATH": str(ROOT / ".tools/chat/node_modules"), "NODE_ENV": "production"}
        return Server(name, ["node", HERE / "socketio.js", str(port)], {"plain": port}, folder, SERVER_CORE, env)

    def ngircd(self, name, port, folder, _members):
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        settings = fill(HERE / "ngircd.conf", {"plain": port, "user": user, "group": group}, folder / "ngircd.conf")
        return Server(name, ["/usr/sbin/ngircd", "-n", "-f", settings], {"plain": port}, folder, SERVER_CORE)

    def mosquitto(self, name, port, folder, _members):
        # As root it would become a user who may not look into our folder.
        user = "user root" if os.geteuid() == 0 else ""
        settings = fill(HERE / "mosquitto.conf", {"plain": port, "user": user}, folder / "mosquitto.conf")
        return Server(name, ["/usr/sbin/mosquitto", "-c", settings], {"plain": port}, folder, SERVER_CORE)

    def crowd(self, name, server, rooms, members):
        """Everybody of one work, seated."""
        return Crowd(self.options.drill, name, server.ports["plain"], rooms, members)

    # Work

    def work(self, work):
        """One work, every round, every peer that can do it; then each at half of what it can do."""
        names = [name for name in self.peers if name in work.peers]
        with ExitStack() as everything:
            servers = {name: everything.enter_context(self.start(name, work.members)) for name in names}
            crowds = {name: everything.enter_context(self.crowd(name, servers[name], work.rooms, work.members))
                      for name in names}
            found = {name: [] for name in names}
            seconds = work.seconds or self.options.seconds
            for number in range(self.options.rounds):
                for name, rounds in found.items():
                    if number == 0:
                        crowds[name].go(work.rate, 1)  # warm: caches, buffers, compiled code
                    rounds.append(self.once(servers[name], crowds[name], work.rate, seconds))
                    say(f"round {number + 1} {work.name}, {name}: {told(rounds[-1])}")
            halves = {}
            if work == WORKS[0]:
                for name, rounds in found.items():
                    rate = 0.5e6 / median([one["us"] for one in rounds]) / work.members
                    halves[name] = [self.once(servers[name], crowds[name], rate, self.options.seconds)
                                    for _ in range(min(3, self.options.rounds))]
                    say(f"{HALF_LOAD}, {name}: {told(halves[name][-1])}")
        return found, halves

    def once(self, server, crowd, rate, seconds):
        """One measurement."""
        before = server.cpu_ns()
        seen = crowd.go(rate, seconds)
        spent = server.cpu_ns() - before
        if not seen["valid"]:
            raise Failed(f"{server.name}: of {seen['expected']} deliveries {seen['delivered']} came,"
                         f" {seen['wrong']} messages not exactly once to everybody, {seen['ended']} connections ended")
        return {"us": spent / 1000 / seen["delivered"], "rate": seen["deliveries_per_second"], **{
            key: seen[key] for key in ("sent", "delivered", "p50_ms", "p99_ms", "longest_ms", "late_ms", "seconds")}}

    def memory(self):
        """Resident bytes of each peer, freshly started, and what a connection adds that sits in a room of ten and is silent."""
        found = {}
        for name in self.peers:
            if name == "floor":
                continue
            try:
                found[name] = self.held(name)
            except Failed as failed:
                # A peer that cannot hold so many has no number; the others have theirs.
                if name == "madang":
                    raise
                say(f"memory {name}: not measured: {failed}")
                continue
            idle, each = found[name].values()
            say(f"memory {name}: {idle / MIB:.1f} MiB idle, {each:.0f} bytes a connection")
        return found

    def held(self, name):
        """The same of one peer."""
        with self.start(name, 10) as server:
            # Under other names: a guest's stays its own for a while.
            with Crowd(self.options.drill, name, server.ports["plain"], 1, 10, "--first", 100_000) as few:
                few.go(20, 0.5)
                idle = server.rss_bytes()
            with self.crowd(name, server, self.options.held // 10, 10) as many:
                return {"idle_bytes": idle, "per_connection_bytes": (server.rss_bytes() - idle) / many.people}


def told(one):
    """One measurement in words."""
    return (f"{one['us']:.2f} us a delivery, {one['rate']:.0f}/s, p99 {one['p99_ms']:.2f} ms, longest {one['longest_ms']:.1f} ms"
            f" (generator late by {one['late_ms']:.1f} ms at most)")


def facts(options):
    """The machine and the programs, without names of hosts or folders."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    said = lambda *command: subprocess.run(command, capture_output=True, text=True).stdout  # noqa: E731
    socketio = json.loads((ROOT / ".tools/chat/node_modules/socket.io/package.json").read_text())["version"]
    version = lambda text: (re.search(r"\d+\.\d+(\.\d+)?", text) or ["?"])[0]  # noqa: E731
    return {
        "processor": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release(),
        "madang": said(options.madang, "--version").strip() if options.madang else "no madang", "socketio": socketio,
        "node": said("node", "--version").strip(), "ngircd": version(said("/usr/sbin/ngircd", "--version")),
        "mosquitto": version(said("/usr/sbin/mosquitto", "-h")),
        "seconds": options.seconds, "rounds": options.rounds, "held": options.held,
    }


def middle(rounds, key):
    """The median over the rounds."""
    return median([one[key] for one in rounds])


def over(peers, name):
    """Madang's CPU per delivery over a peer's: the median of the rounds' own ratios."""
    return median([ours["us"] / theirs["us"] for ours, theirs in zip(peers["madang"], peers[name])])


def verdicts(peers, budgets):
    """How Madang stands to each budget."""
    if "madang" not in peers:
        return "-"
    words = []
    for name, budget in budgets:
        if name in peers:
            ratio = over(peers, name)
            shown = f"{ratio:.2f} of {name}" if budget > 1 else f"{1 / ratio:.2f} ahead of {name}"
            limit = f"{budget:.1f}" if budget > 1 else f"{1 / budget:.1f}"
            words.append(f"{shown} ({limit} {'kept' if ratio <= budget else 'MISSED'})")
    return ", ".join(words)


def done(works, halves, names):
    """What each work cost, how fast it went."""
    lines = ["", "CPU microseconds per delivery of 128 bytes (user and system, all processes of the server):", "",
             f"| work | {' | '.join(names)} | budgets |", f"|---|{'---:|' * len(names)}---|"]
    for work in WORKS:
        if work.name in works:
            peers = works[work.name]
            cells = [f"{middle(peers[name], 'us'):.2f}" if name in peers else "-" for name in names]
            lines.append(f"| {work.name} | {' | '.join(cells)} | {verdicts(peers, work.budgets)} |")
    lines += ["", "Deliveries a second, and within how many ms 99 of 100 came:", "",
              f"| work | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    measured = [*works.items(), (HALF_LOAD, halves)] if halves else works.items()
    for name, peers in measured:
        cells = [f"{middle(peers[peer], 'rate'):.0f}, {middle(peers[peer], 'p99_ms'):.2f}" if peer in peers else "-"
                 for peer in names]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def tables(facts_, memory, works, halves, names):
    """The result as Markdown, which reads well on a terminal too."""
    lines = [
        f"{facts_['cores']} cores of {facts_['processor']}, Linux {facts_['kernel']}. {facts_['madang']},"
        f" socket.io {facts_['socketio']} on Node {facts_['node']}, ngircd {facts_['ngircd']}, mosquitto {facts_['mosquitto']}."
        f" {facts_['rounds']} rounds of {facts_['seconds']} s: medians, of ratios too.",
    ]
    if works:
        lines += done(works, halves, names)
    if "madang" in halves:
        p99 = middle(halves["madang"], "p99_ms")
        lines += ["", f"Budget at half load: {P99_MS_MAX} ms, {'kept' if p99 < P99_MS_MAX else 'MISSED'}."]
    if memory:
        held = {name: one["per_connection_bytes"] for name, one in memory.items()}
        verdict = "-" if "madang" not in held else "kept" if held["madang"] < HELD_BYTES_MAX else "MISSED"
        lines += ["", f"Resident memory; {facts_['held']} connections that sit in rooms of ten and are silent:", "",
                  f"| | {' | '.join(memory)} | budget |", f"|---|{'---:|' * len(memory)}---|",
                  "| idle, MiB | " + " | ".join(f"{one['idle_bytes'] / MIB:.1f}" for one in memory.values()) + " | - |",
                  "| a connection, bytes | " + " | ".join(f"{each:.0f}" for each in held.values())
                  + f" | {HELD_BYTES_MAX} {verdict} |"]
    return "\n".join(lines) + "\n"


def say(line):
    """A step is told when it is done."""
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description="Madang's chat beside socket.io, ngircd, mosquitto and the floor.")
    parser.add_argument("--madang", help="the program; not needed when --peers leaves it out")
    parser.add_argument("--drill", required=True, help="the generator, madang-chat-drill")
    parser.add_argument("--seconds", type=float, default=3, help="of one measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--held", type=int, default=10_000, help="idle connections to measure memory with; 0: none")
    parser.add_argument("--quick", action="store_true", help="rougher: 2 s, 3 rounds")
    parser.add_argument("--only", default="", help="the works whose names hold this text, or `memory`")
    parser.add_argument("--peers", default="", help="only these, of madang,floor,socketio,ngircd,mosquitto-0,mosquitto-1")
    parser.add_argument("--json", metavar="FILE", default=ROOT / "bench-results/chat.json")
    parser.add_argument("--markdown", metavar="FILE", default=ROOT / "bench-results/chat.md")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 2, 3
    if not options.madang and "madang" in (options.peers or "madang"):
        parser.error("--madang is needed, or --peers without it")
    if raise_fd_limit() < options.held + 200:
        print(f"too few descriptors for {options.held} connections: raise the limit or lower --held", file=sys.stderr)
        return 2
    niceness = go_first()
    works, halves = {}, {}
    with scratch("bench-chat") as folder:
        bench = Bench(options, folder)
        try:
            for work in WORKS:
                if options.only in work.name:
                    works[work.name], half = bench.work(work)
                    halves |= half
            memory = bench.memory() if options.held and options.only in "memory" else {}
        except Failed as failed:
            print(f"bench: FAILED: {failed}", file=sys.stderr)
            return 1
    about = facts(options) | {"niceness": niceness}
    text = tables(about, memory, works, halves, list(bench.peers))
    everything = {"facts": about, "memory": memory, "works": works, HALF_LOAD: halves}
    for path, content in ((options.json, json.dumps(everything, indent=1) + "\n"), (options.markdown, text)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
    say("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
