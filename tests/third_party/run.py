#!/usr/bin/env python3
"""Runs the suites of others against the real binary: conformance, lint, TLS scan, smuggling corpus, curl.

Job: start one server on settings of its own, run each suite, print one line for each, exit 1 when any finding is not
explained. Usage: run.py --madang target/debug/madang [--only NAME] [--verbose]. Called by `make third-party` and `make test`.
Not here: what is known (`known.toml`) and why (docs/conformance.md).
"""

import argparse
import sys
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import browser_suite
import chat_protocol_suite
import client_suite
import corpus_suite
import differential_suite
import downgrade_suite
import house
import http2_suite
import irc_logins_suite
import irc_suite
import irctest_suite
import javascript_suite
import lint_suite
import proxied_suite
import tls_suite
from lab.server import scratch, tail
from verdict import judge, known

# In the order in which they run. The limits of the server are not reset between them.
SUITES = {
    "http2": http2_suite.run,
    "smuggling": corpus_suite.run,
    "differential": differential_suite.run,
    "downgrade": downgrade_suite.run,
    "clients": client_suite.run,
    "proxied": proxied_suite.run,
    "browser": browser_suite.run,
    "irc": irc_suite.run,
    "irc-logins": irc_logins_suite.run,
    "irctest": irctest_suite.run,
    "chat_protocol": chat_protocol_suite.run,
    "javascript": javascript_suite.run,
    "lint": lint_suite.run,
    "tls": tls_suite.run,
}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--madang", required=True, help="the binary under test")
    options.add_argument("--only", choices=SUITES, help="run one suite")
    options.add_argument("--verbose", action="store_true", help="print explained findings too")
    options = options.parse_args()
    chosen = [options.only] if options.only else list(SUITES)
    with scratch("suites") as folder:
        here = house.start(options.madang, folder)
        with here.server:
            failed = [name for name in chosen if not one(name, here, options.verbose)]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} suites passed" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def one(name, here, verbose):
    """Runs one suite and prints its line. True when it passed."""
    start = time.monotonic()
    try:
        verdict = SUITES[name](here)
        wrong = judge(name, verdict)
        facts = f"{verdict.checks} checks by {verdict.tool}, {len(verdict.findings)} findings, {len(known(name))} explained"
    except Exception:
        wrong, facts, verdict = [traceback.format_exc(), tail(here.server.log)], "did not finish", None
    print(f"{'ok  ' if not wrong else 'FAIL'} {name:12} {facts} ({time.monotonic() - start:.0f} s)", flush=True)
    for line in wrong:
        print(f"     {line}", flush=True)
    if verbose and verdict:
        for id, text in verdict.findings.items():
            print(f"     found {id}: {text}")
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
