"""Trials that decide for a whole run: what was measured once is kept, so that no two shards decide differently.

A measurement of speed is noise for a part, and a close one would come out for one precision in one job and for another
in the next: a run would hold vectors and texts of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from malgeul.models.devices import Device
from malgeul.shards.files import digest_of, write_json
from malgeul.shards.job import Job
from malgeul.shards.locks import shard_lock

PATIENCE = 3600.0
"""Seconds a job waits for another one that measures the same."""

Trials = dict[str, dict[str, float]]
"""Precisions, and the figures of each."""


def tried_once(job: Job, device: Device, precisions: Sequence[str], measure: Callable[[], Trials]) -> Trials:
    """Return what ``measure`` gave the first time in this run, on a processor or GPU of this name.

    It is kept in ``measured/<stage>/<digest>.json`` of the run's results with what it depends on: device, threads, the
    precisions that were tried, and whatever the job's results depend on (model, versions, settings such as a prompt);
    a setting that changes no result leaves it as it is, so that shards that are finished and new ones stay alike. The
    ledger has it too. Jobs that ask meanwhile wait for it.
    """
    depends_on = {
        "device": {"kind": device.kind, "name": device.name},
        "threads": job.threads,
        "model": job.identity,
        "versions": job.versions,
        "settings": job.settings_key[:16],
        "precisions": list(precisions),
    }
    file = job.results / "measured" / job.stage / f"{digest_of(depends_on)[:16]}.json"
    if not file.is_file():
        with shard_lock(file.with_suffix(".lock"), PATIENCE):
            if not file.is_file():
                write_json(file, {**depends_on, "trials": measure(), "measured_by": job.shard})
    known = json.loads(file.read_text(encoding="utf-8"))
    trials: Trials = {precision: known["trials"][precision] for precision in precisions}  # in the order of trying
    job.ledger.measure(trials=trials, tried_by=known["measured_by"])
    return trials
