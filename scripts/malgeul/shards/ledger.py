"""Ledgers: what a shard of a stage received, what became of every item, and what it wrote.

Ids are proved, not listed: a :class:`Tally` holds their number and an additive hash (the sum of the ids' hashes modulo
2**128, Bellare and Micciancio's AdHash), so that "everything that came in was used, rejected or quarantined, exactly
once" and "what came in is what the stage before put out" are two additions, whatever the number of documents.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from malgeul.shards.faults import Fault
from malgeul.shards.names import printable

_MODULUS = 1 << 128


@dataclass
class Tally:
    """A multiset of ids by number and additive hash."""

    n: int = 0
    digest: int = 0

    def add(self, item: str) -> None:
        """Count one id."""
        raw = hashlib.blake2b(item.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        self.n += 1
        self.digest = (self.digest + int.from_bytes(raw, "big")) % _MODULUS

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.n + other.n, (self.digest + other.digest) % _MODULUS)

    @classmethod
    def of(cls, items: Iterable[str]) -> Tally:
        """Count all ``items``."""
        tally = cls()
        for item in items:
            tally.add(item)
        return tally

    def to_json(self) -> dict[str, Any]:
        """Return ``{"n": …, "digest": 32 hex digits}``."""
        return {"n": self.n, "digest": f"{self.digest:032x}"}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tally:
        """Read what :meth:`to_json` wrote."""
        return cls(value["n"], int(value["digest"], 16))


@dataclass(frozen=True)
class Units:
    """What a stage counts: recordings, channels, documents, chunks, samples."""

    parent: str
    child: str


@dataclass
class Ledger:
    """The account of one shard of one stage.

    Every parent is taken once and then used, rejected (with a reason) or quarantined (with a fault); every child is
    given once. ``measured`` holds figures for the report; ``items`` maps an item's key to the files that came of it,
    where a stage writes files per item. ``state`` is by what the plan knew what the shard is made of (Plan.state_of):
    empty where the job did not find the user's files so, None where the stage has none, or an earlier version of this.
    """

    stage: str
    shard: str
    units: Units
    key: str = ""
    content_key: str = ""
    state: str | None = None
    taken: Tally = field(default_factory=Tally)
    used: Tally = field(default_factory=Tally)
    rejected_ids: Tally = field(default_factory=Tally)
    quarantined_ids: Tally = field(default_factory=Tally)
    given: Tally = field(default_factory=Tally)
    rejected: Counter[str] = field(default_factory=Counter)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    reused: int = 0
    measured: dict[str, Any] = field(default_factory=dict)
    items: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] | None = None
    started: float = 0.0
    seconds: float = 0.0

    def use(self, parent: str) -> None:
        """A parent gave rise to children (or, in a stage of decisions, was looked at)."""
        self.taken.add(parent)
        self.used.add(parent)

    def reject(self, parent: str, reason: str) -> None:
        """A parent was left out for ``reason`` (snake_case)."""
        self.taken.add(parent)
        self.rejected_ids.add(parent)
        self.rejected[reason] += 1

    def quarantine(self, parent: str, fault: Fault, **facts: Any) -> None:
        """A parent could not be worked on; the run goes on without it. ``facts`` are what is known of it besides."""
        self.taken.add(parent)
        self.quarantined_ids.add(parent)
        self.quarantined.append({"item": printable(parent), **facts, **fault.to_json()})

    def give(self, child: str) -> None:
        """A child was written."""
        self.given.add(child)

    def note(self, item: str, **facts: Any) -> None:
        """Keep something a reader should know of an item that was used: an alias, a salvaged part."""
        self.notes.append({"item": printable(item), **facts})

    def measure(self, **figures: Any) -> None:
        """Keep figures for the report (plain JSON values; null with a reason for what could not be measured)."""
        self.measured.update(figures)

    @property
    def computed_nothing(self) -> bool:
        """Whether all was taken again: what was measured of time and devices is of the job that computed it."""
        return 0 < self.taken.n == self.reused

    def imbalance(self) -> str | None:
        """Say what breaks conservation inside this shard, or return None."""
        accounted = self.used + self.rejected_ids + self.quarantined_ids
        if accounted != self.taken:
            return f"{self.taken.n} {self.units.parent}s taken, {accounted.n} accounted for"
        if self.rejected.total() != self.rejected_ids.n:
            return f"{self.rejected_ids.n} rejected, reasons add up to {self.rejected.total()}"
        return None

    @property
    def content(self) -> str:
        """What names the shard's result: what it was made of alone does not tell what a retried fault gave later."""
        return f"{self.content_key}-{self.given.digest:032x}"

    def files_given(self, suffix: str) -> dict[str, str]:
        """Return the outputs of a stage that writes a file with ``suffix`` for every id it gives, by id, in order.

        Raises RuntimeError where there is not one for each.
        """
        names = {Path(name).stem: name for name in sorted(self.outputs) if name.endswith(suffix)}
        if Tally.of(names) != self.given:
            raise RuntimeError(
                f"{self.stage} {self.shard} wrote {len(names)} files {suffix} for {self.given.n} {self.units.child}s; "
                "run again"
            )
        return names

    def to_json(self) -> dict[str, Any]:
        """Return the form on disk."""
        return {
            "stage": self.stage,
            "shard": self.shard,
            "key": self.key,
            "content_key": self.content_key,
            "state": self.state,
            "unit_in": self.units.parent,
            "unit_out": self.units.child,
            "in": self.taken.n,
            "out": self.given.n,
            "used": self.used.n,
            "rejected": dict(sorted(self.rejected.items())),
            "quarantined": self.quarantined,
            "notes": self.notes,
            "reused": self.reused,
            "computed": self.taken.n - self.reused,
            "ids": {
                "in": self.taken.to_json(),
                "used": self.used.to_json(),
                "rejected": self.rejected_ids.to_json(),
                "quarantined": self.quarantined_ids.to_json(),
                "out": self.given.to_json(),
            },
            "measured": self.measured,
            "items": self.items,
            "outputs": self.outputs,
            "inputs": self.inputs,
            "versions": self.versions,
            "device": self.device,
            "started": self.started,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ledger:
        """Read what :meth:`to_json` wrote; raises KeyError or ValueError on another form."""
        ids = value["ids"]
        return cls(
            stage=value["stage"],
            shard=value["shard"],
            units=Units(value["unit_in"], value["unit_out"]),
            key=value["key"],
            content_key=value.get("content_key", value["key"]),
            state=value.get("state"),
            taken=Tally.from_json(ids["in"]),
            used=Tally.from_json(ids["used"]),
            rejected_ids=Tally.from_json(ids["rejected"]),
            quarantined_ids=Tally.from_json(ids["quarantined"]),
            given=Tally.from_json(ids["out"]),
            rejected=Counter(value["rejected"]),
            quarantined=value["quarantined"],
            notes=value["notes"],
            reused=value["reused"],
            measured=value["measured"],
            items=value["items"],
            outputs=value["outputs"],
            inputs=value["inputs"],
            versions=value["versions"],
            device=value["device"],
            started=value["started"],
            seconds=value["seconds"],
        )


def ledger_path(results: Path, stage: str, shard: str) -> Path:
    """Return where the ledger of a shard is."""
    return results / "ledger" / stage / f"{shard}.json"


def read_ledger(path: Path) -> Ledger:
    """Read one ledger; raises FileNotFoundError, or ValueError naming a file that is no ledger."""
    try:
        return Ledger.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a ledger ({error}); remove it and run again") from error
