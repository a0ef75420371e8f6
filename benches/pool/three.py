"""Three servers behind one pool beside one alone: how much more comes through, and what happens when one is killed.

Question: are three servers three times as fast as one, and does nobody notice when one dies?
Method: servers of examples/three-servers, one request of 20 ms at a time each, are real processes. wrk asks the pool with
one server, then the pool with all three, in one run, with as many connections as keep every server busy. Then, under the
same load, one server after the other is killed (SIGKILL) and started again.

Usage: three.py --madang BIN [--seconds 8] [--kills 6]
"""

import argparse
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lab import load
from lab.server import Failed, free_port, scratch, wait_for_port

SERVER = ROOT / "examples/three-servers/server.py"
RATIO_MIN = 2.9
SETTINGS = """[server]
data = "{folder}/data"
workers = 1
[site.one]
listen = "http://127.0.0.1:{one}"
route = [{{ proxy = "one" }}]
[site.three]
listen = "http://127.0.0.1:{three}"
route = [{{ proxy = "three" }}]
[pool.one]
servers = ["127.0.0.1:{first}"]
balance = "least-connections"
[pool.three]
servers = [{servers}]
balance = "least-connections"
slow_start = "0s"
health = {{ path = "/healthz", every = "250ms", timeout = "2s", fall = 2, rise = 1 }}
"""


def start_server(port, number):
    """One server, answering."""
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), f"server-{number}"])
    wait_for_port(port, process=process)
    return process


def main():
    """Runs the comparison and the kills; 1 when a promise is not kept."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--madang", required=True)
    arguments.add_argument("--seconds", type=int, default=8)
    arguments.add_argument("--kills", type=int, default=6)
    options = arguments.parse_args()
    ports = [free_port() for _ in range(3)]
    one, three = free_port(), free_port()
    processes = []
    with scratch("madang-pool-") as folder:
        try:
            processes = [start_server(port, number) for number, port in enumerate(ports, 1)]
            settings = Path(folder) / "madang.toml"
            servers = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
            settings.write_text(
                SETTINGS.format(folder=folder, one=one, three=three, first=ports[0], servers=servers))
            house = subprocess.Popen([options.madang, "run", "-c", str(settings)], stdout=subprocess.DEVNULL)
            processes.append(house)
            wait_for_port(three, process=house)
            alone = load.wrk(f"http://127.0.0.1:{one}/x", options.seconds, 9)
            pool = load.wrk(f"http://127.0.0.1:{three}/x", options.seconds, 9)
            ratio = pool.rate / alone.rate
            print(f"one server    {alone.rate:7.1f} requests/s, {alone.failed} failed")
            print(f"three servers {pool.rate:7.1f} requests/s, {pool.failed} failed: {ratio:.2f} times (at least {RATIO_MIN})")
            killed = kill_in_turn(options, three, ports, processes)
            print(f"{options.kills} kills     {killed.rate:7.1f} requests/s, {killed.failed} of {killed.requests} failed")
            kept = ratio >= RATIO_MIN and alone.failed + pool.failed + killed.failed == 0
            print("kept" if kept else "MISSED")
            return 0 if kept else 1
        finally:
            for process in processes:
                process.kill()
                process.wait()


def kill_in_turn(options, port, ports, processes):
    """Kills one server after the other while wrk asks; gives what wrk saw."""
    seen = {}
    seconds = options.kills * 2 + 2
    asking = threading.Thread(
        target=lambda: seen.update(load=load.wrk(f"http://127.0.0.1:{port}/x", seconds, 9)))
    asking.start()
    for round_ in range(options.kills):
        place = round_ % 3
        asking.join(0.8)  # under load on purpose: the next kill must meet requests in flight
        processes[place].kill()
        processes[place].wait()
        asking.join(0.8)
        processes[place] = start_server(ports[place], place + 1)
    asking.join()
    if "load" not in seen:
        raise Failed("wrk told nothing")
    return seen["load"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        sys.exit(1)
