"""A server process under observation: started, waited for, measured, ended.

Job: own the life of one server process and its children. Used by benches/peers, benches/hostile, tests/soak and
tests/third_party. Not here: what is asked of the server (`load`, `raw`).

Readiness is an event: either a line that the program prints or the first connection that its port accepts, both with
a deadline. There are no fixed waits.
"""

import atexit
import json
import os
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """The thing under test did not do what the step needs; the text says what and shows its output."""


def free_port():
    """A port of 127.0.0.1 that nothing holds now, from below those the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(12_000, 20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_for_port(port, deadline_s=20, process=None, log=None):
    """Returns when 127.0.0.1:port accepts a connection; Failed after `deadline_s` or when `process` ends first."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if process is not None and process.poll() is not None:
                raise Failed(f"ended with {process.returncode} before it listened:\n{tail(log)}")
            if time.monotonic() > end:
                raise Failed(f"nothing listens on port {port} after {deadline_s} s:\n{tail(log)}")
            select.select([], [], [], 0.02)  # a refused connection is not an event one can wait for


def tail(path, lines=20):
    """The last lines of a log, or nothing."""
    if path is None or not Path(path).exists():
        return ""
    return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])


class Heir:
    """A process that another one started and left to us (`adopt_orphans`); asked like a `Popen`."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None
        self.fd = os.pidfd_open(pid)

    def poll(self):
        """Its exit code, or nothing while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout=None):
        """Its exit code; TimeoutExpired while it runs."""
        if self.returncode is None:
            ended = select.poll()
            ended.register(self.fd, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("heir", timeout)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.fd)
        return self.returncode

    def send_signal(self, number):
        """Sends a signal to it and to nobody who got its number later."""
        if self.returncode is None:
            signal.pidfd_send_signal(self.fd, number)

    def kill(self):
        """Ends it by force."""
        self.send_signal(signal.SIGKILL)


def adopt_orphans():
    """Makes this process the parent of its descendants' orphans: the servers that `madang upgrade` starts stay ours."""
    import ctypes
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise Failed(f"prctl: {os.strerror(ctypes.get_errno())}")


def end_orphans():
    """Ends whoever is below this process still: after a failure, servers that nobody told us of."""
    for task in os.listdir("/proc/self/task"):
        for pid in Path(f"/proc/self/task/{task}/children").read_text().split():
            left = Heir(int(pid))
            left.kill()
            left.wait(10)


class Server:
    """One server: the process that was started and every child it has."""

    def __init__(self, name, command, ports, folder, core=None, env=None):
        self.name, self.ports, self.folder = name, ports, Path(folder)
        self.log = self.folder / f"{name}.log"
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                cwd=self.folder, env={**os.environ, **(env or {})},
            )
        self.pid = self.process.pid
        try:
            for port in ports.values():
                wait_for_port(port, process=self.process, log=self.log)
        except Failed as failure:
            self.stop()
            raise Failed(f"{name}: {failure}")

    def pids(self):
        """The server's processes: the first one and all below it."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    queue += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
            except OSError:
                pass  # ended while we looked
        return found

    def cpu_ns(self):
        """CPU time so far, user and system, of all processes and of threads that have ended.

        It comes in ticks (10 ms): measure over seconds.
        """
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks * 1_000_000_000 // CLOCK_TICKS

    def rss_bytes(self):
        """Resident memory of all processes together. Pages that they share count for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.pids())

    def fds(self):
        """Open file descriptors of all processes together."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def fd_names(self):
        """What the descriptors are, counted: to say what grew."""
        names = {}
        for pid in self.pids():
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    name = re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{fd}"))
                except OSError:
                    continue  # closed while we looked
                names[name] = names.get(name, 0) + 1
        return names

    def succeed(self, pid, deadline_s=60):
        """The process `pid` serves from now on; waits for the one before it to end. Needs `adopt_orphans`."""
        before, self.process, self.pid = self.process, Heir(pid), pid
        try:
            code = before.wait(deadline_s)
        except subprocess.TimeoutExpired:
            before.kill()
            before.wait()
            raise Failed(f"{self.name}: process {before.pid} did not end within {deadline_s} s after the upgrade")
        if code != 0:
            raise Failed(f"{self.name}: process {before.pid} ended with {code} after the upgrade:\n{tail(self.log)}")

    def stop(self, deadline_s=10):
        """Ends the process and waits for it; by force after the deadline. Whoever it leaves behind is ended too."""
        below = [os.pidfd_open(pid) for pid in self.pids()[1:] if Path(f"/proc/{pid}").exists()]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for fd in below:
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # the usual case: it went with its parent
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def median(values):
    """The middle one; of an even number the mean of the middle two."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def make_certificate(folder):
    """A self-signed ECDSA P-256 certificate for localhost. Returns the paths of certificate and key."""
    cert, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )
    return cert, key


def fill(template, values, target):
    """Writes the template with every `{{name}}` replaced; an unknown name is an error."""
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found[1]]), Path(template).read_text())
    Path(target).write_text(text)
    return target


def raise_fd_limit():
    """Takes as many descriptors as this machine gives. Returns the number."""
    import resource
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def go_first():
    """Lets this process and all that it starts go before whatever else runs on the machine, where that is allowed.

    Where the kernel shares its time among sessions first (sched_autogroup), niceness counts only within one: then the
    session goes first, until we end. Gives the niceness in force, to be told beside the results.
    """
    try:
        nice = os.nice(-20)
        group = Path("/proc/self/autogroup")
        if group.exists():
            before = group.read_text().split()[-1]
            group.write_text("-20")
            atexit.register(group.write_text, before)
        return nice
    except OSError:
        return os.nice(0)


def command(program, *words, settings, check=True):
    """Runs a madang command against the server of a settings file; returns what it printed."""
    done = subprocess.run(
        [program, *words, "-c", settings], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise Failed(f"madang {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done


def status(program, settings):
    """`madang status --json`, read."""
    return json.loads(command(program, "status", "--json", settings=settings).stdout)


def scratch(prefix):
    """A folder that vanishes at the end (use with `with`)."""
    return tempfile.TemporaryDirectory(prefix=f"madang-{prefix}-")


def trusting():
    """A TLS client context that takes any certificate: the peers' are self-signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
