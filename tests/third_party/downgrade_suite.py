"""HTTP/2 requests that would be two, or others, when they are written as HTTP/1.1.

Job: send fields that no honest client sends (line ends, lengths that lie, codings, hosts that differ, targets with spaces)
over HTTP/2 on three ways (straight, through nginx, through HAProxy), whole and in pieces. What is refused must reach no
server; what is taken must arrive once, the same on every way. Used by `run`. Not here: frames (`frames`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import peers
from differential_suite import own_answer
from frames import Connection
from lab.server import Failed
from verdict import Verdict

METHOD, SCHEME, AUTHORITY, PATH = b":method", b":scheme", b":authority", b":path"
GET = [(METHOD, b"GET"), (SCHEME, b"http"), (AUTHORITY, b"a"), (PATH, b"/x")]
POST = [(METHOD, b"POST"), *GET[1:]]
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# A request is whole when it has as much content as its head says; that more follows is seen only after it may have gone on.
# What arrives then, sooner or later, is what the head said, and nothing of what follows.
EMPTY, LONGER = (b"POST", b"/empty", b"a", b""), (b"POST", b"/longer", b"a", b"abc")


@dataclass
class Case:
    """A request and what must arrive of it: nothing (None), or (method, target, host, body). `stream`: extra fields to see."""

    id: str
    fields: list
    arrives: tuple | None = None
    body: tuple = ()
    trailers: list | None = None
    also: tuple = ()


def having(name, value, base=GET):
    """`base` with one field more."""
    return [*base, (name, value)]


def but(name, value, base=GET):
    """`base` with another value for a pseudo-field."""
    return [(have, value if have == name else old) for have, old in base]


def without(name, base=GET):
    """`base` without a field."""
    return [(have, value) for have, value in base if have != name]


def refused():
    """Requests that no server may see."""
    ends = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "nul": b"\0"}
    for word, end in ends.items():
        smuggled = b"b" + end + b"Transfer-Encoding: chunked" + end + end + SMUGGLED
        yield Case(f"value-{word}", having(b"x", smuggled))
        yield Case(f"value-begins-{word}", having(b"x", end + b"b"))
        yield Case(f"value-ends-{word}", having(b"x", b"b" + end))
        yield Case(f"name-{word}", having(b"x" + end + b"y", b"b"))
        yield Case(f"path-{word}", but(PATH, b"/" + end + b"x"))
        yield Case(f"path-request-{word}", but(PATH, b"/ HTTP/1.1" + end + b"Host: b" + end + end + b"GET /smuggled"))
        yield Case(f"query-{word}", but(PATH, b"/?" + end))
        yield Case(f"method-{word}", but(METHOD, b"GET" + end))
        yield Case(f"authority-{word}", but(AUTHORITY, b"a" + end + b"X: b"))
        yield Case(f"scheme-{word}", but(SCHEME, b"http" + end))
        yield Case(f"host-{word}", having(b"host", b"a" + end + b"X: b", without(AUTHORITY)))
        yield Case(f"cookie-{word}", having(b"cookie", b"a=1" + end + b"X: b"))
        yield Case(f"te-{word}", having(b"te", b"trailers" + end + b"X: b"))
        yield Case(f"length-{word}", having(b"content-length", b"0" + end + b"X: b", POST))
    for name in (b"X", b"x y", b"x:", b":x", b"", b" x", b"x ", b"x\t", b"x\x7f", b"x\xc3\xa9", b"transfer-encoding:chunked", b"a(b"):
        yield Case(f"name {name!r}", having(name, b"b"))
    for path in (b"", b"a", b"/a b", b"/a\tb", b" /", b"/ ", b"http://b/", b"//b\\..\\", b"/%00", b"/%2e%2e/%2e%2e/x", b"/../x",
                 b"/a%2fb", b"/a%5cb", b"/%zz", b"/\x7f", b"/\xff", b"*"):
        yield Case(f"path {path!r}", but(PATH, path))
    for method in (b"", b"GET /", b"G T", b"GET:", b"GET\x7f", b"\xff"):
        yield Case(f"method {method!r}", but(METHOD, method))
    for authority in (b"a b", b"a/", b"u@a", b"a:b", b"a:99999", b"a,b", b"a?", b"a#", b"a\\", b"[::1", b"a\x7f", b"a%41"):
        yield Case(f"authority {authority!r}", but(AUTHORITY, authority))
    yield Case("host-differs", having(b"host", b"b"))
    yield Case("host-twice", [*without(AUTHORITY), (b"host", b"a"), (b"host", b"b")])
    yield Case("host-twice-same", [*without(AUTHORITY), (b"host", b"a"), (b"host", b"a")])
    yield Case("no-host", without(AUTHORITY))
    for name, value in ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"), (b"connection", b"close"),
                        (b"connection", b"host"), (b"keep-alive", b"5"), (b"proxy-connection", b"close"),
                        (b"upgrade", b"websocket"), (b"te", b"gzip"), (b"te", b"trailers, deflate;q=0.5"), (b":status", b"200"),
                        (b":protocol", b"websocket"), (b":path", b"/y"), (b":method", b"POST"), (b":authority", b"b"), (b":x", b"1")):
        yield Case(f"{name.decode()}: {value.decode()}", having(name, value))
    yield Case("te-cl", [*POST, (b"transfer-encoding", b"chunked"), (b"content-length", b"5")], body=(SMUGGLED,))
    for name in (METHOD, SCHEME, PATH):
        yield Case(f"no-{name.decode()[1:]}", without(name))
    yield Case("pseudo-behind", [(b"x", b"y"), *GET])
    yield Case("pseudo-between", [*GET[:3], (b"x", b"y"), GET[3]])
    # Lengths that lie: the head may have gone, and then the connection behind must break off.
    for length, body in ((b"5", b"abc"), (b"44", b""), (b"+3", b"abc"), (b"3, 3", b"abc"),
                         (b"0x3", b"abc"), (b"", b"abc"), (b" 3", b"abc"), (b"3 ", b"abc"), (b"-3", b"abc"), (b"3;", b"abc"),
                         (b"18446744073709551619", b"abc")):
        yield Case(f"length {length!r} of {len(body)}", having(b"content-length", length, POST), body=(body,))
    yield Case("length-zero", having(b"content-length", b"0", but(PATH, EMPTY[1], POST)), body=(SMUGGLED,))
    yield Case("length-longer", having(b"content-length", b"3", but(PATH, LONGER[1], POST)), body=(b"abc", SMUGGLED))
    yield Case("length-without-body", having(b"content-length", b"5", POST))
    yield Case("length-twice", [*POST, (b"content-length", b"3"), (b"content-length", b"3")], body=(b"abc",))
    yield Case("length-twice-differ", [*POST, (b"content-length", b"3"), (b"content-length", b"5")], body=(b"abc",))
    yield Case("length-trailer-coding", POST, body=(b"abc",), trailers=[(b"transfer-encoding", b"chunked")])
    yield Case("connect-no-authority", [(METHOD, b"CONNECT")])
    yield Case("connect", [(METHOD, b"CONNECT"), (AUTHORITY, b"a:443")])
    yield Case("connect-with-path", but(METHOD, b"CONNECT"))


def taken():
    """Odd requests with one reading."""
    yield Case("plain", GET, (b"GET", b"/x", b"a", b""))
    yield Case("host-only", having(b"host", b"a", without(AUTHORITY)), (b"GET", b"/x", b"a", b""))
    yield Case("host-same", having(b"host", b"a"), (b"GET", b"/x", b"a", b""))
    yield Case("host-case", but(AUTHORITY, b"A:80"), (b"GET", b"/x", b"a", b""))
    yield Case("dots", but(PATH, b"/a/../b/./c"), (b"GET", b"/b/c", b"a", b""))
    # The fragment is taken off by the h2 crate before anybody sees it: one reading, and the one that RFC 3986 3.5 has.
    yield Case("fragment", but(PATH, b"/x#y"), (b"GET", b"/x", b"a", b""))
    yield Case("slashes", but(PATH, b"//a///b"), (b"GET", b"/a/b", b"a", b""))
    yield Case("query", but(PATH, b"/?a=%0d%0aX:%20y"), (b"GET", b"/?a=%0d%0aX:%20y", b"a", b""))
    yield Case("cookies", [*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")], (b"GET", b"/x", b"a", b""),
               also=((b"cookie", [b"a=1; b=2"]),))
    yield Case("underscore", having(b"x_forwarded_for", b"6.6.6.6"), (b"GET", b"/x", b"a", b""), also=((b"x_forwarded_for", []),))
    yield Case("te-trailers", having(b"te", b"trailers"), (b"GET", b"/x", b"a", b""))
    yield Case("obs-text", having(b"x", b"caf\xe9"), (b"GET", b"/x", b"a", b""), also=((b"x", [b"caf\xe9"]),))
    yield Case("length", having(b"content-length", b"3", POST), (b"POST", b"/x", b"a", b"abc"), body=(b"abc",))
    yield Case("no-length", POST, (b"POST", b"/x", b"a", b"abcdef"), body=(b"abc", b"", b"def"))
    yield Case("body-that-looks-like-chunks", POST, (b"POST", b"/x", b"a", SMUGGLED), body=(SMUGGLED,))
    yield Case("body-that-looks-like-a-request", having(b"content-length", str(len(SMUGGLED)).encode(), POST),
               (b"POST", b"/x", b"a", SMUGGLED), body=(SMUGGLED,))
    yield Case("get-with-body", GET, (b"GET", b"/x", b"a", SMUGGLED), body=(SMUGGLED,))
    yield Case("trailers", POST, (b"POST", b"/x", b"a", b"abc"), body=(b"abc",),
               trailers=[(b"content-length", b"99"), (b"x-sum", b"1"), (b"host", b"b")])
    yield Case("empty-body", having(b"content-length", b"0", POST), (b"POST", b"/x", b"a", b""), body=(b"",))


def run(house):
    """Every case on every way, whole and in pieces."""
    cases = [*refused(), *taken()]
    verdict = Verdict(0, f"{len(cases)} HTTP/2 requests through {peers.versions()}")
    with peers.ways(house.binary, house.folder / "downgrade") as ways:
        with ThreadPoolExecutor(len(ways)) as threads:
            seen = dict(zip((way.name for way in ways), threads.map(lambda way: walk(way, cases), ways)))
    for case in cases:
        for pieces in (False, True):
            for name, results in seen.items():
                verdict.checks += 1
                if wrong := results[case.id, pieces]:
                    verdict.found(case.id, f"{'in pieces' if pieces else 'whole'} by {name}: {wrong}")
    return verdict


def walk(way, cases):
    """All cases on one way: `{(id, pieces): what is wrong or None}`."""
    results, number, timeouts = {}, 0, 0
    for case in cases:
        for pieces in (False, True):
            number += 1
            try:
                results[case.id, pieces] = one(way, case, pieces, number)
            except OSError as failure:
                way.recorder.take()
                timeouts += 1
                if timeouts > 3:
                    raise Failed(f"{timeouts} cases by {way.name} got no answer; the last was {case.id}")
                results[case.id, pieces] = f"{type(failure).__name__}: {failure}"
    return results


def one(way, case, pieces, number):
    """One case and two markers behind it; what is wrong, or None."""
    first, second = (f"/marker-{number}-{which}" for which in "ab")
    with Connection(way.prior) as connection:
        came = connection.ask(case.fields, case.body, case.trailers, pieces)
        goes_on, wrong = not connection.over, None
        if goes_on:
            marked = connection.ask(but(PATH, first.encode()))
            # The goodbye may have been on its way: then the marker was not looked at, and must not arrive.
            goes_on = marked.instead not in ("goodbye", "closed")
            wrong = own_answer(marked, first) if goes_on else None
    with Connection(way.prior) as connection:
        wrong = wrong or own_answer(connection.ask(but(PATH, second.encode())), second)
    requests, broken, strange = way.recorder.take()
    markers = [each.target.decode() for each in requests if each.target.startswith(b"/marker-")]
    others = [each for each in requests if not each.target.startswith(b"/marker-") and each.essence() not in (EMPTY, LONGER)]
    want = [first, second] if goes_on else [second]
    if wrong:
        return wrong
    if strange:
        return f"the server got what is no request: {strange}"
    if markers != want:
        return f"the server saw the markers {markers}, wanted {want}"
    if case.arrives is None:
        if came.instead is None and came.status not in (400, 404, 405, 413, 501):
            return f"answered {came}"
        lies = case.id.startswith("length")
        return f"refused, and yet it reached the server: {others or broken}" if others or (broken and not lies) else None
    if (came.status, came.instead) != (200, None):
        return f"not answered: {came}"
    if [each.essence() for each in others] != [case.arrives]:
        return f"the server saw {others}, wanted {case.arrives}"
    for name, values in case.also:
        if others[0].field(name) != values:
            return f"{name} arrived as {others[0].field(name)}, wanted {values}"
    return None
