"""A run and its machine as a screen for people and as one line of JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from malgeul.pages.quantities import amount, duration, megabytes, number, rate
from malgeul.report.stages import STAGES
from malgeul.watch.machine import MachineLoad
from malgeul.watch.pace import Pace, whole_remaining
from malgeul.watch.run import RunView, StageView

FAILURES_SHOWN = 5
BAR_WIDTH = 10
WIDEST = 1000
"""In columns: a table is measured as if it had so many."""
COLUMNS = ("stage", "shards", "running", "failed", "bar", "items", "pace", "left")

STATES = {
    "absent": ("there is no such run yet", "yellow"),
    "running": ("running", "green"),
    "stopped": ("not running; run the same command again to go on", "red"),
    "finished": ("finished", "green"),
}


def as_json(view: RunView, paces: dict[str, Pace], machine: MachineLoad) -> dict[str, Any]:
    """Return a look at a run as plain data: times in seconds, memory in bytes, null for what is not known."""
    remaining, longer = whole_remaining(view, paces)
    return {
        "time": round(view.time, 3),
        "results": str(view.results),
        "run": view.results.name,
        "state": view.state,
        "started": round(view.started, 3) or None,
        "holder": view.holder or None,
        "remaining_seconds": _rounded(remaining),
        "remaining_is_lower_bound": longer,
        "stages": [_stage_json(one, paces[one.name]) for one in view.stages],
        "failures": [
            {"stage": one.stage, "shard": one.shard, "log": str(one.log) if one.log else None} for one in view.failures
        ],
        "machine": machine.to_json(),
    }


def _stage_json(one: StageView, pace: Pace) -> dict[str, Any]:
    return {
        "stage": one.name,
        "shards": {state: one.shards[state] for state in ("done", "running", "failed", "left")},
        "unit": one.unit,
        "items_done": round(one.items),
        "items_total": None if one.total is None else round(one.total),
        "items_left": None if one.left is None else round(one.left),
        "total_is_estimate": one.estimated,
        "items_per_second": _rounded(pace.rate, 4),
        "remaining_seconds": _rounded(pace.remaining),
    }


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def render(view: RunView, paces: dict[str, Pace], machine: MachineLoad) -> Group:
    """Return the screen, the stages last: what a terminal is too low for is cut off at the end."""
    parts: list[RenderableType] = [_headline(view, paces), _machine(machine)]
    parts += [Text.from_markup(f"[red]failed[/] {escape(line)}") for line in _failures(view)]
    if view.stages:
        parts.append(_Stages(view, paces))
    return Group(*parts)


def _headline(view: RunView, paces: dict[str, Pace]) -> Text:
    said, colour = STATES[view.state]
    text = f"[bold]malgeul 말글[/] {escape(str(view.results))}  [{colour}]{said}[/]"
    if view.state == "running":
        remaining, longer = whole_remaining(view, paces)
        left = "not known yet" if remaining is None else f"{'at least ' if longer else ''}{_span(remaining)}"
        text += f" for {_span(view.time - view.started)} ({escape(view.holder)}); left: {left}"
    return Text.from_markup(text)


def _span(seconds: float) -> str:
    return duration(max(0, round(seconds)))


class _Stages:
    """The table of stages. Where it is too narrow for all, the bar is left out first, and then the pace."""

    def __init__(self, view: RunView, paces: dict[str, Pace]) -> None:
        self._view, self._paces = view, paces

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [name for name in COLUMNS if name != "failed" or self._view.failures]
        for without in ((), ("bar",), ("bar", "pace")):
            table = self._table([name for name in columns if name not in without])
            if Measurement.get(console, options.update(width=WIDEST), table).maximum <= options.max_width:
                break
        yield table

    def _table(self, columns: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in columns:
            justify: JustifyMethod = "left" if name in {"stage", "bar"} else "right"
            table.add_column("" if name == "bar" else name, justify=justify, no_wrap=True)
        for one in self._view.stages:
            cells = _cells(one, self._paces[one.name])
            table.add_row(*(cells[name] for name in columns))
        return table


def _cells(one: StageView, pace: Pace) -> dict[str, RenderableType]:
    whole = one.shards["done"] == one.shards.total()
    done = (one.total or 1) if whole else one.items
    speed, left = _pace(pace, one.unit, whole=whole)
    return {
        "stage": STAGES[one.name].title,
        "shards": f"{one.shards['done']}/{one.shards.total()}",
        "running": str(one.shards["running"] or ""),
        "failed": f"[red]{one.shards['failed']}[/]" if one.shards["failed"] else "",
        "bar": ProgressBar(total=one.total or 1, completed=done, width=BAR_WIDTH),
        "items": _items(one, whole=whole),
        "pace": speed,
        "left": left,
    }


def _items(one: StageView, *, whole: bool) -> str:
    done = number(round(one.items))
    if whole or one.total is None:
        return done
    return f"{done} of {'~' if one.estimated else ''}{number(round(one.total))}"


def _pace(pace: Pace, unit: str, *, whole: bool) -> tuple[str, str]:
    if whole:
        return "", ""
    return rate(pace.rate, unit) if pace.rate else "", "–" if pace.remaining is None else _span(pace.remaining)


def _failures(view: RunView) -> Iterator[str]:
    for one in view.failures[:FAILURES_SHOWN]:
        yield f"{one.stage} {one.shard}: {one.log or 'no log'}"
    if len(view.failures) > FAILURES_SHOWN:
        yield f"… and {len(view.failures) - FAILURES_SHOWN} more"


def _machine(machine: MachineLoad) -> Text:
    parts = [
        f"load {machine.load:.1f} on {amount(machine.cores, 'core')}",
        f"memory {megabytes(machine.used / 1e6)} of {megabytes(machine.memory / 1e6)}",
    ]
    for gpu in machine.gpus:
        busy = "busy: not told" if gpu.busy is None else f"{gpu.busy} % busy"
        held = (
            ""
            if gpu.used is None or gpu.memory is None
            else (f", {megabytes(gpu.used / 1e6)} of {megabytes(gpu.memory / 1e6)}")
        )
        parts.append(f"{gpu.name} {busy}{held}")
    if not machine.gpus:
        parts.append("no NVIDIA GPU")
    return Text(" · ".join(parts), style="dim")
