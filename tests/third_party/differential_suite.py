"""The corpus of odd requests through Madang to real servers: is any request seen twice, differently, or by nobody?

Job: send each case of tests/corpus/http1/requests.tsv on three ways (straight to a recorder, through nginx, through
HAProxy), whole, in pieces, and with the next request already behind it. What the corpus refuses must reach no server; what
it accepts must arrive once on every way, the same; the requests around it (markers) must get their own answers.
Used by `run`. Not here: which reading is right (the corpus).

Invariants
1. After each case two more markers go through: on the same connection where it goes on, and on a new one, which takes the
   same connections behind Madang. A connection that is out of step gives one of them another's answer.
2. A request that breaks off in its body may be seen to break off only when the next cases are under way: it is counted to the case
   it is of, once, and to no other.
"""

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

import peers
from answers import Line, NotHttp
from corpus_suite import BODY_FAULTS, REFUSALS, read_corpus
from lab.server import Failed
from verdict import Verdict

MARKER = "GET /marker-{number} HTTP/1.1\r\nHost: marker\r\n\r\n"
# Answered by Madang itself: a question about the server as a whole, and tunnels, which no route leads to (RFC 9110 9.3.6, 9.3.7).
OURS = {"ok-options-star": 204, "ok-connect": 404, "ok-connect-v6": 404, "ok-connect-80": 404}
# What a server behind us does not take, in spite of all its settings, with its status. Nothing else may differ.
PEER_REFUSES = {
    ("haproxy", "ok-upgrade"): 400,  # a handshake without Sec-WebSocket-Key
}
# A way that does not answer is given up before the suite takes all day.
TIMEOUTS_MAX = 3
# So many cases back a request may be of that is seen to break off only now.
LATE_MAX = 6


def run(house):
    """Every case on every way."""
    cases = read_corpus()
    verdict = Verdict(0, f"a corpus of {len(cases)} requests through {peers.versions()}")
    with peers.ways(house.binary, house.folder / "ways") as ways:
        with ThreadPoolExecutor(len(ways)) as threads:
            seen = dict(zip((way.name for way in ways), threads.map(lambda way: walk(way, cases), ways)))
    for id, expectation, request in cases:
        for how in HOWS:
            verdict.checks += len(ways)
            each = {name: results[id, how] for name, results in seen.items()}
            for name, (wrong, _) in each.items():
                if wrong:
                    verdict.found(id, f"{how} by {name}: {wrong}")
            straight = each["straight"][1]
            for name in ("nginx", "haproxy"):
                if each[name][1] != straight and not (each[name][1] is None and (name, id) in PEER_REFUSES):
                    verdict.found(id, f"{how} by {name}: seen as {each[name][1]}, straight as {straight}")
    return verdict


def walk(way, cases):
    """All cases on one way: `{(id, how): (what is wrong or None, what the recorder saw)}`."""
    results, number, timeouts = {}, 0, 0
    late = deque(maxlen=LATE_MAX)
    for id, expectation, request in cases:
        for how, step in HOWS.items():
            number += 1
            try:
                results[id, how] = one(way, id, expectation, request, step, number, late)
            except (NotHttp, OSError) as failure:
                way.recorder.take()
                timeouts += isinstance(failure, TimeoutError)
                if timeouts > TIMEOUTS_MAX:
                    raise Failed(f"{timeouts} cases by {way.name} got no answer; the last was {id} {how}")
                results[id, how] = f"{type(failure).__name__}: {failure}", None
    return results


# How a case is sent: bytes a piece, `None`: with a marker behind it in the same piece.
HOWS = {"whole": 1 << 20, "in pieces": 7, "with a marker behind it": None}


