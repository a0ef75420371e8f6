"""People's clients through the proxy to a real app: curl, httpx, aiohttp, websockets, node's fetch and ws.

Job: each client as its users use it - every version of HTTP, uploads with and without a length, with Expect, refused early,
downloads whole, in ranges, resumed, streamed, websockets with texts, bytes, fragments, pings and closing codes - and compare
what arrived on either side byte by byte. Used by `run`. Not here: browsers (`browser_suite`), files that Madang serves itself
(`client_suite`).
"""

import asyncio
import hashlib
import json
import os
import ssl
import subprocess
from pathlib import Path

import aiohttp
import httpx
import websockets
from websockets.sync.client import connect

from client_suite import LARGE, Client, answered, same
from house import RANGES
from proxied import proxied
from together import together
from verdict import Verdict

STREAMED = b"".join(f"piece {number}\n".encode() * 1000 for number in range(20))
NODE = Path(__file__).with_name("node_client.js")
DEADLINE_S = 60


def run(house):
    """Every check."""
    with proxied(house, "proxied") as here:
        client = Client(here)
        checks = CHECKS_BY_CURL + CHECKS_BY_OTHERS
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=10).stdout.strip()
        verdict = Verdict(
            len(checks), f"curl, httpx {httpx.__version__}, aiohttp {aiohttp.__version__}, websockets {websockets.__version__}, node {node}")
        for check in checks:
            try:
                check(client if check in CHECKS_BY_CURL else here)
            except (AssertionError, OSError, httpx.HTTPError, aiohttp.ClientError, websockets.WebSocketException,
                    subprocess.SubprocessError, asyncio.TimeoutError) as wrong:
                verdict.found(check.__name__, f"{type(wrong).__name__}: {wrong} ({check.__doc__})")
    return verdict


def told(content):
    """The app's account of a request."""
    return json.loads(content)


def trust(here):
    """What a client believes: each gets its own, for some write into it what they speak."""
    return ssl.create_default_context(cafile=here.authority)


def taken(account, content, method):
    """Fails unless the app got this content by this method."""
    same((account["method"], account["length"], account["sha256"]), (method, len(content), hashlib.sha256(content).hexdigest()))


def curl_versions(client):
    """HTTP/1.1, 1.0, 2 by ALPN, 2 by prior knowledge: one request, one account of it, one host, our forwarding fields."""
    for words, base, version in [(["--http1.1"], client.plain, "1.1"), (["--http1.0"], client.plain, None), (["--http2"], client.secure, "2"),
                                 (["--http1.1"], client.secure, "1.1"), (["--http2-prior-knowledge"], client.prior, "2")]:
        got = answered(client.curl(*words, f"{base}/any?q=%2F", "--header", "X-Forwarded-For: 6.6.6.6"), 200, version)
        account = told(got.content)
        same((account["method"], account["path"], account["version"]), ("GET", "/any?q=%2F", "1.1"), base)
        fields = [(name.lower(), value) for name, value in account["fields"]]
        same([value for name, value in fields if name == "x-forwarded-for"], ["127.0.0.1"], base)
        same([value for name, value in fields if name == "host"], [base.split("//")[1]], base)


def curl_uploads(client):
    """By length, in chunks, with Expect, over each protocol; PUT, POST and an empty POST."""
    body = client.path("large.bin", LARGE)
    for words, base in [(["--http1.1"], client.plain), (["--http2"], client.secure), (["--http2-prior-knowledge"], client.prior)]:
        got = answered(client.curl(*words, "--upload-file", body, "--header", "Expect:", f"{base}/any"), 200)
        taken(told(got.content), LARGE, "PUT")
        got = answered(client.curl(*words, "--upload-file", "-", "--header", "Expect:", f"{base}/any", input=LARGE), 200)
        taken(told(got.content), LARGE, "PUT")
        got = answered(client.curl(*words, "--request", "POST", "--data-binary", "", f"{base}/any"), 200)
        taken(told(got.content), b"", "POST")
    got = answered(client.curl("--upload-file", body, "--header", "Expect: 100-continue", f"{client.plain}/any"), 200)
    taken(told(got.content), LARGE, "PUT")
    assert got.heads.startswith("HTTP/1.1 100 "), got.heads


def curl_upload_refused(client):
    """An app that answers without reading: the answer arrives, with Expect and without, over each protocol."""
    body = client.path("large.bin", LARGE)
    for words, base in [(["--http1.1"], client.plain), (["--http2"], client.secure), (["--http2-prior-knowledge"], client.prior)]:
        for expect in ("Expect:", "Expect: 100-continue"):
            got = client.curl(*words, "--data-binary", f"@{body}", "--header", expect, f"{base}/refuse")
            same((got.facts["response_code"], got.content), (403, b"not wanted\n"), f"{base} {expect}")


def curl_downloads(client):
    """Whole, in ranges, resumed, streamed, HEAD, 304, over each protocol."""
    for words, base in [(["--http1.1"], client.plain), (["--http1.0"], client.plain), (["--http2"], client.secure), (["--http2-prior-knowledge"], client.prior)]:
        url = f"{base}/files/large.bin"
        same(answered(client.curl(*words, url), 200).content, RANGES, base)
        same(answered(client.curl(*words, f"{base}/stream"), 200).content, STREAMED, base)
        same(answered(client.curl(*words, "--range", "1000-1999", url), 206).content, RANGES[1000:2000], base)
        part = client.path("part.bin", RANGES[:123_456])
        answered(client.curl(*words, "--continue-at", "-", "--output", part, url), 206)
        same(part.read_bytes(), RANGES, base)
        head = answered(client.curl(*words, "--head", url), 200)
        assert f"content-length: {len(RANGES)}" in head.heads.lower(), head.heads
        tag = client.path("tag")
        answered(client.curl(*words, "--etag-save", tag, url), 200)
        answered(client.curl(*words, "--etag-compare", tag, url), 304)


