"""How fast the stages were: items and what their ledgers measured per second, memory and cores from the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgeul.pages.quantities import number, rate
from malgeul.plan import Plan
from malgeul.report.stages import job_file
from malgeul.report.timeline import total, union
from malgeul.shards.ledger import Ledger

PACE = {"characters_in": "character", "characters": "character"}
"""What ledgers measure of all items of a shard that makes a rate, the most telling first, and its unit."""

SAMPLED_SECONDS = 2.0
"""Snakemake samples memory every half second at first: of a shorter job it has seen little more than the start."""


@dataclass(frozen=True)
class Speed:
    """The pace of a stage.

    ``seconds`` is the time in which any of its jobs ran, ``computed`` and ``reused`` count items. Rates are of what was
    computed, over the jobs that computed anything; what is measured of whole shards only (seconds of audio, characters)
    has one over the jobs that reused nothing. They are None where there is no such job. ``memory_mb`` is the peak of
    one job and ``cores`` the processor time per second, both None where no job was long enough to be sampled.
    ``load_seconds`` went into loading models.
    """

    jobs: int
    computed: int
    reused: int
    seconds: float
    job_seconds: float
    items: str | None
    pace: str | None
    memory_mb: float | None
    cores: float | None
    load_seconds: float


def speed_of(ledgers: Sequence[Ledger], benchmarks: Iterable[dict[str, Any]]) -> Speed:
    """Return the pace of a stage from its ledgers and its jobs' benchmark records."""
    at_work = [ledger for ledger in ledgers if ledger.taken.n > ledger.reused and ledger.seconds]
    computed = sum(ledger.taken.n - ledger.reused for ledger in at_work)
    units = {ledger.units.parent for ledger in at_work}
    sampled = [record for record in benchmarks if record["s"] >= SAMPLED_SECONDS and record["max_rss"] != "NA"]
    clock = sum(record["s"] for record in sampled)
    return Speed(
        jobs=len(ledgers),
        computed=sum(ledger.taken.n - ledger.reused for ledger in ledgers),
        reused=sum(ledger.reused for ledger in ledgers),
        seconds=_busy(ledgers),
        job_seconds=sum(ledger.seconds for ledger in ledgers),
        items=rate(computed / _busy(at_work), units.pop() if len(units) == 1 else "item") if computed else None,
        pace=_pace(at_work),
        memory_mb=max((record["max_rss"] for record in sampled), default=None),
        cores=sum(record["cpu_time"] for record in sampled) / clock if clock else None,
        load_seconds=_sum((ledger for ledger in ledgers if not ledger.computed_nothing), "load_seconds"),
    )


def _busy(ledgers: Iterable[Ledger]) -> float:
    return total(union((ledger.started, ledger.started + ledger.seconds) for ledger in ledgers))


def _pace(at_work: Sequence[Ledger]) -> str | None:
    """Return how many times real time recordings went through, or how many tokens or characters a second."""
    fresh = [ledger for ledger in at_work if not ledger.reused]
    seconds = _busy(fresh)
    if audio := _sum(fresh, "audio_seconds"):
        return f"{number(audio / seconds)} × real time"
    if tokens := _sum(at_work, "tokens"):  # those that were computed
        return rate(tokens / _busy(at_work), "token")
    paces = (rate(n / seconds, unit) for name, unit in PACE.items() if (n := _sum(fresh, name)))
    return next(paces, None)


def _sum(ledgers: Iterable[Ledger], name: str) -> float:
    return sum(ledger.measured.get(name) or 0 for ledger in ledgers)


def read_benchmarks(results: Path, plan: Plan, stage: str, shards: Iterable[str]) -> list[dict[str, Any]]:
    """Return Snakemake's benchmark records of a stage's jobs; a file that is none is left out."""
    files = {job_file(results, "benchmarks", plan, stage, shard, ".jsonl") for shard in shards}
    records = []
    for file in sorted(file for file in files if file):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # a job that was killed while Snakemake wrote it
                continue
            records.append(record)
    return records
