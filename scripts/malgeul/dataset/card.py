"""The dataset's card: where its rows come from, what was left out on the way and why, and what made them.

It holds no date and no path, so that the same dataset has the same card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from malgeul.dataset.samples import SPLITS
from malgeul.dataset.saved import COLUMNS
from malgeul.shards.ledger import Ledger

KINDS = {
    "mentions": """Windows of Korean documents in which one mention of a repeated name is masked (mention reference
prediction, Ye et al. 2020).""",
    "sequences": "Stretches of Korean documents for a language model.",
}

NO_LICENCE = "not given"


@dataclass
class Passage:
    """What a stage received and gave over all shards, and what it left out by reason."""

    taken: int = 0
    given: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, ledger: Ledger) -> None:
        """Add one shard."""
        self.taken += ledger.taken.n
        self.given += ledger.given.n
        self.left_out.update(ledger.rejected)
        self.left_out.update(fault["class"] for fault in ledger.quarantined)

    def to_json(self) -> dict[str, Any]:
        """Return plain data with sorted reasons."""
        return {"in": self.taken, "out": self.given, "left_out": dict(sorted(self.left_out.items()))}


def history(ledgers: Iterable[Ledger]) -> dict[str, Any]:
    """Return what the card tells of the stages before: the passage of each, in their order, and package versions."""
    stages: dict[str, Passage] = {}
    versions: dict[str, str] = {}
    for ledger in ledgers:
        stages.setdefault(ledger.stage, Passage()).add(ledger)
        versions |= ledger.versions
    return {
        "stages": {stage: passage.to_json() for stage, passage in stages.items()},
        "versions": dict(sorted(versions.items())),
    }


def card_of(
    told: Mapping[str, Any],
    rows_of_sources: Mapping[str, Mapping[str, int]],
    licences: Mapping[str, str | None],
    made_with: Mapping[str, Any],
    kind: str,
    content: str,
    suffix: str,
) -> str:
    """Return the card as Markdown with a YAML head.

    ``told`` is a :func:`history`; ``rows_of_sources`` counts rows by source and split, ``made_with`` names settings and
    models, ``kind`` is that of the samples, ``content`` a digest of all data files; ``suffix`` is that of the files
    beside the card, in a folder per split.
    """
    known = {licences.get(source) for source in rows_of_sources}
    licence = next(iter(known)) if len(known) == 1 and None not in known else "other"
    head = {"language": ["ko"], "license": licence, **_data_files(rows_of_sources.values(), suffix)}
    yaml_head = yaml.safe_dump(head, allow_unicode=True, sort_keys=False)
    sources = [
        [source, licences.get(source) or NO_LICENCE, *(f"{rows[split]:,}" for split in SPLITS)]
        for source, rows in sorted(rows_of_sources.items())
    ]
    funnel = [
        [stage, f"{passage['in']:,}", f"{passage['out']:,}", _reasons(passage["left_out"])]
        for stage, passage in told["stages"].items()
    ]
    return "\n".join(
        [
            f"---\n{yaml_head}---\n",
            "# Dataset\n",
            f"{KINDS[kind]} Made by malgeul. No document has rows in two splits.\n",
            "## Rows\n",
            *_table(["source", "licence", *SPLITS], sources),
            "\nAt most one licence is told for a source: the one that its config names. Rows of transcripts come from",
            "recordings.\n",
            "## From input to rows\n",
            *_table(["stage", "in", "out", "left out"], funnel),
            "\n## Columns\n",
            *_table(["column", "type"], [[f"`{name}`", f"`{holds}`"] for name, holds in COLUMNS[kind].items()]),
            "\n## Made with\n",
            *_table(["", ""], [[key, str(value)] for key, value in {**made_with, **told["versions"]}.items()]),
            f"\nThe sha256 over the sha256 of all data files is `{content}`.\n",
        ]
    )


def _data_files(rows_of_splits: Iterable[Mapping[str, int]], suffix: str) -> dict[str, Any]:
    """Return what tells ``datasets.load_dataset`` where the splits lie; it refuses a split that has no rows."""
    rows: Counter[str] = Counter()
    for of_source in rows_of_splits:
        rows.update(of_source)
    # Not every Arrow file: ``datasets`` keeps what it maps in others beside them.
    names = "data-*.arrow" if suffix == "arrow" else f"*.{suffix}"
    files = [{"split": split, "path": f"{split}/{names}"} for split in SPLITS if rows[split]]
    return {"configs": [{"config_name": "default", "data_files": files}]} if files else {}


def _reasons(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in left_out.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(head), ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
