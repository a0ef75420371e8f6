"""A browser through the proxy: headless Chromium opens a page of a real app and reports what it saw.

Job: over http, and over https (where it speaks HTTP/2), the page opens a websocket, uploads, downloads, asks for thirty
things at once and listens to events; all must be as the app meant it. Used by `run`. Not here: the page (`page.html`), the
app (`app.py`).
"""

import json
import os
import select
import signal
import subprocess
import tempfile
import time

from answers import Line
from proxied import proxied
from verdict import Verdict

WANTED = {
    "protocol": "echo.v1", "texts": [True, True, True], "binary": True, "close": 4321, "upload": ["POST", True],
    "download": 170_000, "many": True, "part": [206, 10], "events": ["0", "1", "2"],
}
END_S = 10


def run(house):
    """Both addresses."""
    told = subprocess.run(["chromium", "--version"], capture_output=True, text=True, timeout=30).stdout.split()
    verdict = Verdict(2, f"Chromium {told[1] if len(told) > 1 else '?'}")
    with proxied(house, "browsed") as here:
        for address, version in ((f"http://127.0.0.1:{here.plain}/page", "http/1.1"), (f"https://localhost:{here.secure}/page", "h2")):
            seen = browse(here, address)
            want = {**WANTED, "version": version}
            got = {name: seen.get(name) for name in want}
            if seen.get("error") or got != want:
                verdict.found(version, f"{seen}, wanted {want}")
        verdict.checks += 1
        sockets = sockets_told(here)
        if len(sockets) != 2:
            verdict.found("sockets", f"the access log has {sockets}")
        verdict.tool += f", websockets by {' and '.join(sockets)}"
    return verdict


def sockets_told(here):
    """By which protocol each websocket came, from the access log, once two are in it: lines are written a moment later."""
    log, end = here.folder / "data" / "logs" / "access.log", time.monotonic() + END_S
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        found = [line["protocol"] for line in lines if line["target"] == "/socket"]
        if len(found) >= 2 or time.monotonic() > end:
            return found
        select.select([], [], [], 0.1)  # a file that grows is not an event one can wait for everywhere


def browse(here, address):
    """Opens the address, waits for the report, ends the browser."""
    with tempfile.TemporaryDirectory(prefix="madang-browser-", ignore_cleanup_errors=True) as profile:
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                 "--ignore-certificate-errors", f"--user-data-dir={profile}", address]
        browser = subprocess.Popen(["chromium", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={**os.environ, "HOME": profile}, start_new_session=True)
        try:
            return report(here)
        finally:
            end(browser)


def report(here):
    """What the page tells."""
    with Line(here.plain) as line:
        line._socket.settimeout(60)
        line.send(b"GET /reports HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = line.answer()
    return json.loads(answer.body) if answer and answer.status == 200 else {"error": f"no report: {answer}"}


def end(browser):
    """Ends every process of the session that was started for the browser; nothing in its folder is worth a goodbye."""
    os.killpg(browser.pid, signal.SIGKILL)
    browser.wait(END_S)
