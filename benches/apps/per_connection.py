"""A program for each connection: a fresh one, one that was ready, and Debian's inetd, in one run.

Job: so many clients connect, say a line, wait for the first byte of the answer, say that this was all and read to the end; again
and again for a few seconds. Said of each way: connections a second, CPU of the server and its programs for each connection,
the time from connect to the first byte, with 50 ms between connections (calm) and as many as there can be (full). Two programs: `cat`, which starts in no time, and Python, which does not.
Not here: what is right (`tests/per_connection.rs`), many requests on one connection (`benches/peers/`).
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PYTHON = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line)\n    sys.stdout.buffer.flush()\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(process):
    """Of a process, what descends from it and runs, and what ran and was waited for."""
    total = 0.0
    try:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total = sum(int(field) for field in fields[11:15]) / TICKS
        children = pathlib.Path(f"/proc/{process}/task").glob("*/children")
        for file in children:
            total += sum(cpu_seconds(int(child)) for child in file.read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # It has ended: whoever waited for it has its time.
    return total


def one(port):
    """One connection; gives the seconds to the first byte."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"hello\n")
        first = connection.recv(16)
        took = time.perf_counter() - began
        connection.shutdown(socket.SHUT_WR)
        rest = first
        while piece := connection.recv(64):
            rest += piece
    if rest != b"hello\n":
        raise OSError(f"got {rest!r}")
    return took


def paced(port):
    """One connection after a pause: what a client meets when there is time to make the next one ready."""
    time.sleep(0.05)
    return one(port)


def load(port, clients, seconds):
    """All times to the first byte, and how many connections failed."""
    until, times, failed, lock = time.monotonic() + seconds, [], [], threading.Lock()

    def client():
        mine, bad = [], 0
        while time.monotonic() < until:
            try:
                mine.append(one(port))
            except OSError:
                bad += 1
        with lock:
            times.extend(mine)
            failed.append(bad)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 30)
    return sorted(times), sum(failed)


def madang(binary, folder, run, workers, port):
    """Starts it; gives its process."""
    quoted = ", ".join(f'"{word}"' for word in run)
    (folder / "madang.toml").write_text(
        f'[server]\nworkers = 1\n[stream.echo]\nlisten = "tcp://127.0.0.1:{port}"\nproxy = "echo"\n'
        f'[app.echo]\nmode = "per-connection"\nrun = [{quoted}]\nworkers = {workers}\nconnections_max = 256\n'
    )
    server = subprocess.Popen([binary, "run", "-c", "madang.toml"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while "ready" not in server.stdout.readline():
        pass
    return server


def inetd(binary, folder, run, port):
    """Likewise, with its limits lifted: 256 connections a minute are its default."""
    program = shutil.which(run[0])
    words = " ".join([os.path.basename(run[0]), *run[1:]])
    (folder / "inetd.conf").write_text(f"127.0.0.1:{port} stream tcp nowait.1000000 {os.environ.get('USER', 'root')} {program} {words}\n")
    server = subprocess.Popen([binary, "-i", "-R", "0", str(folder / "inetd.conf")], cwd=folder, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            one(port)
            return server
        except OSError:
            time.sleep(0.05)
    raise SystemExit("inetd does not answer")


def measure(name, start, clients, seconds):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = start(pathlib.Path(folder), port)
        try:
            load(port, 2, 0.5)
            calm = sorted(paced(port) for _ in range(40))
            before = cpu_seconds(server.pid)
            times, failed = load(port, clients, seconds)
            spent = cpu_seconds(server.pid) - before
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    count = len(times)
    if count == 0:
        raise SystemExit(f"{name}: no connection was served")
    at = lambda share: times[min(count - 1, int(count * share))] * 1000
    print(f"| {name} | {calm[20] * 1000:.1f} | {calm[38] * 1000:.1f} | {count / seconds:.0f} | {spent / count * 1000:.2f} | {at(0.5):.1f} | {at(0.99):.1f} | {failed} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--madang", required=True, type=pathlib.Path)
    parser.add_argument("--inetd", default=shutil.which("inetd") or "/usr/sbin/inetd")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    binary, clients, seconds = arguments.madang.resolve(), arguments.clients, arguments.seconds
    print("| | calm: first byte p50, ms | p95 | full: connections/s | CPU ms each | first byte p50, ms | p99 | failed |")
    print("|---|---|---|---|---|---|---|---|")
    for what, run in [("cat", ["cat"]), ("Python", ["python3", "-S", "-c", PYTHON])]:
        script = None
        if what == "Python":
            script = tempfile.NamedTemporaryFile("w", suffix=".py")
            script.write(PYTHON)
            script.flush()
            os.chmod(script.name, 0o644)
            run = ["python3", "-S", script.name]
        for workers in [0, 4, 32]:
            name = f"{what}: Madang, " + (f"{workers} ready" if workers else "fresh")
            measure(name, lambda folder, port, w=workers, r=run: madang(binary, folder, r, w, port), clients, seconds)
        if os.access(arguments.inetd, os.X_OK):
            measure(f"{what}: openbsd-inetd", lambda folder, port, r=run: inetd(arguments.inetd, folder, r, port), clients, seconds)
        else:
            print(f"(no inetd at {arguments.inetd}: left out)")


if __name__ == "__main__":
    main()
