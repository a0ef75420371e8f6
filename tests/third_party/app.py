"""An app as people write them, to stand behind the proxy: uploads, downloads, streams, websockets, and a page for a browser.

Job: serve on 127.0.0.1:PORT with aiohttp until it is ended. Usage: app.py PORT FOLDER. What a browser reports is kept until
`/reports` is asked for it. Used by `proxied_suite` and `browser_suite` as a process of its own. Not here: judging anything.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from aiohttp import WSMsgType, web

BODY_BYTES_MAX = 64 * 1024 * 1024
PAGE = Path(__file__).with_name("page.html")


async def any_method(request):
    """What arrived, as JSON."""
    content = await request.read()
    return web.json_response({
        "method": request.method, "path": request.path_qs, "version": f"{request.version.major}.{request.version.minor}",
        "fields": [[name, value] for name, value in request.headers.items()],
        "length": len(content), "sha256": hashlib.sha256(content).hexdigest()})


async def stream(request):
    """Twenty pieces of unknown number."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(20):
        await answer.write(f"piece {number}\n".encode() * 1000)
    await answer.write_eof()
    return answer


async def events(request):
    """Three events of a stream that does not end by itself."""
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await answer.prepare(request)
    for number in range(3):
        await answer.write(f"data: {number}\n\n".encode())
    await asyncio.wait([asyncio.ensure_future(request.app["over"].wait())], timeout=20)
    return answer


async def echo(request):
    """A websocket that gives back what it gets; `bye` ends it with 4321."""
    socket = web.WebSocketResponse(max_msg_size=BODY_BYTES_MAX, protocols=("echo.v1",))
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=4321, message=b"as you wish")
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def refuse(_):
    """Does not want what is being sent, and does not read it."""
    return web.Response(status=403, text="not wanted\n")


async def report(request):
    """A browser tells what it saw."""
    request.app["reports"].put_nowait(await request.json())
    return web.Response(status=204)


async def reports(request):
    """Waits for the next report."""
    try:
        return web.json_response(await asyncio.wait_for(request.app["reports"].get(), 45))
    except TimeoutError:
        return web.Response(status=504, text="no browser has reported\n")


async def page(_):
    """The page that a browser opens."""
    return web.FileResponse(PAGE)


async def end_streams(app):
    """Lets streams go that would not end by themselves."""
    app["over"].set()


def main():
    """Serves until it is ended."""
    port, folder = int(sys.argv[1]), sys.argv[2]
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app["reports"], app["over"] = asyncio.Queue(), asyncio.Event()
    app.on_shutdown.append(end_streams)
    app.add_routes([
        web.route("*", "/any", any_method), web.get("/stream", stream), web.get("/events", events), web.get("/socket", echo),
        web.route("*", "/refuse", refuse), web.post("/report", report), web.get("/reports", reports),
        web.get("/page", page), web.static("/files", folder)])
    web.run_app(app, host="127.0.0.1", port=port, print=lambda line: print(json.dumps(line), flush=True), handle_signals=True)


if __name__ == "__main__":
    main()
