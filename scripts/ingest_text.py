"""Read a shard's files into documents: id, clean text, source, and everything else as JSON."""

from typing import TYPE_CHECKING

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import DOCUMENTS, TableWriter
from malgeul.text.documents import Intake
from malgeul.text.records import Source, read_source, source_digests

if TYPE_CHECKING:
    from snakemake.script import snakemake


def ingest_text(job: Job) -> None:
    """Write the documents of the shard's files, or of its part of one large file."""
    source = Source.from_params(job.params)
    records = read_source(source, job.params["settings"]["max_record_bytes"])
    with TableWriter(job.staged("text"), DOCUMENTS) as table, job.progress(None) as progress:
        intake = Intake(source, table, job.ledger)
        for record in records:
            intake.take(record)
            progress.advance()
        intake.close()


if __name__ == "__main__":
    run_job(
        snakemake,
        ingest_text,
        Units("record", "document"),
        packages=("pyarrow", "zstandard"),
        relevant={"files": lambda job: source_digests(job.params)},
    )
