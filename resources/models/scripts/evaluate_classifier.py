"""Measure a classifier of texts, with an adapter or without, on passages of calls that nobody learned from.

    python resources/models/scripts/evaluate_classifier.py --model FOLDER_OR_ID [--adapter FOLDER_OR_ID] --label LABEL
        --out FILE [--texts FILE] [--threads N]

The texts are JSON lines with ``text``, ``label`` and ``level``. The model is loaded by the workflow's own code, so that
what is measured is what a user gets.
"""

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import making  # noqa: F401 (finds malgeul)

from malgeul.models.classifier import identity_of, load_classifiers
from malgeul.models.devices import claimed_device
from malgeul.models.memory import DoesNotFit
from malgeul.models.settings import TextClassifier
from malgeul.shards.ledger import Ledger, Units

HELD_OUT = Path(__file__).resolve().parents[1] / "calls/held_out.jsonl"


def figures_of(rows: list[dict[str, str]], chances: list[float], label: str) -> dict[str, Any]:
    """Return macro F1, precision and recall of ``label`` at a probability of 0.5, and by level the share right."""
    right, wrong, missed = 0, 0, 0
    levels: dict[str, list[bool]] = defaultdict(list)
    for row, chance in zip(rows, chances, strict=True):
        found, true = chance >= 0.5, row["label"] == label
        right, wrong, missed = right + (found and true), wrong + (found and not true), missed + (true and not found)
        levels[row["level"]].append(found == true)
    others = len(rows) - right - wrong - missed
    return {
        "passages": len(rows),
        "macro_f1": round((_f1(right, wrong, missed) + _f1(others, missed, wrong)) / 2, 4),
        "precision": round(right / max(right + wrong, 1), 4),
        "recall": round(right / max(right + missed, 1), 4),
        **{f"right of {level}": round(sum(found) / len(found), 4) for level, found in sorted(levels.items())},
    }


def _f1(right: int, wrong: int, missed: int) -> float:
    return 2 * right / max(2 * right + wrong + missed, 1)


def main() -> None:
    """Read the arguments, measure, write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--label", required=True)
    parser.add_argument("--texts", type=Path, default=HELD_OUT)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.texts.read_text(encoding="utf-8").splitlines()]
    settings = TextClassifier(model=given.model, adapter=given.adapter)
    ledger = Ledger("evaluate", "texts", Units("text", "text"))
    with claimed_device() as device:
        classifier = load_classifiers({"it": settings}, device, given.threads, ledger)["it"]
        if given.label not in classifier.labels:
            raise SystemExit(f"there is no label {given.label}; there are {', '.join(classifier.labels)}")
        label = classifier.labels.index(given.label)
        found = classifier([row["text"] for row in rows])
        chances = [one[label] for one in found if not isinstance(one, DoesNotFit)]
    figures = {"model": identity_of(settings), **figures_of(rows, chances, given.label)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
