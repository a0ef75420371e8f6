"""What people do with curl and nghttp, and what they must get.

Job: run the clients as a person would: versions, resumed and partial downloads, conditions, compression, uploads with
100-continue and chunks and trailers, redirects, logins, many at once; compare the content byte by byte.
Used by `run`. Each check is a function whose name is the finding's id and whose doc says what must be. Not here: load.
"""

import datetime
import gzip
import json
import os
import re
import subprocess
from dataclasses import dataclass
from email.utils import format_datetime

from house import PAGE, RANGES
from together import together
from verdict import Verdict

DEADLINE_S = 20
LARGE = os.urandom(3 * 1024 * 1024)


@dataclass
class Got:
    """What curl got: exit code, content, heads (all of them, 1xx too), and its own account (`--write-out %{json}`)."""

    exit: int
    content: bytes
    heads: str
    facts: dict


class Client:
    """curl against one house, files of its own in a scratch folder."""

    def __init__(self, house):
        self.house, self.folder = house, house.folder / "client"
        self.folder.mkdir()
        self.plain = f"http://127.0.0.1:{house.plain}"
        self.prior = f"http://127.0.0.1:{house.prior}"
        self.secure = f"https://localhost:{house.secure}"

    def curl(self, *words, input=None):
        """One run of curl, without anybody's .curlrc."""
        heads = self.folder / "heads"
        heads.write_bytes(b"")
        command = ["curl", "--disable", "--silent", "--max-time", str(DEADLINE_S), "--cacert", str(self.house.authority),
                   "--dump-header", str(heads), "--write-out", "%{stderr}\nFACTS %{json}\n", *map(str, words)]
        done = subprocess.run(command, capture_output=True, input=input if input is not None else b"", timeout=DEADLINE_S + 10)
        facts = re.findall(r"^FACTS (.*)$", done.stderr.decode(errors="replace"), re.MULTILINE)
        return Got(done.returncode, done.stdout, heads.read_text(errors="replace"), json.loads(facts[-1]) if facts else {})

    def path(self, name, content=None):
        """A file of the client's, written when content is given."""
        path = self.folder / name
        if content is not None:
            path.write_bytes(content)
        return path

    def taken(self, name):
        """What the server holds of an upload."""
        return (self.house.folder / "taken" / name).read_bytes()


def run(house):
    """Every check."""
    client = Client(house)
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, timeout=10).stdout.split()[1]
    verdict = Verdict(len(CHECKS), f"curl {version} and nghttp")
    for check in CHECKS:
        try:
            check(client)
        except AssertionError as wrong:
            verdict.found(check.__name__, f"{wrong} ({check.__doc__})")
    return verdict


def same(got, want, what="content"):
    """Fails with both sides, shortened."""
    assert got == want, f"{what}: {str(got)[:120]!r}, wanted {str(want)[:120]!r}"


def answered(got, status, version=None):
    """Fails unless curl was content and the last answer has this status."""
    same((got.exit, got.facts.get("response_code")), (0, status), "exit code and status")
    if version:
        same(got.facts["http_version"], version, "version")
    return got


def http_1_1_and_1_0(client):
    """HTTP/1.1 as it comes; 1.0 is answered and the connection ends."""
    same(answered(client.curl(f"{client.plain}/page.html"), 200, "1.1").content.decode(), PAGE)
    old = answered(client.curl("--http1.0", f"{client.plain}/page.html"), 200)
    same(old.content.decode(), PAGE)
    assert "connection: close" in old.heads.lower(), old.heads


def http_2_by_alpn(client):
    """Over TLS HTTP/2 is chosen when offered, HTTP/1.1 when not."""
    same(answered(client.curl(f"{client.secure}/page.html"), 200, "2").content.decode(), PAGE)
    same(answered(client.curl("--http1.1", f"{client.secure}/page.html"), 200, "1.1").content.decode(), PAGE)


def http_2_by_prior_knowledge(client):
    """Cleartext HTTP/2 where the listener allows it, and only there."""
    same(answered(client.curl("--http2-prior-knowledge", f"{client.prior}/ranges.bin"), 200, "2").content, RANGES)
    assert client.curl("--http2-prior-knowledge", f"{client.plain}/page.html").exit != 0, "a plain listener spoke HTTP/2"


def upgrade_to_h2c_is_ignored(client):
    """The Upgrade that RFC 9113 took out is answered in HTTP/1.1."""
    same(answered(client.curl("--http2", f"{client.prior}/page.html"), 200, "1.1").content.decode(), PAGE)


