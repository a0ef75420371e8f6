"""HTTP/2 conformance by httpwg-cli, over cleartext by prior knowledge and over TLS.

Job: run the suite through the relay, one test at a time, and read which tests began and which passed: a test that panics
says neither. Finding ids are `section: test`, the same for both transports; over TLS they begin with `tls`
only where the result differs from cleartext. Not here: why a finding is right or wrong (docs/conformance.md).
"""

import os
import re
import subprocess

from lab.server import ROOT, Failed
from relay import Relay
from verdict import Verdict

PROGRAM = ROOT / ".tools" / "bin" / "httpwg"
VERSION = ROOT / ".tools" / "httpwg-version"
# A test that waits for a frame that never comes takes this long.
FRAME_TIMEOUT_MS = 1000
TESTS_MIN = 100
# The frame that this test sends lacks END_HEADERS, so its field block is not at its end; whether the test passes is then a
# race between two timers of the suite. `a_push_promise_from_a_client_ends_the_connection` (engine/http) is the whole test.
UNDECIDED = {"8: client sends push promise frame"}


def run(house):
    """Both transports."""
    clear = failed_tests(house.prior)
    secure = failed_tests(house.secure, house.authority)
    verdict = Verdict(clear[0] + secure[0], f"httpwg-cli {VERSION.read_text().strip()}")
    for id, why in clear[1].items():
        verdict.found(id, why)
    for id in sorted(set(secure[1]) - set(clear[1])):
        verdict.found(f"tls {id}", secure[1][id])
    for id in sorted(set(clear[1]) - set(secure[1])):
        verdict.found(f"cleartext only {id}", clear[1][id])
    return verdict


def failed_tests(port, authority=None):
    """How many tests ran, and those that did not pass with what was said last."""
    with Relay(port, authority, "h2") as relay:
        done = subprocess.run(
            [PROGRAM, "--verbose", "--address", f"127.0.0.1:{relay.port}", "--frame-timeout", str(FRAME_TIMEOUT_MS),
             "--connect-timeout", "5000"],
            capture_output=True, text=True, errors="replace", timeout=200, stdin=subprocess.DEVNULL,
            env={**os.environ, "RUST_BACKTRACE": "0", "RUST_LOG": "off"})
    # Colours away, then one piece of text per test.
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    began = {short(test) for test in re.findall(r"Running test: RFC 9113 :: (.+)", said)} - UNDECIDED
    passed = {short(test) for test in re.findall(r"Test passed: RFC 9113 :: (.+)", said)}
    if len(began) < TESTS_MIN:
        raise Failed(f"httpwg ran {len(began)} tests only:\n{said[-2000:]}")
    why = {short(test): text for test, text in re.findall(r"Test failed: RFC 9113 :: (.+)\n+\s+0: (.+)", said)}
    return len(began), {test: why.get(test, "ended without a result") for test in sorted(began - passed)}


def short(test):
    """`6. frame definitions :: sends ping` as `6: sends ping`."""
    section, name = test.split(" :: ")
    return f"{section.split('.')[0]}: {name}"
