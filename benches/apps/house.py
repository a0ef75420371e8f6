"""Madang with one app of the Rust example, in a folder of its own: what the benches of apps share.

Job: build the app once, write settings, start Madang, say how the app does, wait for it to do so. Used by `constant.py` and
`crash.py`. Every wait has a deadline. Not here: load (`lab.constant`, `lab.asking`).
"""

import json
import select
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from lab.server import Failed, Server, command, free_port, status, tail

DEADLINE_S = 60
SETTINGS = """\
[server]
data = "data"
workers = 2
[site.main]
listen = "http://127.0.0.1:{port}"
route  = [{{ path = "/*", proxy = "steady" }}]
[app.steady]
run       = ["sh", "-c", "exec ./app"]
dir       = "{dir}"
env       = {{ MARK = "{mark}" }}
instances = {instances}
health    = {{ path = "/healthz", every = "200ms", rise = 1 }}
restart   = {{ after = "100ms", longest = "1s", at_most = "always" }}
stop      = {{ drain = "10s", grace = "5s" }}
deploy    = {{ watch = "{watch_ms}ms", healthy_within = "{healthy_ms}ms" }}
"""


def build(folder):
    """The Rust example's program, at FOLDER/app."""
    target = Path(folder) / "app"
    subprocess.run(["rustc", "--edition=2024", "-O", "-o", target, ROOT / "examples/apps/rust/app.rs"], check=True)
    return target


def version(folder, name, program):
    """FOLDER/NAME/app: the program, or a script of this text."""
    target = Path(folder) / name / "app"
    target.parent.mkdir()
    if isinstance(program, Path):
        shutil.copy(program, target)
    else:
        target.write_text(program)
        target.chmod(target.stat().st_mode | stat.S_IXUSR)
    return target.parent


class House:
    """Madang on a free port; use with `with`."""

    def __init__(self, madang, folder, directory, *, instances=3, watch=3.0, healthy_within=3.0, mark="steady"):
        self.madang, self.folder, self.port = madang, Path(folder), free_port()
        self.settings = self.folder / "madang.toml"
        self.settings.write_text(SETTINGS.format(
            port=self.port, dir=directory, instances=instances, mark=mark,
            watch_ms=round(watch * 1000), healthy_ms=round(healthy_within * 1000)))

    def __enter__(self):
        self.server = Server("madang", [self.madang, "run", "-c", self.settings], {"http": self.port}, self.folder)
        return self

    def __exit__(self, *_):
        self.server.stop(30)

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def app(self):
        """The app as `madang status` has it."""
        return next(app for app in status(self.madang, self.settings)["apps"] if app["app"] == "steady")

    def order(self, *words, check=True):
        """`madang app …`."""
        return command(self.madang, "app", *words, settings=self.settings, check=check)

    def until(self, what, so):
        """Looks until `so(app)`; gives the app. Failed after the deadline, with the last lines of the log."""
        end = time.monotonic() + DEADLINE_S
        while True:
            app = self.app()
            if so(app):
                return app
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {DEADLINE_S} s; {json.dumps(app)}\n{tail(self.folder / 'madang.log')}")
            select.select([], [], [], 0.02)

    def until_ready(self, count, without=()):
        """So many instances are ready and nothing else is left, none of the processes `without` among them."""
        def so(app):
            return (app["ready"] == count and len(app["instances"]) == count and not app["deploy"]
                    and not processes(app) & set(without))
        return self.until(f"{count} instances ready", so)


def processes(app):
    """The process numbers of its instances."""
    return {one["process"] for one in app["instances"] if one["process"]}
