"""A thousand people who never read, and a thousand who read slowly, in a room of two thousand: what do the others wait?

Questions: do those who read hear everything as soon as without the others? Is memory bounded, the server's and the kernel's?
Budgets: 99 of 100 deliveries to the readers within one and a half times of what it takes in a room of readers only, or 5 ms
more; resident memory never above what it was before plus what may wait for each such connection (`outbox`, 256 KiB by default);
of the kernel's buffers, 256 KiB for each; who takes nothing is cut when it took nothing for 30 s (`stalled`), a slow one stays.

Method: the same pace of messages of 2,000 bytes into three rooms, one after the other: of readers; of as many stalled connections
besides, which are seated like everybody and from then on never read; of as many slow ones, which read 16 KiB each second where
40 KiB come. The kernel takes what it takes; then they are behind, and the slow ones are fed from the log. (With 1 KiB a second the
kernel, which tells of room only when half of its 64 KiB is free, tells of none for 30 s: those are cut like the stalled.) The
generator counts every delivery to the readers: all have to come. It says by how much it was late itself: where that is much,
nothing is known of the server. What the kernel holds is that of the whole machine.

Usage: slow.py --madang BIN --drill BIN [--readers 1000] [--slow 1000] [--rate 20] [--seconds 40] [--trickle 16384]
"""

import argparse
import re
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
sys.path.insert(0, str(HERE))
from crowd import Crowd
from lab.server import Failed, Server, fill, free_port, go_first, raise_fd_limit, scratch, status

SERVER_CORE = 0
KIB, MIB = 1 << 10, 1 << 20
OUTBOX_BYTES = 256 * KIB
KERNEL_BYTES = 256 * KIB
MESSAGE_BYTES = 2_000
PAGE = 4096
# The generator's own lateness above which its times say nothing of the server.
LATE_MS_MAX = 20
# With fewer seconds nobody has taken nothing for 30.
SECONDS_TO_CUT = 38


def kernel_bytes():
    """What the kernel holds for all connections of this machine."""
    return int(re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.M)[1]) * PAGE


class Watch:
    """Resident memory and the kernel's buffers, once a second, while something else goes on; use with `with`."""

    def __init__(self, server):
        self._server, self._over, self.resident, self.kernel = server, threading.Event(), [], []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._over.wait(1):
            self.resident.append(self._server.rss_bytes())
            self.kernel.append(kernel_bytes())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


@dataclass
class Case:
    """One room, and what came of it."""

    name: str
    others: int
    trickle: int = 0
    seen: dict = field(default_factory=dict)
    chat: dict = field(default_factory=dict)
    before: tuple = ()
    watch: Watch | None = None

    def run(self, options, folder):
        folder.mkdir()
        port = free_port()
        settings = fill(HERE / "madang.toml", {"plain": port}, folder / "madang.toml")
        command = [Path(options.madang).resolve(), "run", "-c", settings]
        more = ["--bytes", MESSAGE_BYTES, "--stalled", self.others, "--trickle", self.trickle]
        with Server("madang", command, {"plain": port}, folder, SERVER_CORE) as server:
            with Crowd(options.drill, "madang", port, 1, options.readers + self.others, *more) as crowd:
                crowd.go(options.rate, 1)
                self.before = server.rss_bytes(), kernel_bytes()
                with Watch(server) as self.watch:
                    self.seen = crowd.go(options.rate, options.seconds)
                self.chat = status(options.madang, settings)["chats"][0]
        if not self.seen["valid"]:
            raise Failed(f"{self.name}: of {self.seen['expected']} deliveries to the readers {self.seen['delivered']} came,"
                         f" {self.seen['wrong']} messages not exactly once to each, {self.seen['ended']} readers were cut")

    def cut(self):
        """How many the server ended because they took nothing."""
        return self.chat["ended"].get("too-slow", 0)

    def told(self):
        """Second by second."""
        longest = " ".join(f"{one['longest_ms']:.0f}" for one in self.seen["by_second"])
        resident = " ".join(f"{one / MIB:.0f}" for one in [self.before[0], *self.watch.resident])
        kernel = " ".join(f"{one / MIB:.0f}" for one in [self.before[1], *self.watch.kernel])
        return (f"{self.name}, second by second: the slowest delivery, ms: {longest}; resident, MiB: {resident};"
                f" the kernel's buffers, MiB: {kernel}")


