"""What happens when the Snakefile is parsed, before any rule: config, plan, check of the results, the run's lock."""

from __future__ import annotations

import os
import sqlite3
import sys
from argparse import Namespace
from collections.abc import Iterable
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import IO

from malgeul import ROOT
from malgeul.config import ConfigError, RunConfig, check_keys, read_config
from malgeul.models.local import lost_models
from malgeul.models.variables import answers, memory_cap
from malgeul.plan import RESULTS, Plan, make_plan, read_plan
from malgeul.shards.files import write_json
from malgeul.shards.locks import OWNER, holder_of, try_lock
from malgeul.shards.retries import forget_failures
from malgeul.shards.stopping import hang_up_as_interrupt
from malgeul.shards.verify import (
    Damage,
    ahead_of,
    bring_back_times,
    find_damage,
    find_stale,
    remove_damaged,
    remove_ledgers,
    tell_by_shard,
)

PLAN = "plan.json"
LOCK = ".run.lock"
SHARDS_SHOWN = 5

# Options of Snakemake's command line with which no job runs.
LOOKS_ONLY = (
    "dryrun",
    "lint",
    "unlock",
    "dag",
    "rulegraph",
    "filegraph",
    "d3dag",
    "summary",
    "detailed_summary",
    "list_rules",
    "list_target_rules",
    "list_changes",
    "list_input_changes",
    "list_params_changes",
    "list_untracked",
    "print_compilation",
    "archive",
    "containerize",
    "touch",
    "cleanup_metadata",
    "cleanup_shadow",
    "container_cleanup_images",
    "conda_create_envs_only",
    "conda_cleanup_envs",
    "list_conda_envs",
    "delete_all_output",
    "delete_temp_output",
    "generate_unit_tests",
    "export_cwl",
)

MAKE_NOTHING = frozenset({"verify", "prune"})
"""Targets with which nothing is made: shards that are not of the input as it is now wait for a run that makes them."""

_held: list[IO[str]] = []
"""The run's lock, held until this process ends."""


@dataclass(frozen=True)
class Session:
    """A parsed Snakefile: the config, where results go, the plan, and what was found damaged and removed."""

    config: RunConfig
    results: Path
    plan: Plan
    damage: list[Damage] = field(default_factory=list)


def executes_jobs(options: Namespace) -> bool:
    """Tell whether Snakemake runs jobs with these options (no dry run, lint, report, unlock, graph or listing)."""
    reports_only = (options.report or options.reporter) and not options.report_after_run
    return not reports_only and not any(getattr(options, name) for name in LOOKS_ONLY)


def _makes_nothing(options: Namespace) -> bool:
    return bool(options.targets) and MAKE_NOTHING.issuperset(options.targets)


def parse_options(argv: list[str]) -> Namespace:
    """Return the options of a command line and of its profiles by Snakemake's parser.

    Snakemake parses the Snakefile before it knows what will be done. What the parser tells is not told twice.
    """
    from snakemake.cli import get_argument_parser, parse_args

    # Where --directory has led, the relative path of a profile may lead nowhere.
    with redirect_stderr(StringIO()), suppress(SystemExit):
        return Namespace(**vars(parse_args(argv)[1]))
    return Namespace(**vars(get_argument_parser().parse_args(argv)))


def start(
    raw: dict[str, object], root: Path, *, main: bool, argv: list[str], files: Iterable[str | Path] = ()
) -> Session:
    """Read config and plan; in the main process of a run also lock the results and remove what holds no more in them.

    ``files`` are those that Snakemake read ``raw`` from. Raises SystemExit with a message for the user when the config,
    an input, MAX_MEMORY_GB, another run or a disk is in the way.
    """
    try:
        config = read_config(dict(raw))
        results = RESULTS / config.run
        if not main:
            os.environ[OWNER] = str(os.getpid())
            return Session(config, results, read_plan(results / PLAN))
        check_keys(files)
        former = _former_plan(results / PLAN)
        plan = make_plan(config, root, former)
    except ConfigError as error:
        raise SystemExit(f"malgeul: {error}") from None
    damage: list[Damage] = []
    options = parse_options(argv)
    if executes_jobs(options):
        os.environ[OWNER] = str(os.getpid())
        hang_up_as_interrupt()
        _answer_variables()
        try:
            damage = _make_ready(results, plan, former, makes=not _makes_nothing(options))
        except OSError as error:
            raise SystemExit(
                f"malgeul: {results} cannot be made ready for a run: {error}; see to the disk and the rights there"
            ) from None
    elif options.dryrun and not _makes_nothing(options):
        _told_stale(results, plan, "a run makes them again")
    return Session(config, results, plan, damage)


