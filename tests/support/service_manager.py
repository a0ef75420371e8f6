#!/usr/bin/env python3
"""A stand-in for systemd: does what `madang.socket` and `madang.service` below a folder say, for one service.

It opens the sockets, hands them to each process it starts (sd_listen_fds(3)), hears its notices (sd_notify(3)), ends one that
misses its watchdog, and starts it again after RestartSec=. Sandboxing, control groups and dependencies are not its business;
`systemd-analyze verify` looks at those lines. Events go to stderr: `manager: started 123`, `manager: ready`, `manager: ended`.

Usage: service_manager.py ROOT     (SIGTERM ends the service, then the manager)
"""
import ctypes, fcntl, os, pwd, resource, select, shlex, signal, socket, sys, time

ROOT = sys.argv[1]
UNITS = os.path.join(ROOT, "etc/systemd/system")
PR_SET_PDEATHSIG = 1
IPV6_V6ONLY, IP_FREEBIND = 26, 15
libc = ctypes.CDLL(None)


def read(name):
    """A unit as a list of (key, value); sections do not matter here."""
    with open(os.path.join(UNITS, name)) as unit:
        lines = [line.strip() for line in unit]
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return [(key, value.replace("%%", "%")) for key, value in pairs]


def one(unit, key, default=""):
    values = [value for have, value in unit if have == key]
    return values[-1] if values else default


def seconds(text):
    return float(text.removesuffix("s"))


def below(word):
    """A path of that machine, where it lies here; other words stay."""
    inside = os.path.join(ROOT, word.lstrip("/"))
    return inside if word.startswith("/") and os.path.exists(inside) else word


def say(text):
    os.write(2, f"manager: {text}\n".encode())


def opened(unit):
    """Every socket of the unit, in its order."""
    sockets = []
    for key, value in unit:
        if key not in ("ListenStream", "ListenDatagram"):
            continue
        kind = socket.SOCK_STREAM if key == "ListenStream" else socket.SOCK_DGRAM
        host, port = value.rsplit(":", 1)
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        listener = socket.socket(family, kind)
        if family == socket.AF_INET6 and one(unit, "BindIPv6Only") == "ipv6-only":
            listener.setsockopt(socket.IPPROTO_IPV6, IPV6_V6ONLY, 1)
        if one(unit, "FreeBind") == "yes":
            listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), int(port)))
        if kind == socket.SOCK_STREAM:
            listener.listen(int(one(unit, "Backlog", "128")))
        sockets.append(listener)
    return sockets


def start(unit, sockets, notices):
    """One process of the service."""
    words = [below(word) for word in shlex.split(one(unit, "ExecStart"))]
    number = os.fork()
    if number:
        say(f"started {number}")
        return number
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": notices}
    environment["WATCHDOG_USEC"] = str(int(seconds(one(unit, "WatchdogSec", "0")) * 1_000_000))
    if sockets:
        # Out of the way first: a target may be the number of another one.
        away = [os.dup(listener.fileno()) for listener in sockets]
        away = [descriptor if descriptor >= 3 + len(away) else fcntl_above(descriptor, 3 + len(away)) for descriptor in away]
        for at, descriptor in enumerate(away):
            os.dup2(descriptor, 3 + at, inheritable=True)
        environment["LISTEN_PID"] = str(os.getpid())
        environment["LISTEN_FDS"] = str(len(sockets))
        environment["LISTEN_FDNAMES"] = ":".join(["madang.socket"] * len(sockets))
    limit = int(one(unit, "LimitNOFILE", "1024"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, hard), min(limit, hard)))
    os.chdir(below(one(unit, "WorkingDirectory", "/")))
    os.umask(int(one(unit, "UMask", "0022"), 8))
    user = one(unit, "User")
    if user and os.getuid() == 0:
        who = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
    # Ends with us, whatever ends us; a change of user would have cleared it.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execve(words[0], words, environment)


def fcntl_above(descriptor, least):
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, least)


def main():
    unit = read("madang.service")
    listed = os.path.exists(os.path.join(UNITS, "madang.socket"))
    sockets = opened(read("madang.socket")) if listed else []
    # Abstract: a service that runs as somebody else needs no folder it may enter.
    notices = f"@madang-manager-{os.getpid()}"
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind("\0" + notices[1:])
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    watchdog = seconds(one(unit, "WatchdogSec", "0"))
    while not stopping:
        main_process, heard = start(unit, sockets, notices), time.monotonic()
        status = None
        while status is None:
            readable, _, _ = select.select([ear], [], [], 0.02)
            for line in ear.recv(4096).decode().splitlines() if readable else []:
                if line == "READY=1":
                    say("ready")
                elif line == "WATCHDOG=1":
                    heard = time.monotonic()
                elif line.startswith("MAINPID="):
                    main_process = int(line.removeprefix("MAINPID="))
            if watchdog and time.monotonic() - heard > watchdog:
                say("the watchdog was not heard")
                os.kill(main_process, signal.SIGABRT)
                heard = time.monotonic()
            if stopping:
                os.kill(main_process, signal.SIGTERM)
                _, status = os.waitpid(main_process, 0)
                break
            done, ended = os.waitpid(main_process, os.WNOHANG)
            status = ended if done else None
        say(f"ended with {os.waitstatus_to_exitcode(status)}")
        if not stopping and one(unit, "Restart") == "always":
            time.sleep(seconds(one(unit, "RestartSec", "0.1s")))
        else:
            break


main()
