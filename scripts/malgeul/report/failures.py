"""Shards without a ledger: which failed, with the end of their logs, and which were not reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from malgeul.plan import Plan
from malgeul.report.stages import job_file

TAIL_LINES = 40
TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Failure:
    """A missing shard; ``log`` and ``tail`` are those of its job, None and empty when no job of it ran."""

    stage: str
    shard: str
    what: str
    log: Path | None = None
    tail: str = ""


def find_failures(
    results: Path, plan: Plan, missing: Iterable[Mapping[str, str]], since: float = 0.0
) -> tuple[list[Failure], list[Failure]]:
    """Divide the shards that the audit found missing into those whose job ran and those that were not reached.

    A job ran when its log was written after ``since`` (seconds of the epoch, the start of the run).
    """
    failed, unreached = [], []
    for finding in missing:
        stage, shard, what = finding["stage"], finding["shard"], finding["what"]
        log = job_file(results, "logs", plan, stage, shard, ".log")
        if log and log.stat().st_mtime >= since:
            failed.append(Failure(stage, shard, what, log, tail_of(log)))
        else:
            unreached.append(Failure(stage, shard, what))
    return failed, unreached


def tail_of(log: Path) -> str:
    """Return the last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
