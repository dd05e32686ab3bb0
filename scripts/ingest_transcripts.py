"""Take the transcripts of a shard of recordings into the text wing: a recording is a document."""

import json
from collections import Counter
from typing import TYPE_CHECKING

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import DOCUMENTS, TableWriter
from malgeul.text.transcripts import document_of_transcript

if TYPE_CHECKING:
    from snakemake.script import snakemake


def ingest_transcripts(job: Job) -> None:
    """Write a document per recording in which something is said, sorted by id."""
    (transcribed,) = job.upstream
    counts: Counter[str] = Counter(control_characters=0, normalized_texts=0, characters=0)
    with TableWriter(job.staged("text"), DOCUMENTS) as table:
        for recording, name in transcribed.files_given(".json").items():
            transcript = json.loads((job.results / name).read_text(encoding="utf-8"))
            document = document_of_transcript(transcript, counts)
            if document is None:
                job.ledger.reject(recording, "no_speech")
                continue
            counts["characters"] += len(document["text"])
            table.write(document)
            job.ledger.use(recording)
            job.ledger.give(document["id"])
    job.ledger.measure(**counts)


if __name__ == "__main__":
    run_job(snakemake, ingest_transcripts, Units("recording", "document"), packages=("pyarrow",))
