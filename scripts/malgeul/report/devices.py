"""What jobs did with models and GPUs: how long loading took, how busy the device was, which operators were slow."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from malgeul.models.sampling import Sample, read_samples
from malgeul.report.stages import STAGES
from malgeul.shards.ledger import Ledger

JOBS_SHOWN = 50
"""Jobs listed one by one, those first that lost most; the sums are over all."""

PROFILES_SHOWN = 6
"""Profiles shown of each stage."""
OPERATORS_SHOWN = 15

COLUMNS = 60
"""Width of the small chart of a GPU's utilization, in bars."""


def loads(ledgers: Iterable[Ledger]) -> list[dict[str, Any]]:
    """Return what loading models took, by stage: sums over its jobs, and the jobs themselves, the longest load first.

    ``share`` is that of the time of the jobs that loaded a model (another had nothing to compute). Bandwidth is over
    the time of loading without the imports of the libraries. Peaks of memory are the highest, or None.
    """
    rows = []
    for name, jobs in _by_stage(ledgers, "load").items():
        accounts = [(ledger, ledger.measured["load"]) for ledger in jobs]
        listed = [
            {**load, **_place(ledger), "job_seconds": ledger.seconds, "whole": load["seconds"] + load["import_seconds"]}
            for ledger, load in accounts
        ]
        seconds = sum(load["seconds"] for _, load in accounts)
        size = sum(load["bytes"] for _, load in accounts)
        rows.append(
            {
                "stage": STAGES[name],
                "n": len(jobs),
                "bytes": size,
                "seconds": seconds,
                "import_seconds": sum(load["import_seconds"] for _, load in accounts),
                "whole": sum(row["whole"] for row in listed),
                "job_seconds": sum(ledger.seconds for ledger in jobs),
                "megabytes_per_second": size / 1e6 / seconds if seconds else None,
                "peak_host_bytes": _highest(load["peak_host_bytes"] for _, load in accounts),
                "peak_gpu_bytes": _highest(load["peak_gpu_bytes"] for _, load in accounts),
                "jobs": sorted(listed, key=lambda row: (-row["whole"], row["shard"]))[:JOBS_SHOWN],
            }
        )
    return rows


def gpus(results: Path, ledgers: Iterable[Ledger]) -> dict[str, Any] | None:
    """Return how busy the GPU was in the jobs that held one, the idlest first, or None where no job did.

    ``stages`` are sums by stage, ``jobs`` the summaries of the jobs' samples with a chart, ``reasons`` what a device
    did not tell, and why.
    """
    jobs = []
    reasons: dict[str, set[str]] = defaultdict(set)
    stages = []
    for name, of_stage in _by_stage(ledgers, "gpu").items():
        rows = [{**ledger.measured["gpu"], **_place(ledger)} for ledger in of_stage]
        for row in rows:
            for what, why in row["not_measured"].items():
                reasons[what].add(why)
        jobs += rows
        energies = [row["energy_joules"] for row in rows if row["energy_joules"] is not None]
        stages.append(
            {
                "stage": STAGES[name],
                "n": len(rows),
                "utilization": _weighted(rows, "utilization_mean"),
                "idle_share": _weighted(rows, "idle_share"),
                "peak": _highest(_memory(row) for row in rows),
                "power": _weighted(rows, "power_watts_mean"),
                "energy": sum(energies) if energies else None,
            }
        )
    if not jobs:
        return None
    jobs.sort(key=lambda row: (-(row["idle_share"] or 0) * row["seconds"], row["shard"]))
    shown = [
        {**row, "memory": _memory(row), "chart": bars(read_samples(results / row["file"]))} for row in jobs[:JOBS_SHOWN]
    ]
    return {
        "stages": stages,
        "jobs": shown,
        "more": len(jobs) - len(shown),
        "reasons": {what: sorted(why) for what, why in sorted(reasons.items())},
    }


def bars(samples: Sequence[Sample], columns: int = COLUMNS) -> list[dict[str, float]]:
    """Return the utilization over a job's time as bars, places and heights in percent; None measured has no bar."""
    known = [(s["time"], s["utilization"]) for s in samples if s.get("utilization") is not None]
    if len(known) < 2:
        return []
    times = [time for time, _ in known if time is not None]
    start, span = times[0], max(times[-1] - times[0], 1e-9)
    groups: dict[int, list[float]] = defaultdict(list)
    columns = min(columns, len(known))
    for time, busy in known:
        groups[min(columns - 1, int((time - start) / span * columns))].append(busy)  # type: ignore[operator,arg-type]
    width = 100 / columns
    return [{"x": k * width, "width": width, "height": sum(group) / len(group)} for k, group in sorted(groups.items())]


def profiles(results: Path, ledgers: Iterable[Ledger]) -> dict[str, Any] | None:
    """Return the profiles of jobs with their slowest operators, or None where no job was profiled.

    A profile that failed has ``failed``; one whose files were removed since, likewise.
    """
    found = _by_stage(ledgers, "profile").values()
    shown = [_profile(results, ledger) for jobs in found for ledger in jobs[:PROFILES_SHOWN]]
    return {"jobs": shown, "more": sum(map(len, found)) - len(shown)} if shown else None


def _profile(results: Path, ledger: Ledger) -> dict[str, Any]:
    facts = {**ledger.measured["profile"], **_place(ledger)}
    if "failed" in facts:
        return facts
    try:
        table = json.loads((results / facts["folder"] / "operators.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {**facts, "failed": f"its table cannot be read ({error})"}
    on_gpu = table["gpu_seconds"] is not None
    time = "gpu_seconds" if on_gpu else "cpu_seconds"
    return {
        **facts,
        "on_gpu": on_gpu,
        "total": table[time],
        "time": time,
        "operators": table["operators"][:OPERATORS_SHOWN],
    }


def _by_stage(ledgers: Iterable[Ledger], account: str) -> dict[str, list[Ledger]]:
    """Return the ledgers that hold an account of their own, by stage in the order of the flow."""
    known = [ledger for ledger in ledgers if ledger.measured.get(account) and not ledger.computed_nothing]
    return {name: jobs for name in STAGES if (jobs := [ledger for ledger in known if ledger.stage == name])}


def _place(ledger: Ledger) -> dict[str, Any]:
    return {"stage": STAGES[ledger.stage], "shard": ledger.shard}


def _memory(row: dict[str, Any]) -> int | None:
    """Return the peak of the device's memory; where it does not tell (unified memory), what torch held of it."""
    peak: int | None = row["peak_torch_bytes"] if row["peak_memory_bytes"] is None else row["peak_memory_bytes"]
    return peak


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _weighted(rows: Iterable[dict[str, Any]], name: str) -> float | None:
    """Return the mean over the jobs' time, of those in which it was measured."""
    known = [(row["seconds"], row[name]) for row in rows if row[name] is not None]
    whole = sum(seconds for seconds, _ in known)
    return sum(seconds * value for seconds, value in known) / whole if whole else None