def curl_keeps_its_connection(client):
    """Three requests to the app over one connection, an upload among them."""
    body = client.path("large.bin", LARGE)
    for word, base in [("--http1.1", client.plain), ("--http2", client.secure)]:
        got = client.curl(word, f"{base}/any", "--output", "/dev/null", "--next", word, "--cacert", str(client.house.authority), "--upload-file", body,
                          f"{base}/any", "--output", "/dev/null", "--next", word, "--silent", "--cacert", str(client.house.authority),
                          "--write-out", "%{stderr}\nFACTS %{json}\n", f"{base}/stream")
        same(got.facts["num_connects"], 0, f"new connections for the last of three ({base})")


def httpx_both_versions(here):
    """HTTP/1.1 and HTTP/2, verified: accounts, uploads from a generator, streamed downloads, many at once."""
    def pieces():
        for start in range(0, len(LARGE), 100_000):
            yield LARGE[start:start + 100_000]
    for two in (False, True):
        with httpx.Client(http1=not two, http2=two, verify=trust(here), base_url=f"https://localhost:{here.secure}", timeout=DEADLINE_S) as client:
            got = client.post("/any", content=pieces())
            same(got.http_version, "HTTP/2" if two else "HTTP/1.1", "version")
            taken(got.json(), LARGE, "POST")
            with client.stream("GET", "/stream") as streamed:
                same(b"".join(streamed.iter_bytes()), STREAMED, "stream")
            same([client.get(f"/any?{index}").json()["path"] for index in range(20)], [f"/any?{index}" for index in range(20)])


def sixty_at_once(here):
    """Sixty downloads at once over one connection."""
    same({content == RANGES for content in together(here, ["/files/large.bin"] * 60)}, {True}, "sixty transfers")


def aiohttp_client(here):
    """Fifty requests at once, an upload from a generator, a websocket with texts, bytes, a subprotocol and a closing code."""
    async def talk():
        async def pieces():
            for start in range(0, len(LARGE), 77_777):
                yield LARGE[start:start + 77_777]
        limits = aiohttp.ClientTimeout(total=DEADLINE_S)
        for base, tls in ((f"http://127.0.0.1:{here.plain}", None), (f"https://localhost:{here.secure}", trust(here))):
            async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(ssl=tls or True)) as session:
                async def path(index):
                    async with session.get(f"{base}/any?{index}") as got:
                        return (await got.json())["path"]
                same(await asyncio.gather(*(path(index) for index in range(50))), [f"/any?{index}" for index in range(50)])
                async with session.put(f"{base}/any", data=pieces(), expect100=True) as got:
                    taken(await got.json(), LARGE, "PUT")
                async with session.ws_connect(f"{base}/socket", protocols=("echo.v1",), max_msg_size=0) as socket:
                    same(socket.protocol, "echo.v1", "subprotocol")
                    await socket.send_str("마당")
                    same(await socket.receive_str(), "마당")
                    await socket.send_bytes(LARGE)
                    same(await socket.receive_bytes(), LARGE)
                    await socket.send_str("bye")
                    await socket.receive()
                    same(socket.close_code, 4321, "closing code")
    asyncio.run(asyncio.wait_for(talk(), DEADLINE_S))


def websockets_client(here):
    """Compressed and plain, fragments, pings, a message of 3 MiB, a thousand small ones without a pause, a closing code."""
    for address, tls in ((f"ws://127.0.0.1:{here.plain}/socket", None), (f"wss://localhost:{here.secure}/socket", trust(here))):
        for compression in ("deflate", None):
            with connect(address, ssl=tls, compression=compression, max_size=None, open_timeout=DEADLINE_S) as socket:
                socket.send("hello")
                same(socket.recv(DEADLINE_S), "hello")
                socket.send(["frag", "ment", "s"])
                same(socket.recv(DEADLINE_S), "fragments")
                socket.send(LARGE)
                same(socket.recv(DEADLINE_S), LARGE)
                assert socket.ping().wait(DEADLINE_S), "no pong"
                for index in range(1000):
                    socket.send(str(index))
                same([socket.recv(DEADLINE_S) for _ in range(1000)], [str(index) for index in range(1000)])
                socket.send("bye")
                try:
                    socket.recv(DEADLINE_S)
                except websockets.ConnectionClosed as closed:
                    same((closed.rcvd.code, closed.rcvd.reason), (4321, "as you wish"), "closing code")


def node_client(here):
    """node: fetch (a download, an upload from a stream, fifty at once) and ws (text, bytes, closing code), plain and TLS."""
    for http, ws in ((f"http://127.0.0.1:{here.plain}", f"ws://127.0.0.1:{here.plain}"), (f"https://localhost:{here.secure}", f"wss://localhost:{here.secure}")):
        done = subprocess.run(["node", str(NODE), http, ws], capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
                              env={**os.environ, "NODE_EXTRA_CA_CERTS": str(here.authority), "NODE_PATH": "/usr/share/nodejs"})
        same((done.returncode, done.stdout.strip()), (0, "all well"), done.stderr[-400:])


CHECKS_BY_CURL = [curl_versions, curl_uploads, curl_upload_refused, curl_downloads, curl_keeps_its_connection]
CHECKS_BY_OTHERS = [httpx_both_versions, sixty_at_once, aiohttp_client, websockets_client, node_client]
