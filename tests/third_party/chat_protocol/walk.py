"""A walk through everything the chat's protocol has: every request, every answer, every event and every error that can be had from outside.

Job: say it all once, between a few people in a few rooms, in an order in which each thing is there when the next needs it. Every frame is
judged by `talk` and `web`. Used by the suite. Not here: what a valid message is (`book`), what may never be said (`known.toml`).
"""

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import time

import httpx

from .talk import Talk
from .web import Web

SECRET, TOKEN = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
SETTINGS = """
[server]
data = "data"
workers = 2
[issuer.app]
secret = "{secret}"
audience = "town"
names = "plain"
roles_claim = "roles"
[site.main]
listen = "http://127.0.0.1:{port}"
route = [{{ path = "/chat/*", chat = "town" }}, {{ path = "/narrow/*", chat = "narrow" }}, {{ path = "/users/*", chat = "users" }}]
[chat.town]
rate = "1000/s"
burst = 10000
presence = "50ms"
files = {{ size = "2KiB", total = "1MiB" }}
[chat.town.posts.build]
room = "builds"
token = "{token}"
rate = "1/m"
burst = 3
[chat.narrow]
rate = "1/s"
burst = 2
files = {{ guests = false }}
rooms = {{ create = "admins", per_person = 2 }}
[chat.users]
guests = false
"""


class Odd(Exception):
    """An answer that is not the one that was wanted."""


def want(have, name):
    if have != name:
        raise Odd(f"wanted {name!r}, got {json.dumps(have, ensure_ascii=False)[:300]}")


def done(have):
    if isinstance(have, str):
        raise Odd(f"refused: {have}")
    return have


