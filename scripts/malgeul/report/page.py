"""The page of a run: everything a person wants to know of it first, in one file without scripts or network."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from malgeul.pages import quantities
from malgeul.pages.rendering import templates
from malgeul.plan import Plan, read_plan
from malgeul.report import samples
from malgeul.report.audit import read_ledgers
from malgeul.report.curves import trainings
from malgeul.report.devices import gpus, loads, profiles
from malgeul.report.failures import failed_models, find_failures, without_stopped
from malgeul.report.funnel import funnel
from malgeul.report.machine import describe_machine
from malgeul.report.speeds import read_benchmarks, speed_of
from malgeul.report.stages import STAGES
from malgeul.report.timeline import timeline
from malgeul.shards.faults import PERMANENT
from malgeul.shards.files import written_whole
from malgeul.shards.ledger import Ledger
from malgeul.startup import PLAN

log = logging.getLogger(__name__)

REPORT = "report.html"
FUNNEL = "figures/funnel.svg"
TIMELINE = "figures/timeline.svg"
TEMPLATES = Path(__file__).parent / "templates"

ITEMS_SHOWN = 50
"""Items listed per class of fault and kind of note; how many there are is always said."""

NO_COUNTS = frozenset({"batch_tokens", "batch_windows", "dimension", "max_entity_freq", "window_megabytes"})
"""Whole numbers that ledgers measure and that do not add up over shards."""

Result = TypeVar("Result")


def write_report(results: Path, verdict: Mapping[str, Any], since: float = 0.0) -> None:
    """Write report.html and its figures for the run in ``results`` with the audit's ``verdict``.

    ``since`` is when the run started, to tell shards that failed in it from those that it did not reach.
    """
    plan = read_plan(results / PLAN)
    ledgers, _ = read_ledgers(results, plan)
    contents = describe_run(results, verdict, plan, list(ledgers.values()))
    failed, unreached = find_failures(results, plan, verdict["missing"], since)
    models = failed_models(results, since) if verdict["missing"] else []
    models, fetching = without_stopped(models)
    failed, working = without_stopped(failed)
    left = {"models": models, "failed": failed, "stopped": fetching + working, "unreached": unreached}
    pages = templates(TEMPLATES)
    for name, template, values in (
        (REPORT, "report.html.j2", {**contents, **left}),
        (FUNNEL, "funnel_figure.svg.j2", contents),
        (TIMELINE, "timeline_figure.svg.j2", contents),
    ):
        with written_whole(results / name) as staged:
            staged.write_text(pages.get_template(template).render(values), encoding="utf-8")


def describe_run(results: Path, verdict: Mapping[str, Any], plan: Plan, ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """Return all that the page shows, by the names its template uses; ``ledgers`` are in the order of the plan."""
    of_stage: dict[str, list[Ledger]] = defaultdict(list)
    for ledger in ledgers:
        of_stage[ledger.stage].append(ledger)
    unreadable: list[str] = []

    def look(what: str, read: Callable[[Path, Sequence[Ledger]], Result], stage: str) -> Result | None:
        """Read samples; files that are damaged or gone leave them out, and the page says so."""
        try:
            return read(results, of_stage[stage])
        except (ImportError, OSError, ValueError, KeyError, StopIteration) as error:
            log.warning("no %s in the report: %s: %s", what, type(error).__name__, error)
            unreadable.append(f"{what} ({type(error).__name__}: {error})")
            return None

    examples = look("examples of rejected documents", samples.rejections, "filter") or {}
    return {
        "run": results.name,
        "results": str(results),
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "verdict": verdict,
        "state": state_of(verdict),
        "tiles": tiles(verdict["stages"]),
        "flows": funnel(verdict["stages"]),
        "reasons": reasons(verdict["stages"], examples, ledgers),
        "faults": faults(ledgers),
        "notes": notes(ledgers),
        "timeline": timeline(ledgers),
        "speeds": [
            (stage, speed_of(of_stage[name], read_benchmarks(results, plan, name, plan.shards_of()[name])))
            for name, stage in STAGES.items()
            if of_stage[name]
        ],
        "loads": loads(ledgers),
        "gpus": gpus(results, ledgers),
        "profiles": profiles(results, ledgers),
        "index": index_facts(of_stage["index"]),
        "measured": [(STAGES[name], facts) for name in STAGES if (facts := measured(of_stage[name]))],
        "recordings": look("recordings", samples.recordings, "analyze") or {"shown": [], "n": 0},
        "transcripts": look("transcripts", samples.transcripts, "transcribe") or [],
        "documents": look("documents", samples.documents, "filter") or [],
        "selected": look("samples", samples.selected_samples, "select") or [],
        "capped": look("names over the cap", samples.capped_names, "cap") or [],
        "boilerplate": look("boilerplate", samples.boilerplate, "dedup") or [],
        "chunks": look("chunks", samples.chunks, "chunk") or [],
        "trainings": look("trainings", trainings, "train") or [],
        "unreadable": unreadable,
        "machine": describe_machine(),
        "devices": devices(ledgers),
        "versions": versions(ledgers),
        "ignored": plan.ignored,
        "items_shown": ITEMS_SHOWN,
    }


def state_of(verdict: Mapping[str, Any]) -> str:
    """Return what the page says first: broken, incomplete, refused (bad input where none is allowed) or holds."""
    if verdict["broken"]:
        return "broken"
    if verdict["missing"]:
        return "incomplete"
    return "refused" if verdict["on_bad_input"] == "fail" and verdict["quarantined"] else "holds"


def tiles(stages: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the figures shown largest: what came out of the run, and of how many."""
    wanted = (
        ("transcribe", "convert", "transcripts", "받아쓴 녹음", "of {} that came in"),
        ("filter", "ingest", "documents kept", "남은 글", "of {}"),
        ("merge", "select", "dataset rows", "데이터셋 행", "from {}"),
        ("index", "chunk", "vectors in the index", "색인한 벡터", "from {}"),
    )
    return [
        {
            "number": quantities.number(stages[last]["out"]),
            "label": label,
            "korean": korean,
            "of": of.format(quantities.amounts(stages[first]["units_in"])),
        }
        for last, first, label, korean, of in wanted
        if last in stages and stages[last]["shards"]
    ]


