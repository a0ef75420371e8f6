"""Requests that hypothesis makes from the schema, and the same with one thing wrong.

Job: what is valid by the schema is never `malformed`; what is changed so that it is not is refused by the error that the schema names for it
(`malformed` where it names none). Used by the suite. Calls `talk`. Not here: requests that mean something (`walk`).
"""

import json
import random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis_jsonschema import from_schema

from .talk import Talk
from .walk import token

VALID_EACH, FAULTS_MAX = 40, 60
# What each type is not.
OTHERS = {"string": [7, True, ["x"], {"x": 1}], "integer": ["7", 1.5, True, -1, [7]], "boolean": ["true", 1, []], "array": ["x", 7, {}],
          "object": ["x", 7, [1, 2]]}
# A request of each kind that means something, for faults to be put into. `epoch` and offsets are those of a room that is made for it.
GOOD = {
    "hello": {"name": "somebody"}, "join": {"since": {"epoch": 1, "offset": 1}}, "leave": {}, "typing": {}, "who": {}, "rooms": {}, "ping": {},
    "send": {"text": "x", "nonce": "n", "reply": 1, "action": False,
             "files": [{"name": "a", "url": "files/0/a", "bytes": 1, "type": "image/png"}]},
    "edit": {"offset": 1, "text": "x", "nonce": "n"}, "delete": {"offset": 999, "nonce": "n"},
    "react": {"offset": 1, "emoji": "x", "add": True, "nonce": "n"}, "history": {"before": 5, "limit": 5}, "search": {"words": "x", "limit": 5},
    "whois": {"who": "ana"}, "read": {"offset": 1}, "create": {"topic": "x", "private": False, "invite_only": False},
    "set": {"topic": "x", "slow_ms": 0}, "role": {"who": "ana", "role": "member"}, "invite": {"who": "ana"}, "kick": {"who": "ana", "why": "x"},
    "ban": {"who": "nobody", "why": "x", "minutes": 1}, "unban": {"who": "ana"}, "mute": {"who": "nobody", "why": "x", "minutes": 1},
    "unmute": {"who": "ana"}, "announce": {"text": "x", "nonce": "n"}, "away": {"text": "x"},
    "rename": {"name": "ann"}, "about": {"text": "x"}, "watch": {"who": ["ben"]}, "whowas": {"who": "ben"}, "bans": {},
}


class Speaker:
    """Somebody who comes back whenever so many faults were made that the server would end it."""

    def __init__(self, book, port):
        self.book, self.port, self.talk, self.faults = book, port, None, 0

    def say(self, request, known=True):
        """Sends what may be wrong; gives the error's name, or `ok`."""
        if self.talk is None or self.faults >= FAULTS_MAX:
            self.end()
            self.talk, self.faults = Talk(self.book, self.port), 0
            if known:
                self.talk.hello(token=token("ana", roles=["admin"]))
        text = request if isinstance(request, str) else json.dumps(request)
        id = request.get("id") if isinstance(request, dict) else None
        good = isinstance(id, int) and not isinstance(id, bool) and 1 <= id < 2**53 and isinstance(request.get("do"), str)
        if good:
            self.talk.asked[id] = request["do"]
        self.talk.socket.send(text)
        # What has no number that can be read is answered with 0; a wrong `do` may be of either kind.
        came = self.talk.until(lambda came: "on" not in came and (came.get("id") in ((id, 0) if good else (0, id))))
        answer = self.talk.of(came)
        self.faults += isinstance(answer, str)
        return answer if isinstance(answer, str) else "ok"

    def end(self):
        if self.talk:
            self.talk.socket.close()
            self.talk = None


