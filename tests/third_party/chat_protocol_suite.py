"""The chat's documents for programs against the chat: what they say is valid, true of all traffic, and all there is.

Job: 1. both documents are valid by AsyncAPI's own parser and by openapi-spec-validator; 2. a walk through the whole protocol, every frame of
both sides judged by jsonschema; what is never said is a finding; 3. requests made from the schema by hypothesis are never malformed, spoilt ones
always are. Used by `run`; each step is a module of `chat_protocol/`. Not here: what the documents say (roles/chat/src/protocol).
"""

import subprocess
import traceback
from importlib.metadata import version
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from chat_protocol import generated, walk
from chat_protocol.book import Book
from lab.server import ROOT, Server, free_port
from verdict import Verdict

PARSER = ROOT / "tests/third_party/asyncapi"

# Whether a request or the close comes first when the server ends is decided by the moment: it may be said, and need not be.
BY_THE_MOMENT = {"error shutting-down"}


def run(house):
    """Documents, walk, generated requests over one server; a second one whose store is small."""
    folder, binary = Path(house.folder) / "chat-protocol", str(Path(house.binary).resolve())
    folder.mkdir()
    book, port = Book(binary), free_port()
    tools = ", ".join(f"{name} {version(name)}" for name in ("jsonschema", "hypothesis", "openapi-spec-validator"))
    verdict = Verdict(0, f"@asyncapi/parser {parser_version()}, {tools}")
    documents(book, verdict, folder, binary)
    (folder / "madang.toml").write_text(walk.SETTINGS.format(port=port, secret=walk.SECRET, token=walk.TOKEN))
    with Server("madang-protocol", [binary, "run", "-c", str(folder / "madang.toml")], {"web": port}, folder) as server:
        steps = [*walk.STEPS, generated.valid, generated.spoilt]
        for step in steps:
            attempt(verdict, step.__name__, lambda: step(book, port))
        attempt(verdict, "the_end", lambda: walk.the_end(book, server, port))
    port = free_port()
    (folder / "full.toml").write_text(walk.FULL.format(port=port))
    with Server("madang-full", [binary, "run", "-c", str(folder / "full.toml")], {"web": port}, folder):
        attempt(verdict, "a_full_store", lambda: walk.a_full_store(book, port))
    verdict.checks += book.checks
    for id, text in book.wrong.items():
        verdict.found(id, text)
    for name in book.never_said():
        if name in BY_THE_MOMENT:
            continue
        verdict.found(f"never said: {name}", "it is in the document, and nothing here made the server or a client say it")
    return verdict


def attempt(verdict, name, step):
    """A step that breaks is a finding; the others go on."""
    verdict.checks += 1
    try:
        step()
    except Exception:
        verdict.found(name, traceback.format_exc(limit=-9))


def documents(book, verdict, folder, binary):
    """Valid, each by its own kind's tool."""
    file = folder / "asyncapi.json"
    file.write_bytes(subprocess.run([binary, "schema", "--chat"], check=True, capture_output=True, timeout=30).stdout)
    done = subprocess.run(["node", "check.mjs", str(file)], cwd=PARSER, capture_output=True, text=True, timeout=60)
    verdict.checks += 2
    if done.returncode != 0:
        verdict.found("asyncapi", done.stdout + done.stderr)
    for error in OpenAPIV31SpecValidator(book.openapi).iter_errors():
        verdict.found("openapi", f"{'/'.join(map(str, error.path))}: {error.message[:300]}")


def parser_version():
    """As the lock file pins it."""
    listed = subprocess.run(["node", "-p", "require('@asyncapi/parser/package.json').version"], cwd=PARSER, capture_output=True, text=True, timeout=30)
    return listed.stdout.strip()
