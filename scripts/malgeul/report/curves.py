"""Trainings as the page shows them: the curves of the loss, and what was measured before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from malgeul.shards.ledger import Ledger

WIDTH, HEIGHT = 720.0, 150.0
"""Of a chart, in pixels."""

LINES = {"loss": "training rows", "validation_loss": "validation rows"}
"""What is drawn of a point, and how it is called."""


def trainings(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return the trainings that are done (``ledgers`` of the stage train): facts, curves, and figures by set of rows.

    Figures are there once the evaluation is. Raises ValueError or OSError for files that are no curves or figures.
    """
    found = []
    for ledger in ledgers:
        points = json.loads((results / "trained" / ledger.shard / "curves.json").read_text(encoding="utf-8"))
        file = results / "evaluated" / f"{ledger.shard}.json"
        evaluated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        found.append(
            {
                "name": ledger.shard,
                "measured": ledger.measured,
                "chart": chart(points),
                "sets": _sets(evaluated) if evaluated else [],
                "not_measured": evaluated.get("not_measured", {}) if evaluated else {},
            }
        )
    return found


def chart(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the lines of a training's losses over its steps, scaled to the chart; None for fewer than two."""
    known = {name: [(p["step"], p[name]) for p in points if name in p] for name in LINES}
    every = [pair for pairs in known.values() for pair in pairs]
    if len(every) < 2:
        return None
    last = max(step for step, _ in every)
    low, high = min(loss for _, loss in every), max(loss for _, loss in every)

    def place(step: float, loss: float) -> str:
        return f"{WIDTH * step / last:.1f},{HEIGHT * (high - loss) / ((high - low) or 1):.1f}"

    return {
        "width": WIDTH,
        "height": HEIGHT,
        "steps": last,
        "low": low,
        "high": high,
        "lines": [
            {
                "kind": name,
                "label": LINES[name],
                "points": " ".join(place(*pair) for pair in pairs),
                "last": pairs[-1][1],
            }
            for name, pairs in known.items()
            if pairs
        ],
    }


def _sets(evaluated: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures as tables: a row per measure, a column per model; what is no number is left to the file.

    The first columns are those before and after training.
    """
    sets = []
    for name, found in evaluated["sets"].items():
        models = sorted(found["figures"], key=lambda model: (model != "before", model != "after", model))
        figures = {model: found["figures"][model] for model in models}
        sets.append(
            {
                "name": name,
                "rows": found["rows"],
                "reason": found["reason"],
                "models": models,
                "measures": _measures(figures),
            }
        )
    return sets


def _measures(figures: Mapping[str, Mapping[str, Any] | None]) -> list[dict[str, Any]]:
    names = dict.fromkeys(
        name
        for of_model in figures.values()
        for name, value in (of_model or {}).items()
        if value is None or isinstance(value, int | float)
    )
    return [{"name": name, "values": [(of_model or {}).get(name) for of_model in figures.values()]} for name in names]
