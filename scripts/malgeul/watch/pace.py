"""How fast a stage goes now and when it will be done, from what was computed in the last minutes alone.

A rate over the whole run would be wrong after a resume: it would count hours in which nothing ran, and items that were
found finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from malgeul.watch.run import RunView, StageView, Work

WINDOW = 300.0
"""Seconds that a rate looks back."""
LEAST = 1.0
"""A rate is over so many seconds at least."""


@dataclass(frozen=True)
class Pace:
    """Items a second over the window, and the seconds that what is left will take; None where that is not known."""

    rate: float | None
    remaining: float | None


class PaceMeter:
    """Paces of a run that is looked at again and again.

    Within a running shard items need not come evenly: what was seen of it at each look is remembered. What came before
    the first look is taken as even.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, float], deque[tuple[float, float]]] = {}

    def paces(self, view: RunView) -> dict[str, Pace]:
        """Return the pace of every stage; call it once per look."""
        now = view.time
        since = max(now - WINDOW, view.started)
        paces = {one.name: self._pace(one, since, now, live=view.state == "running") for one in view.stages}
        alive = {self._key(work) for one in view.stages for work in one.work if work.ended > since}
        self._seen = {key: seen for key, seen in self._seen.items() if key in alive}
        return paces

    def _pace(self, one: StageView, since: float, now: float, *, live: bool) -> Pace:
        recent = [work for work in one.work if work.ended > since and work.items > 0]
        left = one.left
        if left == 0 and one.estimated:  # what is done already tells nothing of the shards that are left
            left = None
        if left == 0 and not one.shards["running"]:
            return Pace(None, 0.0 if live or not one.shards["failed"] else None)
        if not live or not recent:
            return Pace(None, None)
        items = sum(self._within(work, since) for work in recent)
        begun = max(since, min(work.started for work in recent))
        rate = items / max(now - begun, LEAST)
        return Pace(rate, left / rate if left is not None and rate else None)

    def _within(self, work: Work, since: float) -> float:
        """Return how many items of an attempt were computed after ``since``."""
        seen = self._seen.setdefault(self._key(work), deque([(work.started, 0.0)]))
        if work.ended > seen[-1][0]:
            seen.append((work.ended, work.items))
        while len(seen) > 2 and seen[1][0] <= since:
            seen.popleft()
        return work.items - at(seen, since)

    @staticmethod
    def _key(work: Work) -> tuple[str, str, float]:
        return work.stage, work.shard, work.started


def at(points: Sequence[tuple[float, float]], time: float) -> float:
    """Return the height at ``time`` of the line through points in the order of time; outside it stays level."""
    before = points[0]
    if time <= before[0]:
        return before[1]
    for point in list(points)[1:]:
        if time <= point[0]:
            share = (time - before[0]) / (point[0] - before[0])
            return before[1] + share * (point[1] - before[1])
        before = point
    return before[1]


def whole_remaining(view: RunView, paces: dict[str, Pace]) -> tuple[float | None, bool]:
    """Return the seconds until the slowest stage is done, and whether a stage whose pace is unknown may take longer.

    Stages overlap, so that the sum would be too much; a stage that has not begun has no pace.
    """
    if view.state != "running":
        return (0.0, False) if view.state == "finished" else (None, False)
    open_ = [one.name for one in view.stages if one.shards["left"] or one.shards["running"]]
    known = [remaining for name in open_ if (remaining := paces[name].remaining) is not None]
    return (max(known), len(known) < len(open_)) if known else (None, bool(open_))
