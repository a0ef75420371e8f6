"""httplint and REDbot on golden answers: one of every kind that the web role gives.

Job: ask for each kind, check that it is that kind, hand request and answer to httplint, and let REDbot make its own
requests (conditional, partial, negotiated) on three addresses. Notes of level WARN or BAD are findings, with the id
`NOTE on CASE`. Used by `run`. Not here: why a note is right or wrong (docs/conformance.md).
"""

import importlib.metadata
import json
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

from httplint import HttpRequestLinter, HttpResponseLinter
from httplint.note import levels

from answers import ask
from lab.server import Failed
from verdict import Verdict

BROWSER = [("User-Agent", "suite"), ("Accept", "text/html,*/*;q=0.8"), ("Accept-Language", "en")]
PROGRAM = [("User-Agent", "suite"), ("Accept", "application/json")]
ORIGIN = ("Origin", "https://app.example.org")
# name: method, path, fields, wanted status, fields that must be there (so that the case is the case it says).
CASES = {
    "file": ("GET", "/page.html", BROWSER, 200, ["etag", "last-modified", "content-length"]),
    "index": ("GET", "/", BROWSER, 200, ["etag"]),
    "head": ("HEAD", "/page.html", BROWSER, 200, ["etag", "content-length"]),
    "brotli": ("GET", "/page.html", [*BROWSER, ("Accept-Encoding", "br")], 200, ["content-encoding", "vary"]),
    "gzip": ("GET", "/page.html", [*BROWSER, ("Accept-Encoding", "gzip")], 200, ["content-encoding", "vary"]),
    "zstd": ("GET", "/page.html", [*BROWSER, ("Accept-Encoding", "zstd")], 200, ["content-encoding", "vary"]),
    "precompressed": ("GET", "/stored.txt", [*BROWSER, ("Accept-Encoding", "gzip")], 200, ["content-encoding", "vary"]),
    "head-compressed": ("HEAD", "/page.html", [*BROWSER, ("Accept-Encoding", "br")], 200, ["content-encoding", "vary"]),
    "not-modified-etag": ("GET", "/page.html", [*BROWSER, ("If-None-Match", "{etag}")], 304, ["etag"]),
    "not-modified-date": ("GET", "/page.html", [*BROWSER, ("If-Modified-Since", "{now}")], 304, ["etag"]),
    "not-modified-compressed": (
        "GET", "/page.html", [*BROWSER, ("Accept-Encoding", "br"), ("If-None-Match", "{etag-br}")], 304, ["etag", "vary"]),
    "not-modified-policy": ("GET", "/shared/page.html", [*BROWSER, ("If-None-Match", "{etag}")], 304, ["cache-control"]),
    "precondition-failed": ("GET", "/page.html", [*BROWSER, ("If-Match", '"other"')], 412, []),
    "range": ("GET", "/ranges.bin", [*BROWSER, ("Range", "bytes=10-99")], 206, ["content-range"]),
    "ranges": ("GET", "/ranges.bin", [*BROWSER, ("Range", "bytes=0-9,100-109")], 206, ["content-type"]),
    "range-beyond": ("GET", "/ranges.bin", [*BROWSER, ("Range", "bytes=900000-")], 416, ["content-range"]),
    "not-found-page": ("GET", "/nowhere", BROWSER, 404, ["content-type"]),
    "not-found-json": ("GET", "/nowhere", PROGRAM, 404, ["content-type"]),
    "not-found-head": ("HEAD", "/nowhere", BROWSER, 404, ["content-type"]),
    "permanent": ("GET", "/moved/page.html", BROWSER, 301, ["location"]),
    "permanent-308": ("GET", "/gone-to/page.html", BROWSER, 308, ["location"]),
    "folder-slash": ("GET", "/listed", BROWSER, 308, ["location"]),
    "listing": ("GET", "/listed/", BROWSER, 200, ["content-type"]),
    "listing-json": ("GET", "/listed/", PROGRAM, 200, ["content-type"]),
    "text": ("GET", "/any", BROWSER, 200, ["content-type"]),
    "posted": ("POST", "/", [*BROWSER, ("Content-Length", "0")], 200, ["content-type"]),
    "wrong-method": ("DELETE", "/page.html", BROWSER, 405, ["allow"]),
    "options": ("OPTIONS", "/page.html", BROWSER, 204, ["allow"]),
    "preflight": ("OPTIONS", "/shared/page.html", [*BROWSER, ORIGIN, ("Access-Control-Request-Method", "GET")], 204,
                  ["access-control-allow-origin"]),
    "shared": ("GET", "/shared/page.html", [*BROWSER, ORIGIN], 200, ["access-control-allow-origin", "vary"]),
    "no-login": ("GET", "/private/page.html", BROWSER, 401, ["www-authenticate"]),
    "login": ("GET", "/private/page.html", [*BROWSER, ("Authorization", "Basic YW5hOnNlY3JldA==")], 200, ["etag"]),
    "within-rate": ("GET", "/limited", BROWSER, 200, []),
    "above-rate": ("GET", "/limited", BROWSER, 429, ["retry-after"]),
    "body-too-large": ("POST", "/small-body", [*BROWSER, ("Content-Length", "5000")], 413, []),
    "expectation": ("GET", "/page.html", [*BROWSER, ("Expect", "the-unexpected")], 417, []),
    "bad-path": ("GET", "/a%00b", BROWSER, 400, []),
}
# REDbot asks each of these some ten times in its own ways.
DROID_PATHS = ["/page.html", "/ranges.bin", "/listed/"]


