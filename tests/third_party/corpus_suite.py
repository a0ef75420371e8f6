"""The corpus of malformed and odd requests (tests/corpus/http1/requests.tsv), over real sockets to the real binary.

Job: send each case whole and in small pieces. A malformed one must get one refusal with a status the corpus names, and the
connection must end; an odd but valid one must get exactly one answer, and on a connection that goes on the next request
must get its own: a server that misread where the first one ended answers something else.
Used by `run`. Not here: which reading is right (the corpus; engine/wire tests it byte by byte).
"""

import re

from answers import Line, NotHttp
from lab.server import ROOT
from verdict import Verdict

CORPUS = ROOT / "tests" / "corpus" / "http1" / "requests.tsv"
CASES_MIN = 300
REFUSALS = {400, 408, 411, 413, 414, 417, 431, 501, 505}
# Faults inside a body. An address that answers without reading its body may have answered before the fault came: then the
# answer stands and the connection ends.
BODY_FAULTS = ("bad-chunk", "bad-trailers", "chunk-extensions")
SENTINEL = b"GET /any HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SENTINEL_BODY = b"any method is answered\n"


def run(house):
    """Every case, whole and by seven bytes."""
    cases = read_corpus()
    verdict = Verdict(0, f"a corpus of {len(cases)} requests")
    for id, expectation, request in cases:
        for step in (len(request), 7):
            verdict.checks += 1
            try:
                wrong = refused(house, expectation, request, step) if not expectation.startswith("ok ") else answered(
                    house, expectation, request, step)
            except (NotHttp, TimeoutError) as failure:
                wrong = f"{type(failure).__name__}: {failure}"
            if wrong:
                verdict.found(id, f"sent by {step}: {wrong}")
    return verdict


def refused(house, expectation, request, step):
    """Sends a malformed request; what is wrong with the answer, or None."""
    with Line(house.plain) as line:
        answer = sent(line, request, step)
        if answer is None:
            return "closed without an answer"
        in_body = any(f"{word}" in expectation for word in BODY_FAULTS)
        wanted = {int(status) for status in re.findall(r"\b\d{3}\b", expectation)}
        if answer.status not in wanted & REFUSALS and not (in_body and answer.status == 200):
            return f"{answer.status}, wanted {sorted(wanted)}"
        rest = line.rest()
        return f"after the refusal came {rest[:80]!r}" if rest else None


def answered(house, expectation, request, step):
    """Sends a valid request; what is wrong with the answers, or None."""
    with Line(house.plain) as line:
        answer = sent(line, request, step)
        if answer is None:
            return "closed without an answer"
        if answer.status in (400, 408, 411, 417, 431, 505):
            return f"refused with {answer.status}: {answer.body[:80]!r}"
        leaving = (answer.field("connection") or b"").lower() == b"close"
        if "keep=no" in expectation and not leaving:
            return "does not say that the connection ends"
        if leaving:
            rest = line.rest()
            return f"after the last answer came {rest[:80]!r}" if rest else None
        line.send(SENTINEL)
        second = line.answer()
        if second is None or (second.status, second.body) != (200, SENTINEL_BODY):
            return f"the next request on the connection got {second}"
        rest = line.rest()
        return f"after the last answer came {rest[:80]!r}" if rest else None


def sent(line, request, step):
    """Sends in pieces of `step` bytes and reads one answer."""
    for start in range(0, len(request), step):
        line.send(request[start:start + step])
    return line.answer(request.lstrip(b"\r\n").split(b" ")[0])


def read_corpus():
    """`(id, expectation, bytes)` of every case."""
    lines = [line.split("\t") for line in CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    cases = [(id, expectation, unescape(text)) for id, expectation, text, _why in lines]
    if len(cases) < CASES_MIN:
        raise ValueError(f"only {len(cases)} cases in {CORPUS}")
    return cases


def unescape(text):
    """The corpus's escapes: \\r \\n \\t \\\\ \\xNN."""
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
    return b"".join(
        (bytes([int(found[2], 16)]) if found[2] else plain[found[1]]) if found[0].startswith("\\") else found[0].encode()
        for found in re.finditer(r"\\(?:([rnt\\])|x([0-9a-f]{2}))|[^\\]+", text))
