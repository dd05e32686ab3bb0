"""How far a run is, read from its plan, ledgers, locks, journals and logs. Nothing is touched, nothing is locked."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from malgeul.plan import Plan, read_plan
from malgeul.report.failures import Failure, failed_models, tail_of
from malgeul.report.stages import job_file
from malgeul.shards.ledger import ledger_path, read_ledger
from malgeul.shards.locks import alive
from malgeul.shards.progress import STATE
from malgeul.shards.stopping import stopped_by
from malgeul.startup import LOCK, PLAN

SILENT_SECONDS = 600.0
"""A job of another machine that wrote nothing for so long is taken for dead."""
STARTING_SECONDS = 60.0
"""A job that has a log takes its lock within this time."""

FAILED_MODEL = " ERROR "
"""What a job that had to have a model here logs when it fails, and not before."""

RunState = Literal["absent", "running", "stopped", "finished"]
ShardState = Literal["done", "running", "failed", "left"]


@dataclass(frozen=True)
class Work:
    """What an attempt at a shard computed: items from ``started`` to ``ended`` (seconds of the epoch).

    What was taken over from an earlier attempt or a run before does not count.
    """

    stage: str
    shard: str
    items: float
    started: float
    ended: float


@dataclass
class StageView:
    """A stage: its shards by state, items done and to be done in all (None: not known yet), and what was computed.

    ``estimated`` says that the shards whose inputs are not made yet are taken to be as large as the others.
    """

    name: str
    unit: str = "item"
    shards: Counter[str] = field(default_factory=Counter)
    items: float = 0.0
    total: float | None = None
    estimated: bool = False
    given_up: float = 0.0
    """Items of failed shards: nobody works on them in this run."""
    work: list[Work] = field(default_factory=list)

    @property
    def left(self) -> float | None:
        """Items that are still to be done in this run."""
        return None if self.total is None else max(0.0, self.total - self.items - self.given_up)


@dataclass
class RunView:
    """A run at a moment; ``started`` is when it was started last, ``holder`` the process that drives it."""

    results: Path
    time: float
    state: RunState
    started: float = 0.0
    holder: str = ""
    stages: list[StageView] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Done:
    """What a ledger says that matters here."""

    unit: str
    taken: int
    given: int
    reused: int
    started: float
    seconds: float


class RunReader:
    """Reads a run again and again; a ledger that has not changed is not opened again."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self._ledgers: dict[Path, tuple[int, _Done | None]] = {}
        self._plan: tuple[int, Plan] | None = None

    def read(self, now: float | None = None) -> RunView:
        """Return how far the run is."""
        now = time.time() if now is None else now
        plan = self._read_plan()
        if plan is None:
            return RunView(self.results, now, "absent")
        lock = self.results / LOCK
        live = holds(lock, [*self.results.glob("logs/*/*.log"), *self.results.glob(f"journal/*/*/{STATE}")], now)
        started = lock.stat().st_mtime if lock.is_file() else 0.0
        view = RunView(self.results, now, "running" if live else "stopped", started, _holder(lock) if live else "")
        view.failures = [
            failed
            for failed in failed_models(self.results, started)
            if not failed.stopped and (not live or FAILED_MODEL in failed.tail)  # else it may be on its way
        ]
        current: dict[tuple[str, str], _Done] = {}
        for stage, shards in plan.shards_of().items():
            view.stages.append(self._read_stage(plan, stage, shards, current, view))
        if not live and all(one.shards["done"] == one.shards.total() for one in view.stages):
            view.state = "finished"
        return view

    def _read_stage(
        self, plan: Plan, stage: str, shards: Iterable[str], current: dict[tuple[str, str], _Done], view: RunView
    ) -> StageView:
        """Return how far a stage is; adds its failures to the view, and to ``current`` the ledgers that stand."""
        one = StageView(stage)
        unknown = 0
        totals: list[float] = []
        units: set[str] = set()
        for shard in shards:
            parents = [current.get(parent) for parent in plan.parents_of(stage, shard)]
            ledger = self._read_ledger(stage, shard)
            if ledger and _is_current(ledger, parents):
                current[stage, shard] = ledger
                one.shards["done"] += 1
                units.add(ledger.unit)
                one.items += ledger.taken
                totals.append(ledger.taken)
                ended = ledger.started + ledger.seconds
                one.work.append(Work(stage, shard, ledger.taken - ledger.reused, ledger.started, ended))
                continue
            expected = _expected(plan, stage, shard, parents)
            if expected is None:
                unknown += 1
            else:
                totals.append(expected)
            state, log = self._state(plan, stage, shard, view)
            one.shards[state] += 1
            if state == "running":
                self._add_running(one, shard, expected, view.time)
            elif state == "failed":
                one.given_up += expected or 0.0
                view.failures.append(Failure(stage, shard, "failed", log))
        if len(units) == 1:
            one.unit = units.pop()
        if not unknown:
            one.total = sum(totals)
        elif totals:
            one.total = sum(totals) * (1 + unknown / len(totals))
            one.estimated = True
        return one

    def _read_plan(self) -> Plan | None:
        file = self.results / PLAN
        try:
            changed = file.stat().st_mtime_ns
            if self._plan is None or self._plan[0] != changed:
                self._plan = changed, read_plan(file)
        except (FileNotFoundError, ValueError):  # that of another version is replaced when a run begins
            return None
        return self._plan[1]

    def _read_ledger(self, stage: str, shard: str) -> _Done | None:
        file = ledger_path(self.results, stage, shard)
        try:
            changed = file.stat().st_mtime_ns
            if file not in self._ledgers or self._ledgers[file][0] != changed:
                self._ledgers[file] = changed, _done(file)
        except FileNotFoundError:
            return None
        return self._ledgers[file][1]

    def _state(self, plan: Plan, stage: str, shard: str, view: RunView) -> tuple[ShardState, Path | None]:
        """Return the state of a shard without a ledger, and the log of its job in this run where that matters."""
        journal = self.results / "journal" / stage / _lock_name(plan, stage, shard)
        if holds(journal.with_suffix(".lock"), journal.glob("*"), view.time):
            return "running", None
        log = job_file(self.results, "logs", plan, stage, shard, ".log")
        if log is None:
            return "left", None
        written = log.stat().st_mtime
        if written < view.started or stopped_by(tail_of(log)):
            return "left", None
        if (
            view.state == "running"
            and view.time - written < STARTING_SECONDS
            and f"{stage} {shard} failed" not in tail_of(log)
        ):
            return "running", log
        return "failed", log

    def _add_running(self, one: StageView, shard: str, expected: float | None, now: float) -> None:
        try:
            state = json.loads((self.results / "journal" / one.name / shard / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # it has just started, or has no items
        # The unit of progress need not be the stage's: equal chunks are one text.
        scale = expected / state["total"] if expected and state["total"] else 1.0
        one.items += state["done"] * scale
        computed = (state["done"] - state["resumed"]) * scale
        one.work.append(
            Work(one.name, shard, computed, state["started"], max(state["started"], min(now, state["written"])))
        )


def _done(file: Path) -> _Done | None:
    try:
        ledger = read_ledger(file)
    except ValueError:
        return None
    return _Done(ledger.units.parent, ledger.taken.n, ledger.given.n, ledger.reused, ledger.started, ledger.seconds)


def _is_current(ledger: _Done, parents: list[_Done | None]) -> bool:
    """Tell whether a ledger stands: one that is older than what its shard was made of is made again."""
    return all(parent is not None and parent.started <= ledger.started + ledger.seconds for parent in parents)


def _expected(plan: Plan, stage: str, shard: str, parents: list[_Done | None]) -> float | None:
    """Return how many items a shard will take, or None while that is not known."""
    if stage == "convert":
        return float(len(plan.recordings[shard].files))
    if stage == "export":
        return float(plan.documents[shard].rows)
    known = [parent.given for parent in parents if parent is not None]
    return float(sum(known)) if known and len(known) == len(parents) else None


def _lock_name(plan: Plan, stage: str, shard: str) -> str:
    """Return the shard whose lock a job holds: of those that are written together, the first."""
    text = plan.text.get(shard)
    return plan.streams[text.stream][0] if stage == "ingest" and text and text.stream else shard


def holds(lock: Path, signs: Iterable[Path], now: float) -> bool:
    """Tell whether the process that a lock's file names is still at work.

    Trying the lock would be surer, and might be in the way of who wants it. Of a process on another machine only the
    times of the files it writes (``signs``) can tell.
    """
    try:
        who = json.loads(lock.read_text(encoding="utf-8"))
        written = lock.stat().st_mtime
        process, host = int(who["pid"]), who["host"]
    except (OSError, ValueError, KeyError):
        return False
    if host == socket.gethostname():
        return alive(process) and started_at(process) <= written + 1  # else its number was given to another
    return now - max(map(_time_of, (lock, *signs))) < SILENT_SECONDS


def _time_of(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def started_at(process: int) -> float:
    """Return when a process of this machine was started (seconds of the epoch); infinity when it is gone (proc(5))."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    boot = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _holder(lock: Path) -> str:
    who: dict[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    return f"process {who['pid']} on {who['host']}"
