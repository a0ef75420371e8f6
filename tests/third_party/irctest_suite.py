"""irctest, the conformance suite of IRC servers, over the real binary: registration, channels, SASL, MONITOR, capabilities.

Job: be the controller by which irctest starts a server for each of its tests, run them, give each test that fails as a finding.
Used by `run`. irctest is unpacked by tests/setup/install; of the two libraries it imports, the one function
it needs stands here. Not here: what stays, and why (`known.toml`, docs/conformance.md); people's clients (`irc_suite`).
"""

import io
import logging
import re
import select
import subprocess
import sys
import types
import unittest
from pathlib import Path

from lab.server import ROOT, wait_for_port
from verdict import Verdict

UNPACKED = ROOT / ".tools" / "irctest"
VERSION = "0.1.2"
# Who comes and goes is told so often at most; the suite expects it at once, and is made to wait a little longer than this.
PRESENCE_MS = 50
SETTINGS = """
[server]
data = "data"
workers = 1
[identity]
scram = true
hash_memory = "8MiB"
password_min = 6
[chat.irctest]
listen = "irc://127.0.0.1:{port}"
presence = "{presence}ms"
rate = "1000/s"
burst = 1000
message_size = "8KiB"
"""


def replacer(table):
    """What reads the escapes of a tag's value."""
    pattern = re.compile("|".join(map(re.escape, table)))
    return lambda text: pattern.sub(lambda found: table[found[0]], text)


def load(binary):
    """irctest with a controller for Madang. Gives its `unittest` module of suites."""
    sys.path.insert(0, str(UNPACKED))
    for name in ("psutil", "supybot", "supybot.utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["supybot"].utils = sys.modules["supybot.utils"]
    sys.modules["supybot"].utils.str = types.SimpleNamespace(MultipleReplacer=replacer)
    from irctest import basecontrollers, cases, client_mock, runner, server_tests
    from irctest.specifications import Specifications

    class Controller(basecontrollers.BaseServerController, basecontrollers.DirectoryBasedController):
        software_name = "Madang"
        supported_sasl_mechanisms = {"PLAIN", "SCRAM-SHA-256"}

        def run(self, hostname, port, password=None, valid_metadata_keys=None, invalid_metadata_keys=None, ssl=False):
            if password is not None:
                raise runner.NotImplementedByController("one password for everybody")
            if valid_metadata_keys or invalid_metadata_keys:
                raise runner.NotImplementedByController("METADATA")
            if ssl:
                raise runner.NotImplementedByController("STARTTLS")
            self.create_config()
            self.port = port
            with self.open_file("madang.toml") as file:
                file.write(SETTINGS.format(port=port, presence=PRESENCE_MS))
            self.log = open(Path(self.directory) / "log", "wb")
            command = [binary, "run", "-c", f"{self.directory}/madang.toml"]
            self.proc = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

        def wait_for_port(self):
            wait_for_port(self.port, process=self.proc, log=Path(self.directory) / "log")

        def registerUser(self, case, username, password=None):
            self.wait_for_port()
            command = [binary, "user", "add", username, "-c", f"{self.directory}/madang.toml"]
            subprocess.run(command, input=f"{password}\n{password}\n", text=True, check=True, capture_output=True)

    # What others do is told a moment later: whoever reads next waits for it.
    said, read, left = client_mock.ClientMock.sendLine, client_mock.ClientMock.getMessages, client_mock.ClientMock.disconnect
    soon = []

    def say(self, line):
        if line.split(" ")[0] in ("JOIN", "PART", "QUIT"):
            soon.append(line)
        return said(self, line)

    def hear(self, synchronize=True, assert_get_one=False):
        if soon:
            soon.clear()
            select.select([], [], [], 3 * PRESENCE_MS / 1000)
        return read(self, synchronize, assert_get_one)

    def leave(self):
        soon.append("QUIT")
        return left(self)

    client_mock.ClientMock.sendLine, client_mock.ClientMock.getMessages, client_mock.ClientMock.disconnect = say, hear, leave
    cases._IrcTestCase.controllerClass = Controller
    cases._IrcTestCase.show_io = False
    cases._IrcTestCase.strictTests = True
    cases._IrcTestCase.testedSpecifications = frozenset(Specifications)
    cases._IrcTestCase.description = lambda self: ""
    # It binds to every address to find a free port, and gives that as the server's.
    find = cases.BaseServerTestCase.find_hostname_and_port

    def here(self):
        find(self)
        self.hostname = "127.0.0.1"

    cases.BaseServerTestCase.find_hostname_and_port = here
    return server_tests


class Result(unittest.TestResult):
    """Counts the tests, keeps why each failed: its last line."""

    def __init__(self, verdict):
        super().__init__()
        self.verdict = verdict

    def _wrong(self, test, error):
        text = str(error[1]).strip().splitlines() or [error[0].__name__]
        self.verdict.found(test.id().split(".", 1)[1], f"{error[0].__name__}: {text[-1][:300]}")

    def startTest(self, test):
        super().startTest(test)
        self.verdict.checks += 1

    def addError(self, test, error):
        self._wrong(test, error)

    def addFailure(self, test, error):
        self._wrong(test, error)

    def addSkip(self, test, reason):
        self.verdict.checks -= 1
        logging.debug("%s left out: %s", test.id(), reason)


def run(house):
    verdict = Verdict(0, f"irctest {VERSION}")
    suite, out = load(str(Path(house.binary).resolve())), sys.stdout
    sys.stdout = io.StringIO()
    try:
        suite.discover().run(Result(verdict))
    finally:
        sys.stdout = out
    return verdict