def table(cases):
    """The result as Markdown."""
    lines = ["| | " + " | ".join(case.name for case in cases) + " |", "|---|" + "---:|" * len(cases)]
    for name, key in (("p50, ms", "p50_ms"), ("p99, ms", "p99_ms"), ("longest, ms", "longest_ms"),
                      ("the generator late by at most, ms", "late_ms")):
        lines.append(f"| {name} | " + " | ".join(f"{case.seen[key]:.1f}" for case in cases) + " |")
    rows = {"deliveries to readers": lambda case: case.seen["delivered"],
            "resident at most, MiB": lambda case: f"{max(case.watch.resident) / MIB:.1f}",
            "the kernel's buffers at most, MiB": lambda case: f"{max(case.watch.kernel) / MIB:.0f}",
            "times one fell behind": lambda case: case.chat["behind"],
            "pages of the log read for them": lambda case: case.chat["pages"],
            "cut": lambda case: case.cut()}
    lines += [f"| {name} | " + " | ".join(str(of(case)) for case in cases) + " |" for name, of in rows.items()]
    return "\n".join(lines)


def promises(alone, case, seconds):
    """What is promised of a room with others in it, and whether it was kept."""
    p99_bound = max(1.5 * alone.seen["p99_ms"], alone.seen["p99_ms"] + 5)
    resident, kernel = (bound + case.others * each for bound, each in zip(case.before, (OUTBOX_BYTES, KERNEL_BYTES)))
    kept = {f"p99 at most {p99_bound:.1f} ms": case.seen["p99_ms"] <= p99_bound,
            f"resident at most {resident / MIB:.0f} MiB": max(case.watch.resident) <= resident,
            f"the kernel's buffers at most {kernel / MIB:.0f} MiB": max(case.watch.kernel) <= kernel,
            "all of them fell behind": case.chat["behind"] >= case.others}
    if case.trickle:
        kept["no slow one cut"] = case.cut() == 0
    elif seconds >= SECONDS_TO_CUT:
        kept["every stalled one cut"] = case.cut() == case.others
    return kept


def main():
    parser = argparse.ArgumentParser(description="People who never read, and people who read slowly, among others.")
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--drill", required=True, help="the generator, madang-chat-drill")
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=1000, help="how many never read, or slowly (default 1000)")
    parser.add_argument("--rate", type=float, default=20, help="messages a second (default 20)")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--trickle", type=int, default=16 * KIB, help="bytes that a slow one reads in a second (default 16384)")
    parser.add_argument("--only", default="", help="only the cases whose name holds this, without a verdict: for looking closer")
    options = parser.parse_args()
    if raise_fd_limit() < options.readers + options.slow + 200:
        print("too few descriptors: raise the limit or lower --readers and --slow", file=sys.stderr)
        return 2
    go_first()
    cases = [Case("readers only", 0), Case(f"{options.slow} stalled", options.slow),
             Case(f"{options.slow} slow", options.slow, options.trickle)]
    cases = [case for case in cases if options.only in case.name]
    with scratch("slow") as folder:
        try:
            for number, case in enumerate(cases):
                case.run(options, Path(folder) / str(number))
                print(case.told() + "\n", flush=True)
        except Failed as failed:
            print(f"slow: FAILED: {failed}", file=sys.stderr)
            return 1
    print(f"{options.readers} readers, {options.rate:g} messages of {MESSAGE_BYTES} bytes a second for {options.seconds:g} s\n")
    print(table(cases) + "\n")
    if options.only:
        return 0
    if max(case.seen["late_ms"] for case in cases) > LATE_MS_MAX:
        print(f"slow: NOTHING IS KNOWN: the generator was late by more than {LATE_MS_MAX} ms; try on a quiet machine", file=sys.stderr)
        return 1
    broken = 0
    for case in cases[1:]:
        for promise, kept in promises(cases[0], case, options.seconds).items():
            print(f"{case.name}: {promise}: {'kept' if kept else 'MISSED'}")
            broken += not kept
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
