"""irssi and weechat over TLS with the local authority's certificate, logging in; IRC over a websocket by a library of others.

Job: what `irc_suite` does not look at: `ircs://`, SASL PLAIN and SCRAM-SHA-256 with a user that `madang user` made, a wrong
password, a guess too many, `text.ircv3.net` and `binary.ircv3.net`. Used by `run`. Each check is a function whose name is the
finding's id and whose doc says what must be. Not here: talking (`irc_suite`), every command's exact answer (tests/irc.rs).
"""

import base64
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from irc_suite import PATIENCE_S, All, Irssi, Weechat
from lab.server import Server, free_port
from verdict import Verdict
from websockets.sync.client import connect

PASSWORD = "correct-horse-7"
SETTINGS = """
[server]
data = "data"
workers = 2
[identity]
scram = true
hash_memory = "8MiB"
[site.main]
listen = "http://127.0.0.1:{web}"
route = [{{ path = "/chat/*", chat = "town" }}]
[chat.town]
listen = ["irc://127.0.0.1:{irc}", "ircs://127.0.0.1:{ircs}"]
tls = "local"
presence = "50ms"
"""


class Secure:
    """A TLS connection that speaks lines and trusts the local authority only."""

    def __init__(self, all):
        trust = ssl.create_default_context(cafile=all.root)
        self.socket = trust.wrap_socket(socket.create_connection(("127.0.0.1", all.ircs), PATIENCE_S), server_hostname="localhost")
        self.unread = b""

    def says(self, line):
        self.socket.sendall(line.encode() + b"\r\n")

    def hears(self, *texts):
        """The first line with one of these in it."""
        while True:
            while b"\n" in self.unread:
                line, self.unread = self.unread.split(b"\n", 1)
                if any(text in line.decode() for text in texts):
                    return line.decode().strip()
            came = self.socket.recv(65536)
            if not came:
                return ""
            self.unread += came


def weechat_shows_its_password_to_nobody(all):
    """weechat verifies the certificate, logs in by SCRAM-SHA-256, and is called as its account is."""
    one = weechat(all, "scram", "-sasl_mechanism=scram-sha-256", f"-sasl_password={PASSWORD}")
    yield one.shows("You are logged in as mina")
    yield one.shows("Login succeeded")
    yield one.shows("no message of the day")
    one.types("/join #lobby")
    yield one.shows("mina", "madang.#lobby")


def weechat_says_its_password_under_tls(all):
    """The same by PLAIN."""
    one = weechat(all, "plain", "-sasl_mechanism=plain", f"-sasl_password={PASSWORD}")
    yield one.shows("Login succeeded")


def weechat_is_told_that_a_password_is_wrong(all):
    """A wrong password by SCRAM-SHA-256 and by PLAIN: 904, in words."""
    for mechanism in ("scram-sha-256", "plain"):
        one = weechat(all, f"wrong-{mechanism}", f"-sasl_mechanism={mechanism}", "-sasl_password=wrong-horse-7", "-sasl_fail=continue")
        yield one.shows("name or password")


def irssi_logs_in(all):
    """irssi verifies the certificate and logs in by PLAIN."""
    one = Irssi(all.folder)
    all.open.append(one)
    one.types(f"/network add -sasl_username mina -sasl_password \"{PASSWORD}\" -sasl_mechanism PLAIN town")
    one.types(f"/server add -network town -tls -tls_verify -tls_cafile {all.root} localhost {all.ircs}")
    one.types("/connect town")
    yield one.shows("SASL authentication succeeded")
    yield one.shows("Welcome to town, mina")
    one.types("/join #lobby")
    yield one.shows("has joined #lobby")


def who_trusts_nobody_is_not_fooled(all):
    """irssi that was not given the authority's certificate does not connect."""
    folder = all.folder / "distrust"
    folder.mkdir()
    one = Irssi(folder)
    all.open.append(one)
    one.types(f"/connect -tls -tls_verify localhost {all.ircs}")
    yield one.shows("verify")


