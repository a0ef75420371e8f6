#!/usr/bin/env python3
"""A chat server just good enough for the crash drill, that can be told to fail in one way: the drill has to find it out.

Started as the real one is: `pretender.py run -c FOLDER/madang.toml`. Keeps its logs in a file beside the settings, as JSON lines.
FAULT in the environment: `forget` (acknowledges one message in 40 without keeping it), `twice` (keeps one in 40 twice), `skip`
(does not tell anybody one entry in 40), `early` (acknowledges before it writes: what it had in hand dies with it), or nothing.
"""

import asyncio
import base64
import hashlib
import json
import os
import re
import sys
from pathlib import Path

SETTINGS = Path(sys.argv[3])
LOG = SETTINGS.parent / "log.jsonl"
FAULT = os.environ.get("FAULT", "")
LOGS, NONCES, LISTENERS, UNWRITTEN = {}, {}, {}, []


def conversation(room, me):
    """The same for both sides of a talk."""
    return " ".join(sorted([me, room[1:]])) if room.startswith("@") else room


def take(entry):
    """Knows an entry from now on."""
    LOGS.setdefault(entry["where"], []).append(entry)
    NONCES[entry["by"], entry["nonce"]] = entry["offset"]


def keep(where, by, nonce, text):
    """Writes one message and tells everybody; gives its offset."""
    offset = len(LOGS.setdefault(where, [])) + 1
    entry = {"where": where, "offset": offset, "by": by, "nonce": nonce, "text": text}
    UNWRITTEN.append(json.dumps(entry) + "\n")
    if FAULT != "early" or len(UNWRITTEN) > 50:
        with open(LOG, "a", encoding="utf-8") as log:
            log.write("".join(UNWRITTEN))
        UNWRITTEN.clear()
    take(entry)
    for name, tell in list(LISTENERS.get(where, {}).items()):
        if FAULT != "skip" or offset % 40:
            tell(event(entry, name))
    return offset


def event(entry, me):
    """An entry as this reader sees it."""
    where, by = entry["where"], entry["by"]
    room = where if " " not in where else "@" + next(name for name in where.split(" ") if name != me)
    return {"on": "message", "room": room, "epoch": 1, "offset": entry["offset"], "at_ms": 1, "by": {"id": by, "name": by},
            "text": entry["text"]}


def answer(tell, me, ask):
    """Does what one request asks for."""
    what, where = ask["do"], conversation(ask["room"], me)
    log = LOGS.setdefault(where, [])
    ok = {"room": ask["room"], "epoch": 1}
    if what == "join":
        since = ask.get("since", {"offset": len(log)})["offset"]
        tell({"id": ask["id"], "ok": ok | {"first": 1, "next": since + 1, "end": len(log) + 1, "reset": False}})
        LISTENERS.setdefault(where, {})[me] = tell
        for entry in log[since:]:
            tell(event(entry, me))
        return
    if what == "history":
        page = log[ask["after"]:ask["after"] + ask["limit"]]
        ok |= {"events": [event(entry, me) for entry in page], "more": ask["after"] + ask["limit"] < len(log)}
    elif (me, ask["nonce"]) in NONCES:
        ok |= {"offset": NONCES[me, ask["nonce"]], "at_ms": 1, "duplicate": True}
    elif FAULT == "forget" and len(NONCES) % 40 == 39:
        NONCES[me, ask["nonce"]] = len(log) + 1
        ok |= {"offset": len(log) + 1, "at_ms": 1, "duplicate": False}
    else:
        offset = keep(where, me, ask["nonce"], ask["text"])
        if FAULT == "twice" and offset % 40 == 39:
            keep(where, me, ask["nonce"], ask["text"])
        ok |= {"offset": offset, "at_ms": 1, "duplicate": False}
    tell({"id": ask["id"], "ok": ok})


async def frames(reader):
    """What a client says, whole frame by whole frame."""
    while True:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        mask, masked = await reader.readexactly(4), await reader.readexactly(length)
        if first & 0x0F == 8:
            return
        yield bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))


async def serve(reader, writer):
    """One connection."""
    me = None

    def tell(what):
        text = json.dumps(what).encode()
        head = bytes([0x81, len(text)]) if len(text) < 126 else bytes([0x81, 126]) + len(text).to_bytes(2, "big")
        if len(text) > 0xFFFF:
            head = bytes([0x81, 127]) + len(text).to_bytes(8, "big")
        writer.write(head + text)

    try:
        head = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        async for text in frames(reader):
            ask = json.loads(text)
            if ask["do"] == "hello":
                me = ask["name"]
                tell({"id": ask["id"], "ok": {"key": "k" + me}})
            else:
                answer(tell, me, ask)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    for listeners in LISTENERS.values():
        if listeners.get(me) is tell:
            del listeners[me]
    writer.close()


async def main():
    if LOG.exists():
        # A kill may leave half a line.
        whole = LOG.read_bytes().rpartition(b"\n")
        os.truncate(LOG, len(whole[0] + whole[1]))
        for line in whole[0].decode().splitlines():
            take(json.loads(line))
    host, port = re.search(r"http://([\d.]+):(\d+)", SETTINGS.read_text()).groups()
    async with await asyncio.start_server(serve, host, int(port), backlog=1024):
        print("madang: ready", flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
