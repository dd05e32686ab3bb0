"""Shards without a ledger, and models that are not there: which failed, with the end of their logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from malgeul.plan import Plan
from malgeul.report.stages import job_file
from malgeul.shards.stopping import stopped_by

MODEL_JOBS = {"fetch_model": "models", "quantize_model": "models/quantized"}
"""Rules that have models here, and where each leaves a file for every model."""

TAIL_LINES = 40
TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Failure:
    """A missing shard, or a model with its rule as ``stage``.

    ``log`` and ``tail`` are those of its job, None and empty when no job of it ran.
    """

    stage: str
    shard: str
    what: str
    log: Path | None = None
    tail: str = ""

    @property
    def stopped(self) -> bool:
        """Whether nothing was wrong: somebody stopped the run while its job was under way."""
        return stopped_by(self.tail) is not None


def without_stopped(failures: Iterable[Failure]) -> tuple[list[Failure], int]:
    """Return those that failed by themselves, and how many were stopped."""
    found = list(failures)
    failed = [one for one in found if not one.stopped]
    return failed, len(found) - len(failed)


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


def failed_models(results: Path, since: float = 0.0) -> list[Failure]:
    """Return the models whose jobs wrote logs after ``since`` and left nothing: what needs them was not reached."""
    return [
        Failure(rule, log.stem, "is not here", log, tail_of(log))
        for rule, folder in MODEL_JOBS.items()
        for log in sorted((results / "logs" / rule).glob("*.log"))
        if log.stat().st_mtime >= since and not (results / folder / f"{log.stem}.json").is_file()
    ]


def tail_of(log: Path) -> str:
    """Return the last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
