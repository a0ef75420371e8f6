"""A thousand people who never read, in a room of two thousand: what does the server hold, what do the others wait?

Questions: is the server's memory bounded, and do those who read hear everything as soon as without the others?
Budgets: resident memory never above what it was before plus what may wait for each stalled connection (`outbox`, 256 KiB by
default); 99 of 100 deliveries to the readers within one and a half times of what it takes in a room of readers only, or 5 ms more.

Method: the same pace of messages of 2,000 bytes, first into a room of readers, then into one that as many stalled connections
share. These are seated like everybody, then nothing more is read from their sockets (--trickle: so many bytes each second). The
kernel takes what it takes; then they are behind, and are cut. The generator counts every delivery to the readers: all have to come.

Usage: slow.py --madang BIN --drill BIN [--readers 1000] [--stalled 1000] [--rate 20] [--seconds 40] [--trickle 0]
"""

import argparse
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
sys.path.insert(0, str(HERE))
from crowd import Crowd
from lab.server import Failed, Server, fill, free_port, raise_fd_limit, scratch

SERVER_CORE = 0
KIB, MIB = 1 << 10, 1 << 20
OUTBOX_BYTES = 256 * KIB
MESSAGE_BYTES = 2_000


class Watch:
    """The server's resident memory, once a second, while something else goes on; use with `with`."""

    def __init__(self, server):
        self._server, self._over, self.seen = server, threading.Event(), []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._over.wait(1):
            self.seen.append(self._server.rss_bytes())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def measure(options, folder, stalled):
    """One room; what came of it, and the server's memory before and meanwhile."""
    folder.mkdir()
    port = free_port()
    settings = fill(HERE / "madang.toml", {"plain": port}, folder / "madang.toml")
    command = [Path(options.madang).resolve(), "run", "-c", settings]
    more = ["--bytes", MESSAGE_BYTES, "--stalled", stalled, "--trickle", options.trickle]
    with Server("madang", command, {"plain": port}, folder, SERVER_CORE) as server:
        with Crowd(options.drill, "madang", port, 1, options.readers + stalled, *more) as crowd:
            crowd.go(options.rate, 1)
            before = server.rss_bytes()
            with Watch(server) as watch:
                seen = crowd.go(options.rate, options.seconds)
            after = server.rss_bytes()
    if not seen["valid"]:
        raise Failed(f"of {seen['expected']} deliveries to the readers {seen['delivered']} came, {seen['wrong']} messages"
                     f" not exactly once to each, {seen['ended']} readers were cut")
    return seen, before, watch.seen, after


def main():
    parser = argparse.ArgumentParser(description="People who never read, among others.")
    parser.add_argument("--madang", required=True, help="the program")
    parser.add_argument("--drill", required=True, help="the generator, madang-chat-drill")
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--stalled", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20, help="messages a second (default 20)")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--trickle", type=int, default=0, help="bytes that each stalled one reads in a second (default 0)")
    options = parser.parse_args()
    if raise_fd_limit() < options.readers + options.stalled + 200:
        print("too few descriptors: raise the limit or lower --readers and --stalled", file=sys.stderr)
        return 2
    with scratch("slow") as folder:
        try:
            alone, *_ = measure(options, Path(folder) / "alone", 0)
            among, before, meanwhile, after = measure(options, Path(folder) / "among", options.stalled)
        except Failed as failed:
            print(f"slow: FAILED: {failed}", file=sys.stderr)
            return 1
    bound = before + options.stalled * OUTBOX_BYTES
    most = max([*meanwhile, after])
    p99_bound = max(1.5 * alone["p99_ms"], alone["p99_ms"] + 5)
    print(f"{options.readers} readers, {options.rate:g} messages of {MESSAGE_BYTES} bytes a second for {options.seconds:g} s\n")
    print("| | readers only | among as many stalled |" if options.readers == options.stalled else
          f"| | readers only | among {options.stalled} stalled |")
    print("|---|---:|---:|")
    for name, key in (("p50, ms", "p50_ms"), ("p99, ms", "p99_ms"), ("longest, ms", "longest_ms")):
        print(f"| {name} | {alone[key]:.2f} | {among[key]:.2f} |")
    print(f"| deliveries | {alone['delivered']} | {among['delivered']} |")
    print(f"\nResident, MiB: {before / MIB:.1f} before, then second by second"
          f" {' '.join(f'{one / MIB:.0f}' for one in meanwhile)}, {after / MIB:.1f} after.")
    kept = {f"memory at most {bound / MIB:.0f} MiB": most <= bound, f"p99 at most {p99_bound:.1f} ms": among["p99_ms"] <= p99_bound}
    for promise, is_kept in kept.items():
        print(f"{promise}: {'kept' if is_kept else 'MISSED'}")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
