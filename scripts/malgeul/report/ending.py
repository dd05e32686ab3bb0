"""The last lines of a run, and the report of one that failed: what Snakemake's handlers say.

They run in the main process after the last job. Nothing here raises: an error while telling of an error would hide it.
For the same reason, and because the Snakefile imports this module, everything heavy is imported when it is needed.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STARTED = time.time()
"""When this process read the Snakefile: a shard without a ledger whose log is older was not reached by this run."""


def tell_success(results: Path) -> str:
    """Return the last lines of a run that ended well."""
    return _told(_success(results))


def tell_failure(results: Path, on_bad_input: str) -> str:
    """Audit and report a run that failed, as far as it came, and return its last lines."""
    return _told(_failure(results, on_bad_input))


def _told(lines: Iterator[str]) -> str:
    """Collect lines; an error on the way becomes the last of them."""
    told = [""]
    try:
        told += (f"malgeul: {line}" for line in lines)
    except OSError as error:  # a full disk, results that nobody may write
        told.append(f"malgeul: the audit or the report could not be made: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        told.append("malgeul: stopped while the audit or the report was being made; the next run makes them")
    except Exception:  # noqa: BLE001
        told.append(f"malgeul: the audit or the report could not be made:\n{traceback.format_exc()}")
    return "\n".join(told)


def _success(results: Path) -> Iterator[str]:
    from malgeul.pages.quantities import amount
    from malgeul.report.audit import AUDIT

    verdict = json.loads((results / AUDIT).read_text(encoding="utf-8"))
    yield "nothing was lost" if verdict["holds"] else "the audit did not hold when it was last made"
    yield from _figures(results, verdict)
    if verdict["unplanned"]:
        gone = amount(len(verdict["unplanned"]), "shard")
        yield f"{gone} of inputs that are gone: `snakemake --cores 1 prune` removes them"


def _failure(results: Path, on_bad_input: str) -> Iterator[str]:
    from malgeul.pages.quantities import amount
    from malgeul.plan import read_plan
    from malgeul.report.audit import NAMES_SHOWN, complaint, write_audit
    from malgeul.report.failures import failed_models, find_failures, without_stopped
    from malgeul.report.page import state_of, write_report
    from malgeul.startup import PLAN

    verdict = write_audit(results, on_bad_input)
    failed, unreached = find_failures(results, read_plan(results / PLAN), verdict["missing"], STARTED)
    models = failed_models(results, STARTED)
    models, fetching = without_stopped(models)
    failed, working = without_stopped(failed)
    stopped = fetching + working
    if stopped:
        left = f", {amount(len(unreached), 'shard')} not reached" if unreached and not failed else ""
        yield f"stopped while {amount(stopped, 'job')} ran{left}; the same command goes on there"
    if models:
        yield f"{amount(len(models), 'model')} could not be had"
    if unreached and not (stopped or models or failed):
        yield f"ended with {amount(len(unreached), 'shard')} not reached; the same command goes on there"
    elif failed or (unreached and not stopped):
        yield f"{amount(len(failed), 'shard')} failed, {amount(len(unreached), 'shard')} not reached"
    for failure in [*models, *failed][:NAMES_SHOWN]:
        yield f"failed       {failure.stage} {failure.shard}: {failure.log}"
    if problem := complaint({**verdict, "missing": [], "quarantined": 0}, ()):
        yield problem
    if state_of(verdict) == "refused":
        bad = amount(verdict["quarantined"], "quarantined item")
        yield f"nothing was lost; the run fails because of {bad} (on_bad_input: fail)"
    if not (stopped or models) and state_of(verdict) == "holds":
        yield "ended when all shards were there; the same command makes what is left"
    write_report(results, verdict, STARTED)
    yield from _figures(results, verdict)


def _figures(results: Path, verdict: Mapping[str, Any]) -> Iterator[str]:
    from malgeul.report.page import REPORT, summary

    yield from summary(verdict)
    yield f"report       {results / REPORT}"