def one(way, id, expectation, request, step, number, late):
    """One case: what is wrong, and the essence of what the recorder saw of it. `late`: first lines of earlier ones that may still
    be seen to break off."""
    first, second = (f"/marker-{number}-{which}" for which in "ab")
    method = request.lstrip(b"\r\n").split(b" ")[0]
    with Line(way.plain) as line:
        if step is None:
            line.send(request + marker(first))
        for start in range(0, len(request), step or len(request)):
            if step is not None:
                line.send(request[start:start + step])
        answer = line.answer(method)
        accepted = expectation.startswith("ok ")
        wrong = answered(way, id, answer) if accepted else refused(expectation, answer)
        goes_on = answer is not None and (answer.field("connection") or b"").lower() != b"close" and accepted and answer.status != 101
        if goes_on and not wrong:
            if step is not None:
                line.send(marker(first))
            wrong = own_answer(line.answer(), first)
        elif not wrong and (rest := line.rest()):
            wrong = f"after the last answer came {rest[:80]!r}"
    with Line(way.plain) as line:
        line.send(marker(second))
        wrong = wrong or own_answer(line.answer(), second)
    requests, broken, strange = way.recorder.take()
    if in_body(expectation):
        if not broken:
            late.append(first_line(request))
    else:
        broken = [each for each in broken if not was_late(each, late)]
    markers = [each.target.decode() for each in requests if each.target.startswith(b"/marker-")]
    others = [each for each in requests if not each.target.startswith(b"/marker-")]
    want = [first, second] if goes_on else [second]
    if not wrong and strange:
        wrong = f"the server got what is no request: {strange}"
    if not wrong and markers != want:
        wrong = f"the server saw the markers {markers}, wanted {want}"
    if not wrong and not accepted and (others or (broken and not in_body(expectation))):
        wrong = f"refused, and yet it reached the server: {others or broken}"
    expected = 1 if accepted and id not in OURS and (way.name, id) not in PEER_REFUSES else 0
    if not wrong and len(others) != expected:
        wrong = f"the server saw {len(others)} requests, wanted {expected}: {others}"
    if not wrong and others:
        wrong = as_the_corpus_says(expectation, method, others[0], way.server)
    return wrong, essence(others[0], way.server) if others else None


def marker(target):
    """A request whose answer nobody else can be given."""
    return f"GET {target} HTTP/1.1\r\nHost: marker\r\n\r\n".encode()


def own_answer(answer, target):
    """What is wrong with a marker's answer, or None."""
    got = (answer.status, answer.body) if answer else None
    return None if got == (200, f"GET {target}\n".encode()) else f"the marker {target} got {got}"


def in_body(expectation):
    """Whether the fault lies in a body: then the head has gone on already, and what follows must break off."""
    return any(word in expectation for word in BODY_FAULTS)


def first_line(request):
    """Method, target and version as they were written."""
    return request.lstrip(b"\r\n").split(b"\r\n")[0]


def was_late(broken, late):
    """Whether it is of an earlier case; of that only this one."""
    if (line := first_line(broken)) not in late:
        return False
    late.remove(line)
    return True


def refused(expectation, answer):
    """What is wrong with the answer to a malformed request, or None."""
    if answer is None:
        return "closed without an answer"
    wanted = {int(status) for status in re.findall(r"\b\d{3}\b", expectation)} & REFUSALS
    return None if answer.status in wanted else f"{answer.status}, wanted {sorted(wanted)}"


def answered(way, id, answer):
    """What is wrong with the answer to a valid request, or None."""
    if answer is None:
        return "closed without an answer"
    want = OURS.get(id) or PEER_REFUSES.get((way.name, id)) or 200
    return None if answer.status == want else f"{answer.status} {answer.body[:80]!r}, wanted {want}"


def essence(request, server):
    """What must be the same on every way: the server's own name, which it is asked by for want of another, is not."""
    method, target, host, body = request.essence()
    return method, target, b"" if host == server else host, body


def as_the_corpus_says(expectation, method, request, server):
    """What differs between what arrived and what the corpus says of it, or None. No host: the server's own name arrives."""
    facts = dict(re.findall(r"(\w+)=(.*?)(?= \w+=|$)", expectation.removeprefix("ok ")))
    path, question, query = request.target.partition(b"?")
    host = facts.get("authority", facts.get("host", "")).encode() or server
    escapes = {"\\r": "\r", "\\n": "\n"}
    body = re.sub(r"\\[rn]", lambda found: escapes[found[0]], facts.get("body", "")).encode()
    got = (request.method, unquote_to_bytes(path), request.field(b"host"), request.body)
    want = (method, facts["path"].encode(), [host], body)
    if "host" not in facts and "authority" not in facts:
        got, want = got[:2] + got[3:], want[:2] + want[3:]
    if got != want:
        return f"arrived as {got}, wanted {want}"
    if "query" in facts and (question, query) != (b"?", facts["query"].encode()):
        return f"arrived with the query {query}, wanted {facts['query']}"
    return None
