"""Read a shard's files into documents: id, clean text, source, and everything else as JSON."""

from typing import TYPE_CHECKING

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import DOCUMENTS, TableWriter
from malgeul.text.documents import Intake
from malgeul.text.records import Source, part_digest, read_source

if TYPE_CHECKING:
    from snakemake.script import snakemake


def ingest_text(job: Job) -> None:
    """Write the documents of the shard's files, or of its part of one large file."""
    source = Source.from_params(job.params["source"])
    records = read_source(source, job.inputs["files"], job.params["settings"]["max_record_bytes"])
    with TableWriter(job.staged("text"), DOCUMENTS) as table, job.progress(None) as progress:
        intake = Intake(source, table, job.ledger)
        for record in records:
            intake.take(record)
            progress.advance()
        intake.close()


def _own_part(job: Job) -> str | None:
    """Return the digest of the shard's part of one large file: hashing the whole for every part would take longer."""
    source = Source.from_params(job.params["source"])
    if source.format != "jsonl" or source.parts == 1 or not job.inputs["files"]:
        return None
    return part_digest(job.input("files"), source.part, source.parts, job.params["settings"]["max_record_bytes"])


if __name__ == "__main__":
    run_job(
        snakemake,
        ingest_text,
        Units("record", "document"),
        packages=("pyarrow", "zstandard"),
        relevant={"files": _own_part},
    )
