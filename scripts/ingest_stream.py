"""Read a large compressed file once and deal its records out to all of its shards in turn."""

import resource
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from malgeul.shards.job import Job, run_jobs
from malgeul.shards.ledger import Units
from malgeul.shards.tables import DOCUMENTS, GROUP_CHARACTERS, TableWriter
from malgeul.text.documents import Intake
from malgeul.text.records import Source, read_source, source_digests

if TYPE_CHECKING:
    from snakemake.script import snakemake

WAITING_CHARACTERS = 1 << 27
"""Characters that wait in memory for their row groups, over all shards (2 to 4 bytes each)."""


def ingest_stream(jobs: Sequence[Job]) -> None:
    """Give record k of the file to shard k modulo their number."""
    first = jobs[0]
    source = Source.from_params(first.params)
    _allow_open_files(len(jobs))
    share = min(GROUP_CHARACTERS, WAITING_CHARACTERS // len(jobs))
    with ExitStack() as stack:
        tables = [stack.enter_context(TableWriter(job.staged("text"), DOCUMENTS, share)) for job in jobs]
        intakes = [Intake(source, table, job.ledger) for table, job in zip(tables, jobs, strict=True)]
        progress = stack.enter_context(first.progress(None))
        records = read_source(source, first.params["settings"]["max_record_bytes"])
        for number, record in enumerate(records):
            intakes[number % len(intakes)].take(record)
            progress.advance()
        for intake in intakes:
            intake.close()


def _allow_open_files(shards: int) -> None:
    """Raise the soft limit of open files as far as the shards need and the hard limit lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = soft if soft == resource.RLIM_INFINITY else max(soft, shards + 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


if __name__ == "__main__":
    run_jobs(
        snakemake,
        ingest_stream,
        Units("record", "document"),
        packages=("pyarrow", "zstandard"),
        relevant={"files": lambda job: source_digests(job.params)},
    )
