"""Many answers at once over one connection of HTTP/2, by httpx.

Used by `client_suite` and `proxied_suite`. Not by curl: with sixty transfers on one connection Debian's 7.88.1 now and then has
received everything (nothing left in either socket's queue) and waits for more until its time is over.
"""

import asyncio
import ssl

import httpx

DEADLINE_S = 60


def together(house, paths):
    """The contents, in the order of the paths."""
    async def ask():
        trust = ssl.create_default_context(cafile=house.authority)
        async with httpx.AsyncClient(http1=False, http2=True, verify=trust, limits=httpx.Limits(max_connections=1),
                                     base_url=f"https://localhost:{house.secure}", timeout=DEADLINE_S) as client:
            return await asyncio.gather(*(client.get(path) for path in paths))
    answers = asyncio.run(ask())
    wrong = {(answer.status_code, answer.http_version) for answer in answers} - {(200, "HTTP/2")}
    assert not wrong, f"wanted 200 by HTTP/2, got {wrong}"
    return [answer.content for answer in answers]
