"""A small run as jobs leave it, written by hand, with clocks of its own."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from malgeul.plan import DocumentShard, Plan
from malgeul.shards.files import write_json
from malgeul.shards.ledger import Ledger, Tally, Units

NOW = 1_800_000_000.0
"""When the run is looked at."""
GONE = 2**22 + 1
"""A process number that no Linux gives."""


class SmallRun:
    """Four shards of documents of a database: export, chunk, embed, index."""

    def __init__(self, results: Path, shards: int = 4) -> None:
        self.results = results
        documents = {f"law-{n:04d}": DocumentShard("law", n, shards, 100, "d") for n in range(shards)}
        self.plan = Plan(documents=documents, databases={"law": {}}, embed_inputs=["documents"])
        write_json(results / "plan.json", self.plan.to_json())

    def drive(self, *, since: float, process: int | None = None, host: str | None = None) -> None:
        """Write who drives the run: this process, unless told otherwise."""
        self._lock(self.results / ".run.lock", since, process, host)

    def _lock(self, file: Path, since: float, process: int | None, host: str | None) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        who = {"pid": process or os.getpid(), "host": host or socket.gethostname(), "since": "then"}
        file.write_text(json.dumps(who))
        os.utime(file, (since, since))

    def done(self, stage: str, shard: int, taken: int, *, started: float, seconds: float, given=None, reused=0) -> None:
        units = {"export": ("row", "document"), "chunk": ("document", "chunk"), "embed": ("chunk", "vector")}
        ledger = Ledger(stage, self.name(stage, shard), Units(*units.get(stage, ("vector", "entry"))))
        ledger.taken, ledger.given, ledger.reused = Tally(taken), Tally(taken if given is None else given), reused
        ledger.started, ledger.seconds = started, seconds
        write_json(self.results / "ledger" / stage / f"{ledger.shard}.json", ledger.to_json())

    def running(self, stage, shard, *, started, done=0, resumed=0, total=None, written=None, process=None, host=None):
        folder = self.results / "journal" / stage / self.name(stage, shard)
        self._lock(folder.with_suffix(".lock"), started, process, host)
        folder.mkdir(parents=True, exist_ok=True)
        state = {"done": done, "resumed": resumed, "total": total, "unit": "texts", "started": started}
        (folder / "progress.json").write_text(json.dumps({**state, "written": written or NOW}))
        for file in folder.iterdir():
            os.utime(file, (written or NOW, written or NOW))

    def log(self, rule: str, shard: str, text: str, *, written: float) -> None:
        file = self.results / "logs" / rule / f"{shard}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (written, written))

    @staticmethod
    def name(stage: str, shard: int) -> str:
        return "all" if stage == "index" else f"law-{shard:04d}"


@pytest.fixture
def small(tmp_path) -> SmallRun:
    return SmallRun(tmp_path / "results" / "small")