def tls_1_2_and_1_3_only(client):
    """Both versions serve; 1.1 is refused in the handshake."""
    answered(client.curl("--tlsv1.2", "--tls-max", "1.2", f"{client.secure}/any"), 200)
    answered(client.curl("--tlsv1.3", f"{client.secure}/any"), 200)
    same(client.curl("--tlsv1.1", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", f"{client.secure}/any").exit, 35, "exit")


def connections_are_reused(client):
    """Three requests, one connection, in every protocol."""
    for base, word in [(client.plain, "--http1.1"), (client.secure, "--http1.1"), (client.secure, "--http2")]:
        got = client.curl(word, f"{base}/any", f"{base}/page.html", f"{base}/nowhere", "--output", "/dev/null",
                          "--output", "/dev/null", "--output", "/dev/null")
        same(got.facts["num_connects"], 0, f"new connections for the last of three ({base} {word})")


def many_at_once(client):
    """Sixty transfers in parallel over one HTTP/2 connection, each with its own content."""
    contents = together(client.house, ["/ranges.bin" if index % 2 else "/page.html" for index in range(60)])
    for index, content in enumerate(contents):
        same(content, RANGES if index % 2 else PAGE.encode(), f"transfer {index}")


def resumed_download(client):
    """`curl -C -` fetches what is missing, over each protocol."""
    for base in (client.plain, client.secure):
        part = client.path("part.bin", RANGES[:123_456])
        got = answered(client.curl("--continue-at", "-", "--output", part, f"{base}/ranges.bin"), 206)
        same(part.read_bytes(), RANGES, base)
        same(got.facts["size_download"], len(RANGES) - 123_456, "bytes fetched")


def ranges(client):
    """The first, the last, a middle, and one beyond the end."""
    for word, want in [("0-0", RANGES[:1]), ("-5", RANGES[-5:]), ("1000-1999", RANGES[1000:2000]), ("299999-", RANGES[-1:])]:
        same(answered(client.curl("--range", word, f"{client.plain}/ranges.bin"), 206).content, want, word)
    beyond = answered(client.curl("--range", "900000-", f"{client.plain}/ranges.bin"), 416)
    assert f"content-range: bytes */{len(RANGES)}" in beyond.heads, beyond.heads


def several_ranges(client):
    """`--range 0-9,100-109` comes as multipart/byteranges with just those bytes (RFC 9110 14.6)."""
    for base in (client.plain, client.secure):
        got = answered(client.curl("--range", "0-9,100-109", f"{base}/ranges.bin"), 206)
        boundary = re.search(r"content-type: multipart/byteranges; boundary=(\S+)", got.heads)[1].encode()
        opening, *parts, end = got.content.split(b"--" + boundary)
        same((opening.strip(), end.strip()), (b"", b"--"), "around the parts")
        bodies = [part.split(b"\r\n\r\n", 1) for part in parts]
        same([body.removesuffix(b"\r\n") for _, body in bodies], [RANGES[:10], RANGES[100:110]], "parts")
        assert all(b"content-range: bytes " in head.lower() for head, _ in bodies), bodies


def a_flood_of_ranges_is_not_multiplied(client):
    """A thousand overlapping ranges never cost more than the file (CVE-2011-3192)."""
    got = client.curl("--range", ",".join("0-" for _ in range(1000)), f"{client.plain}/ranges.bin")
    assert len(got.content) <= len(RANGES) + 1000, f"{len(got.content)} bytes, status {got.facts['response_code']}"


def modified_since(client):
    """`curl -z`: 304 without content when not newer, 200 when newer."""
    now = datetime.datetime.now(datetime.timezone.utc)
    for base in (client.plain, client.secure):
        later, earlier = (format_datetime(now + datetime.timedelta(days=days), usegmt=True) for days in (0, -400))
        same(answered(client.curl("--time-cond", later, f"{base}/page.html"), 304).content, b"")
        same(answered(client.curl("--time-cond", earlier, f"{base}/page.html"), 200).content.decode(), PAGE)


def etag_compared(client):
    """`--etag-save`, then `--etag-compare`: 304, with and without compression."""
    for words in ([], ["--compressed"]):
        tag = client.path("tag")
        answered(client.curl(*words, "--etag-save", tag, f"{client.plain}/page.html"), 200)
        answered(client.curl(*words, "--etag-compare", tag, f"{client.plain}/page.html"), 304)


def compressed(client):
    """`--compressed` unpacks to the same content and fetches less; each coding by itself too."""
    for base in (client.plain, client.secure):
        got = answered(client.curl("--compressed", f"{base}/page.html"), 200)
        same(got.content.decode(), PAGE)
        assert got.facts["size_download"] < len(PAGE) / 4, got.facts["size_download"]
        for coding in ("br", "gzip", "zstd"):
            got = answered(client.curl("--compressed", "--header", f"Accept-Encoding: {coding}", f"{base}/page.html"), 200)
            assert f"content-encoding: {coding}" in got.heads, f"{coding}: {got.heads}"
            same(got.content.decode(), PAGE, coding)
    stored = answered(client.curl("--header", "Accept-Encoding: gzip", f"{client.plain}/stored.txt"), 200)
    same(gzip.decompress(stored.content).decode(), PAGE, "stored form")


def upload_with_100_continue(client):
    """The body is asked for with 100 before it is sent; what arrives is what was sent."""
    body = client.path("large.bin", LARGE)
    got = answered(client.curl("--upload-file", body, "--header", "Expect: 100-continue", f"{client.plain}/taken/expected.bin"), 201)
    assert got.heads.startswith("HTTP/1.1 100 "), got.heads
    same(client.taken("expected.bin"), LARGE)


def upload_refused_before_the_body(client):
    """Too large: 413 in place of 100, and nothing of the body is sent."""
    body = client.path("huge.bin", bytes(9 * 1024 * 1024))
    got = client.curl("--upload-file", body, "--header", "Expect: 100-continue", f"{client.plain}/taken/huge.bin")
    same(got.facts["response_code"], 413, "status")
    same(got.facts["size_upload"], 0, "bytes sent")
    assert " 100 " not in got.heads, got.heads


def upload_in_chunks(client):
    """A body of unknown length, over each protocol."""
    for name, words, base in [("chunked", ["--http1.1"], client.plain), ("stream", ["--http2"], client.secure),
                              ("prior", ["--http2-prior-knowledge"], client.prior)]:
        url = f"{base}/taken/{name}.bin"
        answered(client.curl(*words, "--upload-file", "-", "--header", "Expect:", url, input=LARGE), 201)
        same(client.taken(f"{name}.bin"), LARGE, name)


def upload_with_trailers(client):
    """Trailers behind a body harm nothing (nghttp: HTTP/2), and a chunked body with them keeps the connection (RFC 9110 6.5)."""
    body = client.path("trailed.bin", LARGE)
    done = subprocess.run(
        ["nghttp", "--no-verify-peer", "--stat", f"--data={body}", "--trailer=x-sum: 1", "-H:method: PUT",
         f"{client.secure}/taken/trailed.bin"], capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    assert re.search(r"\b201\b", done.stdout), done.stdout + done.stderr
    same(client.taken("trailed.bin"), LARGE)


def upload_nobody_reads(client):
    """An address that answers without reading the body: the answer arrives whole, over each protocol."""
    body = client.path("large.bin", LARGE)
    for words, base in [(["--http1.1"], client.plain), (["--http2"], client.secure), (["--http2-prior-knowledge"], client.prior)]:
        got = client.curl(*words, "--data-binary", f"@{body}", "--header", "Expect:", f"{base}/")
        same((got.facts["response_code"], got.content), (200, b"posted\n"), base)
        got = client.curl(*words, "--data-binary", f"@{body}", "--header", "Expect:", f"{base}/page.html")
        same(got.facts["response_code"], 405, f"{base} {words}")


def redirects_are_followed(client):
    """301 and 308 lead there; 308 keeps the method."""
    same(answered(client.curl("--location", f"{client.plain}/moved/page.html"), 200).content.decode(), PAGE)
    got = answered(client.curl("--location", "--data", "x", f"{client.plain}/gone-to/any"), 200)
    same(got.content, b"any method is answered\n")


def login(client):
    """Basic authentication: right, wrong, none."""
    same(answered(client.curl("--user", "ana:secret", f"{client.secure}/private/page.html"), 200).content.decode(), PAGE)
    for words in (["--user", "ana:wrong"], ["--user", "bob:secret"], []):
        got = answered(client.curl(*words, f"{client.secure}/private/page.html"), 401)
        assert "www-authenticate: basic" in got.heads.lower(), got.heads


def head_and_options(client):
    """HEAD has the length and no content; OPTIONS * and OPTIONS of a file say what may be done."""
    for base in (client.plain, client.secure):
        got = answered(client.curl("--head", f"{base}/page.html"), 200)
        assert f"content-length: {len(PAGE)}" in got.heads, got.heads
        assert "allow: " in answered(client.curl("--request", "OPTIONS", f"{base}/page.html"), 204).heads
    answered(client.curl("--request", "OPTIONS", "--request-target", "*", client.plain), 204)


def paths_as_they_are(client):
    """No spelling leads out of the folder, over each protocol."""
    for base in (client.plain, client.secure):
        for path in ("/../madang.toml", "/listed/../../madang.toml", "/%2e%2e/madang.toml", "/..%2fmadang.toml",
                     "/..%5cmadang.toml", "/%2e%2e%2fmadang.toml", "/listed/..;/../../madang.toml"):
            got = client.curl("--path-as-is", f"{base}{path}")
            assert got.facts["response_code"] in (400, 404), f"{path}: {got.facts['response_code']}"
            assert b"[server]" not in got.content, path


CHECKS = [
    http_1_1_and_1_0, http_2_by_alpn, http_2_by_prior_knowledge, upgrade_to_h2c_is_ignored, tls_1_2_and_1_3_only,
    connections_are_reused, many_at_once, resumed_download, ranges, several_ranges, a_flood_of_ranges_is_not_multiplied,
    modified_since, etag_compared, compressed, upload_with_100_continue, upload_refused_before_the_body, upload_in_chunks,
    upload_with_trailers, upload_nobody_reads, redirects_are_followed, login, head_and_options, paths_as_they_are,
]
