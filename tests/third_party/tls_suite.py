"""TLS seen by two scanners: testssl.sh and sslyze.

Job: run both against the https address with the default TLS settings. Findings: everything testssl.sh grades above LOW, and
everything in which sslyze sees a departure from Mozilla's "intermediate" profile. Used by `run`. Not here: which findings
are explained (docs/conformance.md).
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from lab.server import Failed
from verdict import Verdict

ABOVE_LOW = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
# All that testssl.sh does by itself but two lists without a grade: which of 370 ciphers, and what 40 old clients would get.
CHECKS = ["--protocols", "--standard", "--pfs", "--server-preference", "--server-defaults", "--headers", "--vulnerable"]
CHECKS_MIN = 60
# testssl.sh waits out some answers that never come (renegotiation, heartbeat); a minute is usual, most of it its own work.
DEADLINE_S = 240


def run(house):
    """Both scanners."""
    scratch = house.folder / "testssl"
    scratch.mkdir()
    report = scratch / "report.json"
    done = subprocess.run(
        ["testssl", *CHECKS, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1",
         "--add-ca", house.authority, "--jsonfile", report, f"https://localhost:{house.secure}/"],
        capture_output=True, text=True, errors="replace", timeout=DEADLINE_S, stdin=subprocess.DEVNULL, cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch)})
    entries = json.loads(report.read_text())
    if len(entries) < CHECKS_MIN:
        raise Failed(f"testssl.sh reported {len(entries)} checks only:\n{done.stdout[-2000:]}")
    version = re.search(r"testssl\S* +(?:version )?(\d\S+)", subprocess.run(
        ["testssl", "--version"], capture_output=True, text=True, errors="replace", timeout=30,
        stdin=subprocess.DEVNULL).stdout)
    verdict = Verdict(len(entries), f"testssl.sh {version[1] if version else 'of unknown version'} and ")
    for entry in entries:
        if entry["severity"] in ABOVE_LOW:
            verdict.found(entry["id"], f"{entry['severity']}: {entry['finding']}")
    sslyze(house, verdict)
    return verdict


def sslyze(house, verdict):
    """Adds sslyze's view: a departure from the profile has the id `mozilla`."""
    program = Path(sys.executable).with_name("sslyze")
    done = subprocess.run(
        [program, "--mozilla_config=intermediate", f"--certinfo_ca_file={house.authority}", f"localhost:{house.secure}"],
        capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    version = subprocess.run([Path(sys.executable), "-c", "import sslyze; print(sslyze.__version__.__version__)"],
                             capture_output=True, text=True, timeout=30)
    verdict.tool += f"sslyze {version.stdout.strip()}"
    verdict.checks += 1
    told = re.search(r"localhost:\d+: (OK|FAILED).*?((?:\n +\* .*)*)\n", done.stdout)
    if not told:
        raise Failed(f"sslyze gave no verdict:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    if told[1] != "OK":
        verdict.found("mozilla", " ".join(told[0].split()))
