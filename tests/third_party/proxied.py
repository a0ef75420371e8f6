"""Madang in front of a real app: what the suites of clients and browsers ask.

Job: start the app, start Madang before it on three addresses (plain, HTTP/2 by prior knowledge, TLS). Used by
`proxied_suite` and `browser_suite`. Not here: what is asked.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from house import RANGES
from lab.server import Server, free_port

SETTINGS = """
[server]
data = "data"
workers = 2
[log]
access = "json"
[site.app]
listen = ["http://127.0.0.1:{plain}", {{ address = "http://127.0.0.1:{prior}", h2c = true }}, "https://127.0.0.1:{secure}"]
tls    = {{ cert = "{pem}/leaf.pem", key = "{pem}/leaf.key" }}
route  = [{{ proxy = "app", body_max = "64MiB" }}]
[pool.app]
servers = ["127.0.0.1:{app}"]
"""


@dataclass
class Proxied:
    """A running pair and where it listens."""

    server: Server
    folder: Path
    authority: Path
    plain: int
    prior: int
    secure: int


@contextmanager
def proxied(house, name):
    """The app and Madang in front of it, in a folder of their own below the house's."""
    folder = house.folder / name
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "large.bin").write_bytes(RANGES)
    ports = {each: free_port() for each in ("plain", "prior", "secure")}
    app = free_port()
    settings = folder / "madang.toml"
    settings.write_text(SETTINGS.format(**ports, app=app, pem=house.folder))
    command = [sys.executable, str(Path(__file__).with_name("app.py")), str(app), str(folder / "files")]
    madang = [str(Path(house.binary).resolve()), "run", "-c", str(settings)]
    with Server("app", command, {"app": app}, folder), Server("proxying", madang, ports, folder) as server:
        yield Proxied(server, folder, house.authority, **ports)
