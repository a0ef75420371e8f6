"""The JavaScript client and the chat's page, by their own tests: Node, two headless browsers, the compiler, the committed build.

Job: run each script of clients/javascript and console/chat and tell which failed. Every one starts a server of its own from the same binary.
Used by `run`. Each check is a command; its name is the finding's id. Not here: what they check (clients/javascript/tests, console/chat/tests).
"""

import filecmp
import os
import subprocess
import tempfile
from pathlib import Path

from lab.server import ROOT
from verdict import Verdict

CLIENT, PAGE, BUILT = ROOT / "clients/javascript", ROOT / "console/chat", ROOT / "roles/chat/page/dist"
NODE_MIN = (20, 19)
BROUGHT = ROOT / ".tools/node"
DEADLINE_S = 240
# Messages of the long room: enough that the window of lines has to move; `npm test` there takes 10,000.
LONG = "2000"


def run(house):
    """Every check, each in its folder."""
    path, told = node()
    verdict = Verdict(0, f"Node {told}")
    environment = {**os.environ, "PATH": path, "MADANG": str(Path(house.binary).resolve()), "LONG": LONG}
    for id, folder, command in (
        ("client-types-and-rules", CLIENT, ["npm", "run", "--silent", "test"]),
        ("client-size", CLIENT, ["node", "tests/size.mjs", "6144"]),
        ("client-real-server", CLIENT, ["npm", "run", "--silent", "test-real"]),
        ("page-types", PAGE, ["npm", "run", "--silent", "check"]),
        ("page-in-browsers", PAGE, ["npm", "run", "--silent", "test"]),
    ):
        verdict.checks += 1
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
        if done.returncode != 0:
            verdict.found(id, f"{' '.join(command)} in {folder.relative_to(ROOT)}:\n{wrong(done.stdout + done.stderr)}")
    verdict.checks += 1
    page_is_built_from_its_sources(verdict, environment)
    return verdict


def node():
    """A PATH with a Node that can build the page, and its version: the machine's, else one that npm brings."""
    path = os.environ["PATH"]
    told = version(path)
    if numbers(told) < NODE_MIN:
        subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", BROUGHT, "node@22"], check=True, timeout=DEADLINE_S)
        path = f"{BROUGHT / 'node_modules/node/bin'}:{path}"
        told = version(path)
    return path, told


def version(path):
    return subprocess.run(["node", "--version"], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=10).stdout.strip()


def numbers(told):
    return tuple(int(part) for part in told.lstrip("v").split(".")[:2])


def wrong(text):
    """What a runner said that matters: its failures, or its end."""
    lines = [line for line in text.splitlines() if not line.startswith("npm warn")]
    at = next((at for at, line in enumerate(lines) if line.strip().startswith("not ok")), max(0, len(lines) - 40))
    return "\n".join(lines[at:at + 40])


def page_is_built_from_its_sources(verdict, environment):
    """What the program embeds is what the sources give, byte for byte."""
    with tempfile.TemporaryDirectory(prefix="madang-page-") as folder:
        command = ["npx", "vite", "build", "--logLevel", "error", "--emptyOutDir", "--outDir", folder]
        done = subprocess.run(command, cwd=PAGE, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
        made, kept = ({path.name for path in Path(place).iterdir()} for place in (folder, BUILT))
        _, differ, unread = filecmp.cmpfiles(folder, BUILT, made & kept, shallow=False)
        if done.returncode != 0 or made != kept or differ or unread:
            verdict.found("page-build", f"differs: {sorted(made ^ kept) + differ + unread}; `make page` builds it again, then commit it {done.stderr}")