def token(name, lasts_s=600, **more):
    """A token of the issuer `app`."""
    def text(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
    claims = {"sub": name, "name": name, "aud": "town", "exp": int(time.time()) + lasts_s, **more}
    message = ".".join(text(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return f"{message}.{text(hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest())}"


def at_the_door(book, port):
    """Names, keys and tokens that are taken and that are not."""
    with Talk(book, port) as talk:
        want(talk.ask("ping"), "hello-first")
        want(talk.hello(name="not a name"), "bad-name")
        want(talk.hello(), "users-only")
        want(talk.hello(token="made up"), "bad-token")
        want(talk.hello(token=token("ana", -3600)), "token-expired")
        key = done(talk.hello(name="guest-of-honour"))["key"]
        want(talk.hello(name="again"), "hello-twice")
        with Talk(book, port) as other:
            want(other.hello(name="Guest-Of-Honour"), "name-taken")
            want(other.hello(name="guest-of-honour", key="00"), "bad-key")
            done(other.hello(name="guest-of-honour", key=key))
    with Talk(book, port, "users") as talk:
        want(talk.hello(name="mina"), "users-only")
        done(talk.hello(token=token("mina")))


def in_rooms(book, port):
    """What is said and done in rooms, and who may not."""
    with Talk(book, port) as ana, Talk(book, port) as ben, Talk(book, port) as again, Talk(book, port) as boss:
        done(ana.hello(token=token("ana")))
        done(ben.hello(name="ben"))
        done(again.hello(token=token("ana")))
        done(boss.hello(token=token("boss", roles=["admin"])))
        done(ana.ask("create", room="den", topic="ours"))
        want(ana.ask("create", room="den"), "room-taken")
        want(ana.ask("create", room="@ben"), "bad-room")
        done(ben.ask("join", room="den"))
        ana.hear("presence", room="den")
        done(again.ask("join", room="den"))
        first = done(ben.ask("send", room="den", text="hello @ana, 안녕", nonce="1"))
        ana.hear("message", offset=first["offset"])
        again_said = done(ben.ask("send", room="den", text="hello @ana, 안녕", nonce="1"))
        if again_said != {**first, "at_ms": again_said["at_ms"], "duplicate": True}:
            book.fault("duplicate", f"the same nonce is not the same message: {first}, then {again_said}")
        at = {"room": "den", "offset": first["offset"]}
        done(ana.ask("send", room="den", text="waves", nonce="2", reply=first["offset"], action=True))
        done(ben.ask("edit", **at, text="hello again", nonce="3"))
        ana.hear("edited", of=first["offset"])
        want(ana.ask("edit", **at, text="mine now", nonce="4"), "not-yours")
        done(ana.ask("react", **at, emoji="🙂", add=True, nonce="5"))
        done(ana.ask("react", **at, emoji="🙂", add=False, nonce="6"))
        want(ana.ask("react", **at, emoji="a b", add=True, nonce="7"), "bad-text")
        want(ben.ask("delete", room="den", offset=999, nonce="8"), "no-such-message")
        done(ben.ask("typing", room="den"))
        ana.hear("typing", room="den")
        done(ana.ask("read", **at))
        again.hear("read", room="den")
        done(ben.ask("away", text="tea"))
        ana.hear("away", text="tea")
        done(ana.ask("who", room="den"))
        done(ana.ask("whois", who="ben"))
        done(ben.ask("away"))
        want(ana.ask("whois", who="nobody"), "no-such-user")
        done(ana.ask("rooms"))
        done(ana.ask("search", words="again"))
        done(ana.ask("search", words="again", room="den", limit=1))
        page = done(ana.ask("search", words="hello OR waves", limit=1))
        if "before" in page:
            done(ana.ask("search", words="hello OR waves", limit=1, before=page["before"]))
        done(ben.ask("delete", **at, nonce="9"))
        ana.hear("deleted", of=first["offset"])
        past = done(ana.ask("history", room="den", after=0))
        for event in past["events"]:
            book.judge(f"event.{event['on']}", event)
        done(ana.ask("history", room="den", before=5, limit=2))
        want(ana.ask("history", room="nowhere"), "no-such-room")
        want(ana.ask("send", room="den", text=" ", nonce="10"), "bad-text")
        want(ana.ask("send", room="den", text="x" * 9000, nonce="11"), "too-long")
        want(ana.ask("send", room="den", text="", nonce="12", files=[file("elsewhere")]), "bad-file")
        people(ana, ben)
        order(ana, ben)
        closed_rooms(book, ana, ben)
        directly(ana, ben)
        want(ben.ask("announce", text="hear me", nonce="13"), "not-allowed")
        done(boss.ask("announce", text="hear me", nonce="14"))
        ben.hear("message", room="*")
        done(ana.ask("leave", room="den"))
        want(ana.ask("send", room="den", text="still here?", nonce="15"), "not-there")
        done(ana.ask("join", room="den", since={"epoch": past["epoch"], "offset": 2}))
        done(ben.ask("ping"))


def people(ana, ben):
    """Names, lines about oneself, whose coming and going is told."""
    done(ben.ask("about", text="likes tea"))
    ana.hear("about", text="likes tea")
    done(ben.ask("about"))
    done(ben.ask("rename", name="benny"))
    ana.hear("renamed", name="benny")
    done(ben.ask("rename", name="ben"))
    want(ben.ask("rename", name="not a name"), "bad-name")
    done(ana.ask("whowas", who="benny"))
    done(ana.ask("watch", who=["dana", "ben"]))
    with Talk(ana.book, ana.port) as dana:
        done(dana.hello(name="dana"))
        ana.hear("watched", here=True)
    ana.hear("watched", here=False)
    done(ana.ask("read", room="den"))


def order(ana, ben):
    """Keeping order in `den`: ana owns it."""
    want(ben.ask("kick", room="den", who="ana"), "not-allowed")
    done(ana.ask("set", room="den"))
    done(ana.ask("set", room="den", topic="quiet please", slow_ms=60_000))
    ben.hear("settings", slow_ms=60_000)
    done(ben.ask("send", room="den", text="one", nonce="20"))
    want(ben.ask("send", room="den", text="two", nonce="21"), "slow-mode")
    done(ana.ask("set", room="den", slow_ms=0))
    done(ana.ask("mute", room="den", who="ben", why="hush", minutes=1))
    want(ben.ask("send", room="den", text="but", nonce="22"), "muted")
    done(ana.ask("unmute", room="den", who="ben"))
    for role in ("member", "moderator", "owner", "none"):
        done(ana.ask("role", room="den", who="ben", role=role))
    done(ana.ask("kick", room="den", who="ben", why="out"))
    ben.hear("left", room="den")
    done(ben.ask("join", room="den"))
    done(ana.ask("ban", room="den", who="ben", why="out for good", minutes=5))
    want(ben.ask("join", room="den"), "banned")
    done(ana.ask("bans", room="den"))
    done(ana.ask("unban", room="den", who="ben"))
    done(ana.ask("mute", room="den", who="ben"))
    done(ana.ask("unmute", room="den", who="ben"))
    done(ben.ask("join", room="den"))


def closed_rooms(book, ana, ben):
    """Rooms that one must be let into."""
    done(ana.ask("create", room="attic", private=True))
    want(ben.ask("join", room="attic"), "private")
    done(ana.ask("create", room="cellar", invite_only=True))
    want(ben.ask("join", room="cellar"), "invite-only")
    done(ana.ask("invite", room="attic", who="ben"))
    ben.hear("joined", room="attic")


def directly(ana, ben):
    """Two people alone."""
    done(ana.ask("send", room="@ben", text="psst", nonce="30"))
    ben.hear("joined", room="@ana")
    done(ben.ask("send", room="@ana", text="psst?", nonce="31"))
    ana.hear("message", room="@ben", text="psst?")


def narrow(book, port):
    """What is bounded."""
    with Talk(book, port, "narrow") as boss, Talk(book, port, "narrow") as cas:
        done(boss.hello(token=token("boss", roles=["admin"])))
        done(boss.ask("create", room="one"))
        done(cas.hello(name="cas"))
        want(cas.ask("create", room="two"), "not-allowed")
        done(cas.ask("join", room="one"))
        for nonce in "123":
            answer = cas.ask("send", room="one", text="x", nonce=nonce)
        want(answer, "too-fast")
    with Talk(book, port, "narrow") as boss:
        done(boss.hello(token=token("boss", roles=["admin"])))
        for room in ("one", "three", "four"):
            answer = boss.ask("join", room=room)
        want(answer, "full")


def by_http(book, port):
    """The plain faces."""
    web, say = Web(book, port), {"text": "by post", "name": "cron"}
    with Talk(book, port) as talk:
        key = done(talk.hello(name="uploader"))["key"]
        done(talk.ask("join", room="lobby"))
        book.judge("post.message", {**say, "nonce": "1"})
        for status in (201, 200):
            have(web.ask("POST", "/rooms/lobby/messages", json={**say, "nonce": "1"}), status)
        have(web.ask("POST", "/rooms/lobby/messages", json={"text": "as ana", "nonce": "2"}, headers=bearer("ana")), 201)
        have(web.ask("POST", "/rooms/lobby/messages", json={"text": "x", "nonce": "3"}), 401)
        have(web.ask("POST", "/rooms/lobby/messages", json={**say, "nonce": "3", "more": 1}), 400)
        have(web.ask("POST", "/rooms/nowhere/messages", json={**say, "nonce": "4"}), 404)
        have(web.ask("POST", "/rooms/attic/messages", json={**say, "nonce": "4"}), 403)
        have(web.ask("POST", "/rooms/lobby/messages", json={"text": "x", "name": "uploader", "nonce": "5"}), 409)
        have(web.ask("POST", "/rooms/lobby/messages", content=b"x" * 70_000), 413)
        have(web.ask("GET", "/rooms"), 200)
        have(web.ask("GET", "/rooms/lobby/messages?limit=2"), 200)
        have(web.ask("GET", "/rooms/lobby/messages?limit=201"), 400)
        have(web.ask("GET", "/rooms/attic/messages"), 403)
        have(web.ask("GET", "/rooms/nowhere/messages"), 404)
        have(web.ask("GET", "/rooms/lobby/messages", headers={"authorization": "Bearer x"}), 401)
        guest = {"madang-key": key, "content-type": "text/plain"}
        answer = web.ask("POST", "/files?name=a%20b.txt", content=b"hello", headers=guest)
        have(answer, 201)
        sent = done(talk.ask("send", room="lobby", text="", nonce="6", files=[answer.json()]))
        web_file = answer.json()["url"].split("/")
        have(web.ask("GET", f"/files/{web_file[1]}/{web_file[2]}"), 200)
        have(web.ask("GET", f"/files/{web_file[1]}/{web_file[2]}", headers={"range": "bytes=1-2"}), 206)
        have(web.ask("GET", f"/files/{web_file[1]}/{web_file[2]}", headers={"range": "bytes=9-"}), 416)
        have(web.ask("GET", f"/files/{'0' * 32}/x"), 404)
        have(web.ask("POST", "/files?name=a.txt", content=b"hello"), 401)
        have(web.ask("POST", "/files?name=a.txt", content=b"", headers=guest), 400)
        have(web.ask("POST", "/files?name=a.txt", content=b"x" * 4000, headers=guest), 413)
        uploads_at_once(web, port, guest)
        place = web.follow("/rooms/lobby/events?since=" + f"{sent['epoch']}:0", "files/")
        done(talk.ask("send", room="lobby", text="later", nonce="7"))
        web.follow("/rooms/lobby/events", "later", headers={"last-event-id": place})
        have(web.ask("GET", "/rooms/lobby/events?since=x"), 400)
        have(Web(book, port, "narrow").ask("GET", "/rooms/nowhere/events"), 404)
        have(web.ask("GET", "/rooms/attic/events"), 403)
    book.judge("post.hook", {"text": "built"})
    have(web.ask("POST", f"/hooks/{TOKEN}", json={"text": "built", "icon": "x"}), 201)
    have(web.ask("POST", f"/hooks/{TOKEN}", json={"text": "again", "nonce": "1"}), 201)
    have(web.ask("POST", f"/hooks/{TOKEN}", json={"text": "again", "nonce": "1"}), 200)
    have(web.ask("POST", f"/hooks/{TOKEN}", json={"text": "too much"}), 429)
    have(web.ask("POST", f"/hooks/{TOKEN}", json={}), 400)
    have(web.ask("POST", f"/hooks/{TOKEN[::-1]}", json={"text": "x"}), 401)
    have(Web(book, port, "narrow").ask("POST", "/files?name=a", content=b"x", headers={"content-type": "text/plain"}), 401)
    for name, document in (("protocol.json", book.asyncapi), ("openapi.json", book.openapi)):
        if httpx.get(f"{web.base}/{name}").json() != document:
            book.fault(name, "what is served is not what `madang schema` prints")


def uploads_at_once(web, port, guest):
    """As many uploads as may be are under way: one more is refused as `busy`."""
    head = "".join(f"{name}: {value}\r\n" for name, value in guest.items())
    begun = []
    try:
        for _ in range(48):  # 16 on each of two workers, and some for chance
            one = socket.create_connection(("127.0.0.1", port), timeout=20)
            begun.append(one)
            one.sendall(f"POST /chat/files?name=a HTTP/1.1\r\nhost: localhost\r\n{head}content-length: 9\r\n\r\nx".encode())
        have(web.ask("POST", "/files?name=a.txt", content=b"hello", headers=guest), 503)
    finally:
        for one in begun:
            one.close()


FULL = """
[server]
data = "full"
workers = 1
[store]
size_max = "1MiB"
[site.main]
listen = "http://127.0.0.1:{port}"
route = [{{ path = "/chat/*", chat = "town" }}]
[chat.town]
rate = "1000/s"
burst = 10000
"""


def a_full_store(book, port):
    """Messages until there is no room for another: what is refused was not kept, and is said so."""
    with Talk(book, port) as talk:
        done(talk.hello(name="gil"))
        done(talk.ask("join", room="lobby"))
        for nonce in range(400):
            answer = talk.ask("send", room="lobby", text=f"{nonce} " + "x" * 8000, nonce=str(nonce))
            if isinstance(answer, str):
                break
        want(answer, "store-full")


def the_end(book, server, port):
    """The server ends while people are there: `shutting-down`, or a close that says so."""
    with Talk(book, port) as talk:
        done(talk.hello(name="last"))
        done(talk.ask("join", room="lobby"))
        os.kill(server.pid, signal.SIGTERM)
        try:
            for nonce in range(2000):
                talk.ask("send", room="lobby", text="x", nonce=f"end{nonce}")
        except Exception as ended:  # the connection's end is what we wait for
            code = getattr(getattr(ended, "rcvd", None), "code", None)
            if code != 1001:
                book.fault("the end", f"the server ended and the connection with {code}: {ended!r}")
            book.seen.add(f"close {code}")


def have(answer, status):
    if answer.status_code != status:
        raise Odd(f"wanted {status}, got {answer.status_code}: {answer.text[:300]} to {answer.request.method} {answer.request.url}")


def bearer(name):
    return {"authorization": f"Bearer {token(name)}"}


def file(where):
    return {"name": "a.png", "url": f"{where}/a.png", "bytes": 1, "type": "image/png"}


STEPS = [at_the_door, in_rooms, narrow, by_http]
