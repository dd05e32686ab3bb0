"""When which job ran: a chart with a lane per stage, idle hours between two runs cut out.

Places on the axis are percent of its width, so that the chart stretches with the page while its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from malgeul.pages.quantities import duration
from malgeul.report.stages import STAGES
from malgeul.shards.ledger import Ledger

Interval = tuple[float, float]
"""Start and end in seconds."""

IDLE_SHARE = 0.1
IDLE_SECONDS = 30.0
"""A gap longer than this, and than this share of the time in which something ran, is cut out of the axis."""
CUT_WIDTH = 3.0
CUTS_WIDTH = 30.0
"""What is shown of a gap that was cut out, in percent, and at most of all of them."""
NARROWEST = 0.25
"""A job is at least this wide, in percent; closer ones of a lane are drawn as one."""
MOST_TICKS = 8
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, *(60 * m for m in (1, 2, 5, 10, 20, 30, 60, 120, 240, 720, 1440, 10080)))
"""Seconds between the marks of the axis."""


def union(intervals: Iterable[Interval], gap: float = 0.0) -> list[Interval]:
    """Return the time that any interval covers, gaps of at most ``gap`` seconds closed."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1] + gap:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def total(intervals: Iterable[Interval]) -> float:
    """Return the seconds that disjoint intervals cover."""
    return sum(end - start for start, end in intervals)


@dataclass(frozen=True)
class Axis:
    """Time from left to right without the long gaps; ``spans`` are the parts that are shown."""

    spans: Sequence[Interval]

    @classmethod
    def over(cls, intervals: Sequence[Interval]) -> Axis:
        """Return the axis on which ``intervals`` (at least one) lie."""
        busy = total(union(intervals))
        return cls(union(intervals, gap=max(IDLE_SECONDS, IDLE_SHARE * busy)))

    @property
    def cut_width(self) -> float:
        """Width of a gap that was cut out."""
        return min(CUT_WIDTH, CUTS_WIDTH / len(self.spans))

    @property
    def _scale(self) -> float:
        """Percent per second."""
        shown = total(self.spans)
        return (100 - self.cut_width * (len(self.spans) - 1)) / shown if shown else 0.0

    def place(self, time: float) -> float:
        """Return where a time inside one of the spans is, in percent."""
        passed = 0.0
        for cuts, (start, end) in enumerate(self.spans):
            if time <= end:
                return (passed + max(0.0, time - start)) * self._scale + cuts * self.cut_width
            passed += end - start
        return 100.0

    def ticks(self) -> list[dict[str, Any]]:
        """Return the marks of the axis: place and time since the first start."""
        origin = self.spans[0][0]
        wanted = total(self.spans) / MOST_TICKS
        step = next((step for step in STEPS if step >= wanted), STEPS[-1])
        ticks: list[dict[str, Any]] = []
        for start, end in self.spans:
            first = int((start - origin) // step)
            times = (origin + n * step for n in range(first, int((end - origin) // step) + 1))
            ticks += [{"x": self.place(t), "label": duration(t - origin)} for t in times if start <= t <= end]
        return [tick for tick in ticks if tick["x"] <= 94]

    def cuts(self) -> list[dict[str, Any]]:
        """Return the gaps that were cut out: place and length."""
        return [
            {"x": self.place(end), "width": self.cut_width, "label": duration(start - end)}
            for (_, end), (start, _) in pairwise(self.spans)
        ]


def lanes_of(jobs: Iterable[tuple[Interval, str]]) -> list[list[tuple[Interval, str]]]:
    """Deal jobs that overlap onto as few lanes as they need."""
    lanes: list[list[tuple[Interval, str]]] = []
    for job in sorted(jobs):
        free = next((lane for lane in lanes if lane[-1][0][1] <= job[0][0]), None)
        if free is None:
            lanes.append([job])
        else:
            free.append(job)
    return lanes


def timeline(ledgers: Iterable[Ledger]) -> dict[str, Any] | None:
    """Return what the chart shows, or None without any job.

    Rows are stages in the order of the flow, each with ``lanes`` of ``blocks``: place and width in percent, and what
    they are. Figures: ``wall`` is the time from first start to last end without the gaps that were cut out, ``busy``
    that in which any job ran, ``model`` that in which a job ran that asks for a GPU, ``work`` the sum over all jobs.
    """
    known = [(ledger.stage, ledger.shard, (ledger.started, ledger.started + ledger.seconds)) for ledger in ledgers]
    if not known:
        return None
    axis = Axis.over([when for _, _, when in known])
    rows = []
    for name, stage in STAGES.items():
        jobs = [(when, shard) for of_stage, shard, when in known if of_stage == name]
        if jobs:
            lanes = [_blocks(lane, axis) for lane in lanes_of(jobs)]
            rows.append({"stage": stage, "lanes": lanes, "jobs": len(jobs)})
    return {
        "rows": rows,
        "ticks": axis.ticks(),
        "cuts": axis.cuts(),
        "wall": total(axis.spans),
        "busy": total(union(when for _, _, when in known)),
        "model": total(union(when for stage, _, when in known if STAGES[stage].model)),
        "work": sum(end - start for _, _, (start, end) in known),
    }


def _blocks(lane: list[tuple[Interval, str]], axis: Axis) -> list[dict[str, Any]]:
    """Return the blocks of a lane; jobs too close to be told apart share one."""
    placed = [
        (axis.place(start), max(axis.place(start) + NARROWEST, axis.place(end)), shard, end - start)
        for (start, end), shard in lane
    ]
    numbers = []
    reached = number = 0.0
    for left, right, _, _ in placed:
        number += left >= reached
        reached = max(reached, right)
        numbers.append(number)
    blocks = []
    for _, group in groupby(zip(numbers, placed, strict=True), key=lambda pair: pair[0]):
        members = [member for _, member in group]
        left, right = members[0][0], max(member[1] for member in members)
        seconds = sum(member[3] for member in members)
        name = members[0][2] if len(members) == 1 else f"{len(members)} jobs"
        blocks.append({"x": left, "width": min(right, 100.0) - left, "label": f"{name}, {duration(seconds)}"})
    return blocks