def _make_ready(results: Path, plan: Plan, former: Plan | None, *, makes: bool) -> list[Damage]:
    """Lock the results, remove what holds no more in them, write the plan; return what was damaged.

    What is not of the input as it is now stays unless the run ``makes`` anything.
    """
    _lock(results)
    forget_failures(results)
    _see_to_times(results, plan)
    damage = [*find_damage(results), *_lost_versions(results, plan)]
    planned = {(stage, shard) for stage, shards in plan.shards_of().items() for shard in shards}
    for shard, told in tell_by_shard(damage).items():
        follows = "it is made again" if shard in planned else "it is removed: its input is gone"
        print(f"malgeul: damaged: {told}; {follows}", file=sys.stderr)
    remove_damaged(results, damage)
    if makes:
        remove_ledgers(results, _told_stale(results, plan, "made again"))
    for file in lost_models(results):
        print(f"malgeul: {file} names no model that is there; it is had again where a job needs it", file=sys.stderr)
        file.unlink()
    if plan != former:
        write_json(results / PLAN, plan.to_json())
    return damage


def _see_to_times(results: Path, plan: Plan) -> None:
    """Bring times of results that are ahead of the clock back; where what rules read is ahead as well, only tell.

    Snakemake compares results with the scripts and the models: were they alone brought back, all would be made again,
    by jobs that fail since what they make is older than what they read.
    """
    began = (results / LOCK).stat().st_mtime_ns
    models = (Path(file) for model in plan.models.values() for file in model.files)
    if read := ahead_of(began, [*ROOT.glob("scripts/*.py"), *models]):
        print(
            f"malgeul: files that rules read are ahead of the clock ({len(read)}, {read[0]} among them), so that a job "
            "which reads them fails; touch them",
            file=sys.stderr,
        )
    elif ahead := bring_back_times(results, began):
        print(f"malgeul: the clock was set back: the times of {ahead} files in {results} were ahead", file=sys.stderr)


def _lost_versions(results: Path, plan: Plan) -> list[Damage]:
    """Return the ledgers whose versions somebody removed from the databases that they were written into."""
    if not plan.written_into:
        return []
    from malgeul.embedding.store import lost_versions

    try:
        return list(lost_versions(results, plan.written_into))
    except (OSError, ValueError, sqlite3.Error) as error:
        raise SystemExit(
            f"malgeul: the database that was written into cannot be asked for its version: {error}"
        ) from None


def _told_stale(results: Path, plan: Plan, what_follows: str) -> list[tuple[str, str]]:
    """Return the shards that are not made of the input as it is now, and tell of them."""
    stale = find_stale(results, plan.states)
    if stale:
        print(f"malgeul: not made of the input as it is now: {_named(stale)}; {what_follows}", file=sys.stderr)
    return stale


def _named(shards: list[tuple[str, str]]) -> str:
    """Name a few shards, and say how many others there are."""
    named = ", ".join(f"{stage} {shard}" for stage, shard in shards[:SHARDS_SHOWN])
    others = len(shards) - SHARDS_SHOWN
    return f"{named} and {others} more" if others > 0 else named


def _former_plan(file: Path) -> Plan | None:
    """Return the plan of the last run; None where there is none, or another version's."""
    try:
        return read_plan(file)
    except (FileNotFoundError, ValueError):
        return None


def _answer_variables() -> None:
    """Tell of variables that count no more; a cap of memory that is none ends the run, as it would each of its jobs."""
    for line in answers():
        print(f"malgeul: {line}", file=sys.stderr)
    try:
        memory_cap()
    except ValueError as error:
        raise SystemExit(f"malgeul: {error}") from None


def _lock(results: Path) -> None:
    if _held:
        return
    lock = try_lock(results / LOCK)
    if lock is None:
        raise SystemExit(
            f"malgeul: {holder_of(results / LOCK)} is running in {results}; wait for it, or set another run: name"
        )
    _held.append(lock)