def run(house):
    """Every case through httplint, then REDbot."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("httplint", "redbot")]
    verdict = Verdict(len(CASES) + len(DROID_PATHS), " and ".join(versions))
    made = {
        "{etag}": ask(house.plain, "GET", "/page.html", BROWSER).field("etag").decode(),
        "{etag-br}": ask(house.plain, "GET", "/page.html", [*BROWSER, ("Accept-Encoding", "br")]).field("etag").decode(),
        "{now}": formatdate(time.time(), usegmt=True),
    }
    for case, (method, path, fields, status, wanted) in CASES.items():
        fields = [(name, made.get(value, value)) for name, value in fields]
        answer = ask(house.plain, method, path, fields)
        if answer.status != status:
            verdict.found(f"STATUS on {case}", f"{answer.status} in place of {status}")
            continue
        for name in wanted:
            if answer.field(name) is None:
                verdict.found(f"FIELD on {case}", f"no {name}")
        for note in notes(house.plain, method, path, fields, answer):
            verdict.found(f"{type(note).__name__} on {case}", f"{note.level.name} {note.subject}: {note.summary}")
    for path in DROID_PATHS:
        for name, level, text in droid_notes(f"http://127.0.0.1:{house.plain}{path}"):
            verdict.found(f"{name} on REDbot {path}", f"{level} {text}")
    return verdict


def notes(port, method, path, fields, answer):
    """httplint's notes of level WARN and BAD about an answer to this request."""
    request = HttpRequestLinter()
    request.process_request_topline(method.encode(), f"http://localhost:{port}{path}".encode(), b"1.1")
    request.process_headers([(b"Host", f"localhost:{port}".encode()), *((a.encode(), b.encode()) for a, b in fields)])
    request.finish_content(True)
    response = HttpResponseLinter(start_time=time.time())
    response.request, request.response = request, response
    response.base_uri, response.is_head_response = request.uri, method == "HEAD"
    response.process_response_topline(b"1.1", str(answer.status).encode(), answer.phrase)
    response.process_headers([(name.encode(), value) for name, value in answer.fields])
    response.feed_content(answer.body)
    response.finish_content(True)
    every = [note for top in response.notes for note in (top, *top.subnotes)]
    return [note for note in every if note.level in (levels.WARN, levels.BAD)]


def droid_notes(address):
    """REDbot's notes of level WARN and BAD: `(name, level, text)`."""
    program = Path(sys.executable).with_name("redbot")
    done = subprocess.run([program, "-o", "har", address], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    log = json.loads(done.stdout)["log"]
    if not log["entries"]:
        raise Failed(f"REDbot got no answer from {address}: {done.stderr}")
    top = [note for entry in log["entries"] for note in entry["_red_messages"]]
    every = [note for above in top for note in (above, *above.get("subnotes", []))]
    return [(note["note_id"], note["level"], note["summary"]) for note in every if note["level"] in ("WARN", "BAD")]
