"""The proof that nothing was lost (law 1): it is read from the plan and the ledgers, never from the data.

It holds when every planned shard has a ledger, every ledger balances (taken = used + rejected + quarantined, as
multisets of ids), every edge carries all ids (what a shard took is what the stage before gave), every recording that is
left out as a copy is in a shard, and every output that a ledger vouches for is there in its size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from malgeul.plan import Plan, read_plan
from malgeul.report.ids import difference, ids_given, recordings_held, single_id
from malgeul.shards.files import write_json
from malgeul.shards.ledger import Ledger, Tally, ledger_path, read_ledger
from malgeul.shards.verify import ledger_files
from malgeul.startup import PLAN

AUDIT = "audit.json"

NAMES_SHOWN = 20
"""A message lists at most this many shards or items; the rest is in audit.json, the ledgers and the report."""

Shard = tuple[str, str]
"""Stage and shard id."""


@dataclass(frozen=True)
class Finding:
    """A shard that is missing or does not add up."""

    stage: str
    shard: str
    what: str

    def __str__(self) -> str:
        return f"{self.stage} {self.shard}: {self.what}"


@dataclass
class Totals:
    """The sums over all ledgers of a stage; ``seconds`` are those of its jobs added up."""

    planned: int
    shards: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    used: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    seconds: float = 0.0

    def enter(self, ledger: Ledger) -> None:
        """Add one ledger."""
        self.shards += 1
        self.taken[ledger.units.parent] += ledger.taken.n
        self.given[ledger.units.child] += ledger.given.n
        self.used += ledger.used.n
        self.rejected.update(ledger.rejected)
        self.quarantined.update(fault["class"] for fault in ledger.quarantined)
        self.reused += ledger.reused
        self.seconds += ledger.seconds

    def to_json(self) -> dict[str, Any]:
        """Return the form in audit.json; ``in`` and ``out`` are numbers, ``units_in`` and ``units_out`` say of what."""
        return {
            "planned": self.planned,
            "shards": self.shards,
            "in": self.taken.total(),
            "out": self.given.total(),
            "units_in": dict(sorted(self.taken.items())),
            "units_out": dict(sorted(self.given.items())),
            "used": self.used,
            "rejected": dict(sorted(self.rejected.items())),
            "quarantined": dict(sorted(self.quarantined.items())),
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
        }


def planned_shards(plan: Plan) -> list[Shard]:
    """Return every shard of every stage of a plan, in the order of the flow."""
    return [(stage, shard) for stage, shards in plan.shards_of().items() for shard in shards]


def read_ledgers(results: Path, plan: Plan) -> tuple[dict[Shard, Ledger], list[Finding]]:
    """Return the ledger of every planned shard, in the order of the plan, and the shards without one to be read."""
    ledgers: dict[Shard, Ledger] = {}
    missing = []
    for shard in planned_shards(plan):
        try:
            ledgers[shard] = read_ledger(ledger_path(results, *shard))
        except FileNotFoundError:
            missing.append(Finding(*shard, "has no ledger: it failed or was not reached"))
        except (OSError, ValueError) as error:
            missing.append(Finding(*shard, f"its ledger cannot be read ({error})"))
    return ledgers, missing


def audit(
    plan: Plan,
    ledgers: Mapping[Shard, Ledger],
    missing: Iterable[Finding] = (),
    *,
    size_of: Callable[[str], int | None],
    ids_of: Callable[[Ledger], Iterable[str]] = lambda ledger: (),
) -> dict[str, Any]:
    """Return the verdict over the planned shards' ledgers; shards without one are ``missing``.

    ``size_of`` returns the size in bytes of an output by its name, or None; ``ids_of`` the ids that a shard gave, as
    far as they can be listed. An edge is checked when all its ledgers are there.
    """
    broken: list[Finding] = []
    edges = 0
    totals = {stage: Totals(len(shards)) for stage, shards in plan.shards_of().items()}
    came_in: Counter[str] = Counter()
    for (stage, shard), ledger in ledgers.items():
        totals[stage].enter(ledger)
        parents = plan.parents_of(stage, shard)
        if not parents:
            came_in[ledger.units.parent] += ledger.taken.n
        expected = plan.files_of(stage, shard)
        givers = [ledgers[parent] for parent in parents if parent in ledgers]
        if expected is None and parents and len(givers) == len(parents):
            expected = reduce(add, (giver.given for giver in givers))
        if expected is not None:
            edges += 1
            if expected != ledger.taken:
                broken.append(Finding(stage, shard, _edge(plan, ledger, givers, expected, ids_of)))
        if imbalance := ledger.imbalance():
            broken.append(Finding(stage, shard, imbalance))
        broken += [Finding(stage, shard, what) for what in _outputs(ledger, size_of)]
    broken += _lost_originals(ledgers)
    return {
        "holds": not broken and not missing,
        "broken": [asdict(finding) for finding in broken],
        "missing": [asdict(finding) for finding in missing],
        "edges": edges,
        "came_in": dict(sorted(came_in.items())),
        "rejected": sum(stage.rejected.total() for stage in totals.values()),
        "quarantined": sum(stage.quarantined.total() for stage in totals.values()),
        "stages": {name: stage.to_json() for name, stage in totals.items()},
    }


def _edge(
    plan: Plan,
    ledger: Ledger,
    givers: list[Ledger],
    expected: Tally,
    ids_of: Callable[[Ledger], Iterable[str]],
) -> str:
    """Say what is wrong with an edge, and which id it is where it is a single one."""
    unit = ledger.units.parent
    origin = f"{givers[0].stage} gave" if givers else "the plan names"
    if expected.n == ledger.taken.n:
        what = f"took {ledger.taken.n} {unit}s, but not those that {origin}"
    else:
        what = f"took {ledger.taken.n} {unit}s where {origin} {expected.n}"
    gap = difference(expected, ledger.taken)
    if givers:
        candidates = (identity for giver in givers for identity in ids_of(giver))
    else:
        candidates = (file.path for file in plan.recordings[ledger.shard].files)
    if name := single_id(gap, candidates):
        what += f": {name!r} {'is lost' if gap.n > 0 else 'was taken twice'}"
    later = [giver.stage for giver in givers if giver.started > ledger.started + ledger.seconds]
    if later:
        what += f" ({later[0]} was made again after it)"
    return what


def _lost_originals(ledgers: Mapping[Shard, Ledger]) -> Iterator[Finding]:
    """Yield the copies that were left out for a recording that no shard has.

    Shards are converted apart: the file that a copy was left out for may go, or change, before its own shard reads it.
    Of a shard whose ledger is missing, or of an earlier version, nothing can be told.
    """
    converted = {shard: ledger for (stage, shard), ledger in ledgers.items() if stage == "convert"}
    held = {recording for ledger in converted.values() for recording in recordings_held(ledger)}
    for shard, ledger in converted.items():
        for note in ledger.notes:
            original, home = note.get("duplicate_of"), note.get("shard", shard)
            known = home in converted and converted[home].state is not None
            if original is not None and original not in held and known:
                what = (
                    f"{note['item']} was left out as a copy of the recording {original} of {home}, which no shard has"
                )
                yield Finding("convert", shard, f"{what}: its file went or changed during the run. Run again")


def _outputs(ledger: Ledger, size_of: Callable[[str], int | None]) -> Iterator[str]:
    for name, known in ledger.outputs.items():
        size = size_of(name)
        if size is None:
            yield f"{name} is gone"
        elif size != known["size"]:
            yield f"{name} has {size} bytes instead of {known['size']}"


def write_audit(results: Path, on_bad_input: str) -> dict[str, Any]:
    """Audit the run in ``results``, write its verdict to audit.json whatever it is, and return it.

    ``on_bad_input`` is the config's: it goes into the verdict, for those who read that alone.
    """
    plan = read_plan(results / PLAN)
    ledgers, missing = read_ledgers(results, plan)

    def size_of(name: str) -> int | None:
        file = results / name
        return file.stat().st_size if file.is_file() else None

    def ids_of(ledger: Ledger) -> Iterable[str]:
        try:
            return list(ids_given(results, ledger))
        except (ImportError, OSError, ValueError, KeyError):  # a name would help; the verdict does not need it
            return []

    verdict = audit(plan, ledgers, missing, size_of=size_of, ids_of=ids_of)
    wanted = {ledger_path(results, *shard) for shard in planned_shards(plan)}
    verdict["unplanned"] = [f"{file.parent.name}/{file.stem}" for file in ledger_files(results) if file not in wanted]
    verdict["on_bad_input"] = on_bad_input
    write_json(results / AUDIT, verdict)
    return verdict


def complaint(verdict: Mapping[str, Any], quarantined: Iterable[Mapping[str, Any]]) -> str | None:
    """Return why a run with this verdict has to fail, or None; ``quarantined`` are the ledgers' entries of all stages.

    Raises nothing for a bad item unless the config says ``on_bad_input: fail``.
    """
    findings = [Finding(**finding) for finding in (*verdict["broken"], *verdict["missing"])]
    if findings:
        return _message("the audit does not hold", map(str, findings), len(findings))
    if verdict["on_bad_input"] == "fail" and verdict["quarantined"]:
        items = (f"{fault['class']} {fault['item']}: {fault['reason']}" for fault in quarantined)
        return _message("on_bad_input is fail and items were quarantined", items, verdict["quarantined"])
    return None


def _message(head: str, lines: Iterable[str], n: int) -> str:
    shown = [line for line, _ in zip(lines, range(NAMES_SHOWN), strict=False)]
    more = [f"… and {n - len(shown)} more"] if n > len(shown) else []
    return "\n  ".join([f"{head}:", *shown, *more])
