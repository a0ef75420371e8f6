"""irssi and weechat in one room, over the real binary: what people with a terminal see.

Job: start a chat with an IRC address, let irssi (in a terminal of its own) and weechat (headless) connect, join, talk to each
other and to a plain socket, read history, be told who comes and goes. Used by `run`. Each check is a function whose name is the
finding's id and whose doc says what must be. Not here: every command's exact answer (tests/irc.rs).
"""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path

from lab.server import Server, free_port
from verdict import Verdict

PATIENCE_S = 20
SETTINGS = """
[server]
data = "data"
workers = 2
[site.main]
listen = "http://127.0.0.1:{web}"
route = [{{ path = "/chat/*", chat = "town" }}]
[chat.town]
listen = "irc://127.0.0.1:{irc}"
motd = "be kind to each other"
"""


class Irssi:
    """irssi in a terminal of 40 lines and 160 columns; what it draws is kept as plain text."""

    def __init__(self, folder):
        self.text = ""
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.environ.update(TERM="xterm", LANG="C.UTF-8", HOME=str(folder))
            os.execvp("irssi", ["irssi", "--noconnect", f"--home={folder}/irssi", "--nick=issi"])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))

    def types(self, line):
        os.write(self.fd, line.encode() + b"\r")

    def shows(self, text):
        """Waits until it has drawn this."""
        end = time.monotonic() + PATIENCE_S
        while text not in self.text:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return False
            try:
                drawn = os.read(self.fd, 65536)
            except OSError:
                return False
            drawn = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|[\x0e\x0f]", b"", drawn)
            self.text += drawn.decode(errors="replace")
        return True

    def seen(self):
        return self.text

    def ends(self):
        try:
            os.kill(self.process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.process, 0)
        os.close(self.fd)