def guesses_are_limited(all):
    """After some wrong passwords the name has to wait: the right one is refused too, and says for how long."""
    yield make_user(all, "jin")
    for guess in range(12):
        one = Secure(all)
        one.says("CAP LS 302\r\nCAP REQ sasl\r\nAUTHENTICATE PLAIN")
        one.hears("AUTHENTICATE +")
        one.says("AUTHENTICATE " + base64.b64encode(f"\0jin\0guess {guess}".encode()).decode())
        answer = one.hears(" 904 ", " 903 ")
        yield " 904 " in answer
        if "too many failed logins" in answer:
            break
    else:
        yield False
    one.says("AUTHENTICATE PLAIN")
    one.hears("AUTHENTICATE +")
    one.says("AUTHENTICATE " + base64.b64encode(f"\0jin\0{PASSWORD}".encode()).decode())
    yield "too many failed logins" in one.hears(" 904 ", " 903 ")


def browsers_speak_irc(all):
    """websockets speaks text.ircv3.net and binary.ircv3.net: a line is a message, and both hear each other."""
    address, clients = f"ws://127.0.0.1:{all.web}/chat/ws", []
    for protocol, nick in (("text.ircv3.net", "words"), ("binary.ircv3.net", "bytes")):
        client = connect(address, subprotocols=[protocol], open_timeout=PATIENCE_S)
        clients.append(client)
        yield client.subprotocol == protocol
        say = client.send if nick == "words" else lambda line, client=client: client.send(line.encode())
        for line in (f"NICK {nick}", f"USER {nick} 0 * :{nick}", "JOIN #lobby"):
            say(line)
        yield heard(client, " 366 ")
    clients[0].send("PRIVMSG #lobby :안녕 from words")
    yield heard(clients[1], "PRIVMSG #lobby :안녕 from words")
    clients[1].send("PRIVMSG #lobby :안녕 from bytes".encode())
    yield heard(clients[0], "PRIVMSG #lobby :안녕 from bytes")
    for client in clients:
        client.close()


def heard(client, text):
    """Waits for a message with this in it: one line, without its end, of the kind that was agreed."""
    kind = str if client.subprotocol == "text.ircv3.net" else bytes
    while True:
        message = client.recv(timeout=PATIENCE_S)
        line = message if isinstance(message, str) else message.decode()
        if not isinstance(message, kind) or "\n" in line or "\r" in line:
            return False
        if text in line:
            return True


CHECKS = [weechat_shows_its_password_to_nobody, weechat_says_its_password_under_tls, weechat_is_told_that_a_password_is_wrong,
          irssi_logs_in, who_trusts_nobody_is_not_fooled, guesses_are_limited, browsers_speak_irc]


def weechat(all, name, *options):
    folder = all.folder / name
    folder.mkdir()
    one = Weechat(folder, all.ircs, [f"/set weechat.network.gnutls_ca_user {all.root}"],
                  f"localhost/{all.ircs} -ssl -ssl_verify -sasl_username=mina " + " ".join(options))
    all.open.append(one)
    return one


def make_user(all, name):
    command = [all.binary, "user", "add", name, "-c", str(all.folder / "madang.toml")]
    return subprocess.run(command, input=f"{PASSWORD}\n{PASSWORD}\n", text=True, capture_output=True).returncode == 0


def run(house):
    all = All()
    all.folder, all.binary, all.open = Path(house.folder) / "irc-logins", str(Path(house.binary).resolve()), []
    all.folder.mkdir()
    all.web, irc, all.ircs = free_port(), free_port(), free_port()
    (all.folder / "madang.toml").write_text(SETTINGS.format(web=all.web, irc=irc, ircs=all.ircs))
    all.root = str(all.folder / "data" / "ca" / "root.pem")
    verdict = Verdict(0, "irssi and weechat under TLS, websockets")
    command = [all.binary, "run", "-c", str(all.folder / "madang.toml")]
    with Server("madang-irc-logins", command, {"web": all.web, "irc": irc}, all.folder):
        if not make_user(all, "mina"):
            verdict.found("madang-user-add", "the user could not be made")
        try:
            for check in CHECKS:
                for step, so in enumerate(check(all), 1):
                    verdict.checks += 1
                    if so is not True:
                        seen = "".join(one.seen()[-1500:] for one in all.open[-1:])
                        verdict.found(check.__name__.replace("_", "-"), f"step {step}: {check.__doc__.strip()}\n{seen}")
                        break
        finally:
            for one in all.open:
                one.ends()
            shutil.rmtree(all.folder, ignore_errors=True)
    return verdict
