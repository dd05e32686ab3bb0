"""What every stage received and what became of it, as bars: used, rejected, quarantined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from malgeul.pages.quantities import amount, amounts
from malgeul.report.stages import FLOWS, Stage

NARROWEST = 0.6
"""A part that is not nothing is at least this wide, in percent."""


def funnel(stages: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the flows of a run with a row per stage, from the ``stages`` of an audit.

    A row's ``width`` is its share of the most that any stage of the flow received of the same units, so that what is
    lost from stage to stage is seen; ``parts`` lie within it, with places and widths in percent of the whole.
    """
    flows = []
    for flow in FLOWS:
        present = [(stage, stages[stage.name]) for stage in flow.stages if stage.name in stages]
        largest: dict[tuple[str, ...], int] = {}
        for _, totals in present:
            units = tuple(totals["units_in"])
            largest[units] = max(largest.get(units, 0), totals["in"])
        rows = [_row(stage, totals, largest[tuple(totals["units_in"])]) for stage, totals in present]
        if rows:
            flows.append({"title": flow.title, "korean": flow.korean, "rows": rows})
    return flows


def _row(stage: Stage, totals: Mapping[str, Any], largest: int) -> dict[str, Any]:
    rejected, quarantined = sum(totals["rejected"].values()), sum(totals["quarantined"].values())
    width = 100 * totals["in"] / largest if largest else 0.0
    counts = {"used": totals["used"], "rejected": rejected, "quarantined": quarantined}
    return {
        "stage": stage,
        "came": amounts(totals["units_in"]),
        "went": f"{amount(totals['out'], stage.finds)} found" if stage.finds else amounts(totals["units_out"]),
        "shards": totals["shards"],
        "planned": totals["planned"],
        "reused": totals["reused"],
        "counts": counts,
        "parts": parts(counts, width),
    }


def parts(counts: Mapping[str, int], width: float) -> list[dict[str, Any]]:
    """Return places and widths of a bar's parts; the largest gives way to those too narrow to be seen."""
    whole = sum(counts.values())
    if not whole:
        return []
    widths = {kind: max(NARROWEST, width * n / whole) for kind, n in counts.items() if n}
    widest = max(widths, key=lambda kind: widths[kind])
    widths[widest] = max(NARROWEST, widths[widest] - max(0.0, sum(widths.values()) - width))
    placed = []
    left = 0.0
    for kind, part in widths.items():
        placed.append({"kind": kind, "x": left, "width": part, "n": counts[kind]})
        left += part
    return placed