class Weechat:
    """weechat without a screen: orders by its pipe, what it saw from its logs."""

    def __init__(self, folder, port, more=(), where=None):
        self.home, self.fifo = folder / "weechat", folder / "weechat.fifo"
        where = where or f"127.0.0.1/{port} -nossl"
        orders = [f"/set fifo.file.path {self.fifo}", "/set fifo.file.enabled on", "/set logger.file.flush_delay 0", *more,
                  f"/server add madang {where} -nicks=wee -capabilities=*", "/connect madang"]
        command = ["weechat-headless", "--dir", str(self.home)]
        for order in orders:
            command += ["--run-command", order]
        self.log = open(folder / "weechat.out", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def types(self, line, buffer="irc.server.madang"):
        wait(lambda: self.fifo.exists())
        with open(self.fifo, "w") as fifo:
            fifo.write(f"{buffer} *{line}\n")

    def shows(self, text, buffer="server.madang"):
        log = self.home / "logs" / f"irc.{buffer}.weechatlog"
        return wait(lambda: log.exists() and text in log.read_text(errors="replace"))

    def seen(self):
        logs = sorted((self.home / "logs").glob("*.weechatlog"))
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def ends(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


class Plain:
    """A socket that speaks IRC."""

    def __init__(self, port, nick):
        self.socket, self.unread = socket.create_connection(("127.0.0.1", port), PATIENCE_S), b""
        self.says(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}")
        self.hears(" 376 ")

    def says(self, line):
        self.socket.sendall(line.encode() + b"\r\n")

    def hears(self, text):
        """Waits for a line with this in it."""
        while True:
            while b"\n" in self.unread:
                line, self.unread = self.unread.split(b"\n", 1)
                if line.startswith(b"PING"):
                    self.says("PONG")
                if text in line.decode():
                    return True
            try:
                came = self.socket.recv(65536)
            except TimeoutError:
                return False
            if not came:
                return False
            self.unread += came


def wait(so):
    end = time.monotonic() + PATIENCE_S
    while not so():
        if time.monotonic() > end:
            return False
        select.select([], [], [], 0.02)  # another program's file is no event one can wait for
    return True


def irssi_is_welcomed(all):
    """irssi connects, is told the message of the day and joins a room."""
    all.irssi.types("/set autocreate_windows off")  # everything is drawn on the one screen that is looked at
    all.irssi.types("/set autocreate_query_level NONE")
    all.irssi.types("/set paste_detect_time 0")  # this typist is quick, and means it
    all.irssi.types("/set paste_verify_line_count 0")
    all.irssi.types("/set cmd_queue_speed 10msec")  # irssi's own care for servers that end those who are fast
    all.irssi.types(f"/connect 127.0.0.1 {all.port}")
    yield all.irssi.shows("be kind to each other")
    all.irssi.types("/join #lobby")
    yield all.irssi.shows("has joined #lobby")
    yield all.plain.hears(" JOIN #lobby")


def weechat_is_welcomed(all):
    """weechat connects, agrees on capabilities and joins; irssi sees it come."""
    yield all.weechat.shows("be kind to each other")
    yield all.weechat.shows("server-time")
    all.weechat.types("/join #lobby")
    yield all.weechat.shows("wee", "madang.#lobby")
    yield all.irssi.shows("wee")


def they_talk(all):
    """Each sees what the other says, in Korean too, with an action."""
    all.irssi.types("/msg #lobby hello from irssi, 안녕")
    yield all.weechat.shows("hello from irssi, 안녕", "madang.#lobby")
    yield all.plain.hears("PRIVMSG #lobby :hello from irssi, 안녕")
    all.weechat.types("hello from weechat", "irc.madang.#lobby")
    yield all.irssi.shows("hello from weechat")
    all.irssi.types("/action #lobby waves")
    yield all.weechat.shows("waves", "madang.#lobby")


def they_talk_alone(all):
    """A direct message opens a conversation on the other side."""
    all.irssi.types("/msg wee psst wee")
    yield all.weechat.shows("psst wee", "madang.issi")
    all.weechat.types("/msg issi psst back")
    yield all.irssi.shows("psst back")


def they_find_each_other(all):
    """WHOIS, NAMES and WHO are read by irssi without complaint."""
    all.irssi.types("/whois wee")
    yield all.irssi.shows("End of WHOIS")
    all.irssi.types("/names #lobby")
    yield all.irssi.shows("Total of 3")
    all.irssi.types("/list -yes")
    yield all.irssi.shows("End of list")


def an_operator_keeps_order(all):
    """A room nobody owns is named by who speaks there; who may not kick is told so in words; who leaves is seen."""
    all.irssi.types("/topic #lobby ours now")
    yield all.irssi.shows("issi changed the topic of #lobby to: ours now")
    all.irssi.types("/kick plain out")
    yield all.irssi.shows("only the room's moderators may do this")
    all.weechat.types("/part #lobby", "irc.madang.#lobby")
    yield all.irssi.shows("has left #lobby")


def a_paste_arrives(all):
    """Lines pasted into irssi arrive in order."""
    for number in range(30):
        all.irssi.types(f"/msg #lobby pasted {number}.")
    for number in range(30):
        yield all.plain.hears(f"PRIVMSG #lobby :pasted {number}.")


CHECKS = [irssi_is_welcomed, weechat_is_welcomed, they_talk, they_talk_alone, they_find_each_other, an_operator_keeps_order,
          a_paste_arrives]


class All:
    """Everybody who takes part."""


def run(house):
    folder, all = Path(house.folder) / "irc", All()
    folder.mkdir()
    web, all.port = free_port(), free_port()
    (folder / "madang.toml").write_text(SETTINGS.format(web=web, irc=all.port))
    command = [str(Path(house.binary).resolve()), "run", "-c", str(folder / "madang.toml")]
    versions = " and ".join(subprocess.run([name, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
                            for name in ("irssi", "weechat-headless"))
    verdict = Verdict(0, f"irssi and weechat ({versions})")
    with Server("madang-irc", command, {"web": web, "irc": all.port}, folder):
        all.plain = Plain(all.port, "plain")
        all.plain.says("JOIN #lobby")
        all.irssi, all.weechat = Irssi(folder), Weechat(folder, all.port)
        try:
            for check in CHECKS:
                for step, so in enumerate(check(all), 1):
                    verdict.checks += 1
                    if not so:
                        verdict.found(check.__name__.replace("_", "-"), f"step {step}: {check.__doc__.strip()}\n{all.irssi.text[-1500:]}")
                        break
        finally:
            all.irssi.ends()
            all.weechat.ends()
            shutil.rmtree(folder / "weechat", ignore_errors=True)
    return verdict