def valid(book, port):
    """Requests made from the schema alone."""
    for name in book.requests:
        speaker = Speaker(book, port)
        schema = {**book.schemas[f"request.{name}"], "components": {"schemas": book.schemas}}

        @seed(20261121)
        @settings(max_examples=VALID_EACH, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(from_schema(inlined(schema, book.schemas)))
        def check(request):
            book.judge(f"request.{name}", request)
            # By the schema 64 characters; by its description 64 bytes.
            if len(request.get("nonce", "").encode()) > 64 or len(json.dumps(request)) > 60_000:
                return
            answer = speaker.say(request, known=name != "hello")
            book.checks += 1
            if answer == "malformed":
                book.fault(f"valid {name}", f"{json.dumps(request, ensure_ascii=False)[:300]} was called malformed")
            if name == "hello" and answer == "ok":
                speaker.end()

        check()
        speaker.end()


def inlined(schema, all):
    """Without references: the generator resolves them slowly."""
    if isinstance(schema, list):
        return [inlined(one, all) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(all[schema["$ref"].rpartition("/")[2]], all)
    plain = {name: inlined(below, all) for name, below in schema.items() if name not in ("components", "description", "not") and not name.startswith("x-")}
    both = plain.pop("allOf", [])
    if "before" in plain.get("properties", {}) and "after" in plain["properties"]:
        del plain["properties"]["after"]  # one or the other
    return {**both[0], **plain} if len(both) == 1 else plain


def spoilt(book, port):
    """One fault in each place of each request."""
    chance, speaker = random.Random(5), Speaker(book, port)
    speaker.say({"do": "create", "id": 1, "room": "shed"})
    speaker.say({"do": "join", "id": 2, "room": "shed"})
    for name in book.requests:
        schema = book.schemas[f"request.{name}"]
        request = {"do": name, "id": 1, **({"room": "shed"} if "room" in schema["properties"] else {}), **GOOD[name]}
        if name == "search":
            request.pop("room")
        book.judge(f"request.{name}", request)
        for fault, wrong, names in faults(request, schema, book.schemas, chance):
            hello = name == "hello"
            if hello:
                speaker.end()
            answer = speaker.say(wrong, known=not hello)
            book.checks += 1
            if name == "rename" and names != {"malformed"}:
                names = names | {"not-allowed"}  # ana has an account: she is called as it is
            if answer not in names:
                book.fault(f"spoilt {name}", f"{fault}: {json.dumps(wrong, ensure_ascii=False)[:300]} was answered {answer}, wanted {names}")
            if hello:
                speaker.end()
    for text in ("", "[]", "7", "null", '"ping"', '["ping",1]', '{"do":"ping","id":1}x', '{"do":"ping","id":1,"id":2}', "{" * 200, '{"do":"ping"'):
        book.checks += 1
        if speaker.say(text) != "malformed":
            book.fault("spoilt text", f"{text} was not called malformed")
    speaker.end()


def faults(request, schema, all, chance):
    """(what, the request with it, the names of errors that are right)."""
    malformed = {"malformed"}
    yield "a field that is not known", {**request, "colour": 1}, malformed
    yield "no object", [request], malformed
    for name in schema["required"]:
        yield f"without {name}", {field: value for field, value in request.items() if field != name}, malformed
    for name, field in schema["properties"].items():
        field = whole(field, all)
        kinds = field.get("type", "string")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if name != "do":
            for other in wrong_types(kinds):
                yield f"{name} of another type", {**request, name: other}, malformed
        for other in out_of_range(field, chance):
            yield f"{name} out of range", {**request, name: other}, {field.get("x-refused-as", "malformed")}
        if "object" in kinds and name in request:
            for fault, wrong, names in faults(request[name], field, all, chance):
                yield f"{name}: {fault}", {**request, name: wrong}, names
        if "array" in kinds and name in request:
            item = whole(field["items"], all)
            for fault, wrong, names in faults(request[name][0], item, all, chance) if item["type"] == "object" else ():
                yield f"{name}: {fault}", {**request, name: [wrong]}, names
            yield f"{name}: too many", {**request, name: request[name] * (field["maxItems"] + 1)}, {field["x-refused-as"]}


def whole(field, all):
    """A field with what it refers to."""
    for several in ("allOf", "anyOf"):
        if several in field:
            field = {**field, **next((one for one in field[several] if one.get("type") != "null"), {})}
    return {**field, **all[field["$ref"].rpartition("/")[2]]} if "$ref" in field else field


def wrong_types(kinds):
    return [other for kind in kinds for other in OTHERS.get(kind, []) if not any(is_of(other, kind) for kind in kinds)]


def is_of(value, kind):
    kinds = {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, kinds[kind])


def out_of_range(field, chance):
    """Just outside, and somewhere far outside."""
    if "minimum" in field:
        yield field["minimum"] - 1
    if "maximum" in field:
        yield field["maximum"] + 1
        yield field["maximum"] + chance.randrange(2, 2**53)
    if field.get("minLength", 0) > 0:
        yield "x" * (field["minLength"] - 1)
    if "maxLength" in field:
        yield "x" * (field["maxLength"] + 1)
    if "pattern" in field:
        yield "x"
    if "oneOf" in field or "enum" in field:
        yield "king"