def reasons(
    stages: Mapping[str, Mapping[str, Any]], examples: Mapping[str, Mapping[str, Any]], ledgers: Iterable[Ledger]
) -> list[dict[str, Any]]:
    """Return why items were rejected, the most frequent reason of a stage first, with an example where there is one.

    ``examples`` are of the filter; of other stages, a ledger's note on a rejected item serves.
    """
    noted: dict[tuple[str, str], Mapping[str, Any]] = {}
    for ledger in ledgers:
        for note in ledger.notes:
            noted.setdefault((ledger.stage, str(note.get("what"))), note)
    return [
        {
            "stage": stage,
            "reason": reason,
            "n": n,
            "of": stages[name]["in"],
            "example": examples.get(reason) if name == "filter" else None,
            "note": noted.get((name, reason)),
        }
        for name, stage in STAGES.items()
        if name in stages
        for reason, n in sorted(stages[name]["rejected"].items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def faults(ledgers: Iterable[Ledger]) -> list[dict[str, Any]]:
    """Return what was quarantined by class: its meaning, whether a retry may help, how many, the first items."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for ledger in ledgers:
        for fault in ledger.quarantined:
            groups[fault["class"]].append({**fault, "stage": STAGES[ledger.stage], "shard": ledger.shard})
    return [
        {
            "class": kind,
            "meaning": PERMANENT.get(kind, ""),
            "retryable": items[0]["retryable"],
            "n": len(items),
            "items": items[:ITEMS_SHOWN],
        }
        for kind, items in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]


def notes(ledgers: Iterable[Ledger]) -> list[dict[str, Any]]:
    """Return what is noted of items that were used or rejected, by kind: how many, and the first of them."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for ledger in ledgers:
        for note in ledger.notes:
            facts = {name: value for name, value in note.items() if name not in {"item", "what"}}
            groups[str(note.get("what", "note"))].append({"item": note["item"], "facts": facts})
    return [{"what": what, "n": len(items), "items": items[:ITEMS_SHOWN]} for what, items in sorted(groups.items())]


def measured(ledgers: Sequence[Ledger]) -> dict[str, str]:
    """Return what a stage's ledgers measured, by name: sums of counts and seconds, else the range over its shards."""
    values: dict[str, list[float]] = defaultdict(list)
    for ledger in ledgers:
        for name, value in sorted(ledger.measured.items()):
            if isinstance(value, int | float) and not isinstance(value, bool):
                values[name].append(value)
    return {name: _summary(name, numbers) for name, numbers in values.items()}


def index_facts(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """Return what a reader wants to know of the index: how it searches, how much it finds, how fast; empty without one.

    Recall is the share of the ten nearest that exact search finds, of rows of the index as queries.
    """
    measured = next((ledger.measured for ledger in ledgers if "kind" in ledger.measured), None)
    if measured is None:
        return {}
    facts = {"vectors": measured["vectors"], "dimension": measured["dimension"]}
    if measured["kind"] == "exact":
        return {"search": "exact: every vector is compared", **facts}
    return {
        "search": f"FAISS inverted lists, {measured['lists_searched']:,} of {measured['lists']:,} for a query",
        **facts,
        "recall of 10": f"{measured['recall']:.4f} beside exact search, {measured['recall_queries']} queries",
        "a query": f"{measured['milliseconds']:.3g} ms; exact search {measured['exact_milliseconds']:.3g} ms (median)",
    }


def _summary(name: str, numbers: Sequence[float]) -> str:
    counts = name not in NO_COUNTS and all(isinstance(value, int) for value in numbers)
    if counts or "seconds" in name:
        return quantities.number(sum(numbers))
    low, high = quantities.number(min(numbers)), quantities.number(max(numbers))
    return low if low == high else f"{low} to {high}"


def devices(ledgers: Iterable[Ledger]) -> list[dict[str, Any]]:
    """Return the devices that jobs ran on, and how many jobs of which stages."""
    jobs: dict[tuple[tuple[str, str], ...], Counter[str]] = defaultdict(Counter)
    for ledger in ledgers:
        if ledger.device:
            jobs[tuple(_device_facts(ledger.device))][STAGES[ledger.stage].title] += 1
    return [{"facts": dict(facts), "jobs": dict(stages)} for facts, stages in sorted(jobs.items())]


def _device_facts(device: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(device):
        if device[name]:
            yield name, quantities.megabytes(device[name] / 1e6) if name == "memory" else str(device[name])


def versions(ledgers: Iterable[Ledger]) -> dict[str, str]:
    """Return the packages that decided results, with their versions."""
    found: dict[str, set[str]] = defaultdict(set)
    for ledger in ledgers:
        for package, version in ledger.versions.items():
            found[package].add(version)
    return {package: ", ".join(sorted(found[package])) for package in sorted(found)}


def summary(verdict: Mapping[str, Any]) -> list[str]:
    """Return the run in a few lines of plain text: what came in, what came out, what was left out."""
    stages = verdict["stages"]
    lines = [f"came in      {quantities.amounts(verdict['came_in'])}"]
    if figures := tiles(stages):
        lines.append("came out     " + ", ".join(f"{tile['number']} {tile['label']}" for tile in figures))
    for label, key in (("rejected   ", "rejected"), ("quarantined", "quarantined")):
        counts = sum((Counter(stage[key]) for stage in stages.values()), Counter[str]())
        listed = ", ".join(f"{name} {n:,}" for name, n in counts.most_common())
        lines.append(f"{label}  {counts.total():,}" + (f" ({listed})" if listed else ""))
    return lines
