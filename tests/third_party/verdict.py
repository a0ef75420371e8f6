"""What a suite found, and what of it was known.

Job: hold one suite's result and judge it against `known.toml` and `docs/conformance.md`.
Used by `run` and every suite. Not here: how anything was found.

Invariants
1. A finding is either explained or a failure; there is nothing between.
2. A known finding that no longer appears is a failure too: the list cannot rot.
3. Every known finding is named in docs/conformance.md, where its reason stands at length.
"""

import fnmatch
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from lab.server import ROOT

KNOWN = Path(__file__).with_name("known.toml")
EXPLAINED = ROOT / "docs" / "conformance.md"


@dataclass
class Verdict:
    """One suite's result: how many checks it made, what it found (`id` to text), which program of which version asked."""

    checks: int
    tool: str
    findings: dict = field(default_factory=dict)

    def found(self, id, text):
        """Adds a finding; a second one of the same id is told beside the first."""
        self.findings[id] = f"{self.findings[id]}; {text}" if id in self.findings else text


def known(suite):
    """Finding ids of a suite that are explained, with the short form of the reason."""
    with open(KNOWN, "rb") as file:
        return tomllib.load(file).get(suite, {})


def judge(suite, verdict):
    """The reasons why this verdict is a failure; none when all is well. A known id may be a pattern (`*`)."""
    explained, page = known(suite), EXPLAINED.read_text()
    covers = {pattern: fnmatch.filter(verdict.findings, pattern) for pattern in explained}
    covered = {id for ids in covers.values() for id in ids}
    wrong = [f"{id}: {text}" for id, text in verdict.findings.items() if id not in covered]
    wrong += [f"{id}: is in {KNOWN.name} but was not found: take it out" for id, ids in covers.items() if not ids]
    wrong += [f"{id}: is in {KNOWN.name} but not in {EXPLAINED.name}" for id in explained if f"`{id}`" not in page]
    if verdict.checks == 0:
        wrong.append("no check was made")
    return wrong
