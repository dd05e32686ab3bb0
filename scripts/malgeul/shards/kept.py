"""Finished shards kept by hard link, so that a job that must start again need not compute again.

Snakemake removes a job's outputs before it starts it, and it starts jobs whose inputs were made anew even where they
are the same bytes. The outputs of the last success of every shard stay in ``results/<run>/kept/<stage>/<shard>/`` as
links, with the ledger that says which key they answer to and which bytes they had. Links cost no space until the shard
changes. What is too dear to be computed in another shard again is in :mod:`malgeul.shards.items`.
"""

from __future__ import annotations

from pathlib import Path

from malgeul.shards.files import beside, files_under, link_or_copy, remove, sha256_of
from malgeul.shards.ledger import Ledger, read_ledger

LEDGER = "ledger.json"


class Kept:
    """What is kept of one shard of one stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger: Ledger | None
        try:
            self.ledger = read_ledger(folder / LEDGER)
        except (FileNotFoundError, ValueError):
            self.ledger = None

    def answers(self, key: str) -> bool:
        """Tell whether the shard was finished under ``key`` and its bytes are still what they were."""
        if self.ledger is None or self.ledger.key != key:
            return False
        if self.ledger.state == "":
            return False  # files changed meanwhile: the key may be of other bytes than the outputs
        if any(fault["retryable"] for fault in self.ledger.quarantined):
            return False  # another machine, or a repaired input, may mend it
        return all(self._intact(name) for name in self.ledger.outputs)

    def item(self, key: str) -> list[Path] | None:
        """Return the files that came of the item ``key``, or None when it is not kept or no longer intact."""
        if self.ledger is None or key not in self.ledger.items:
            return None
        names = self.ledger.items[key]
        return [self.folder / name for name in names] if all(map(self._intact, names)) else None

    def file(self, name: str) -> Path | None:
        """Return a kept output by its name relative to the run's results, or None."""
        known = self.ledger is not None and name in self.ledger.outputs
        return self.folder / name if known and self._intact(name) else None

    def _intact(self, name: str) -> bool:
        assert self.ledger is not None
        file = self.folder / name
        return file.is_file() and sha256_of(file) == self.ledger.outputs[name]["sha256"]

    def restore(self, results: Path, staged: dict[Path, Path]) -> None:
        """Link the kept outputs to where the job stages them (final place to staged place)."""
        for final, place in staged.items():
            source = self.folder / final.relative_to(results)
            if place.is_dir():
                for file in files_under(source):
                    link_or_copy(file, place / file.relative_to(source))
            else:
                link_or_copy(source, place)

    def keep(self, results: Path, outputs: list[Path], ledger_file: Path) -> None:
        """Replace what is kept by the given outputs and their ledger."""
        fresh = beside(self.folder)
        remove(fresh)
        for output in outputs:
            for file in files_under(output):
                link_or_copy(file, fresh / file.relative_to(results))
        # A copy, not a link: the ledger's time of modification is Snakemake's to change.
        fresh.mkdir(parents=True, exist_ok=True)
        (fresh / LEDGER).write_bytes(ledger_file.read_bytes())
        remove(self.folder)
        fresh.rename(self.folder)
