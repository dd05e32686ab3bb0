"""Cut a shard's documents into chunks that the embedding model can take whole."""

import json
from typing import TYPE_CHECKING, Any

from malgeul.embedding.chunk import chunks_of, sizes_of
from malgeul.embedding.recipe import load_text_tokenizer
from malgeul.embedding.settings import ChunkSettings
from malgeul.models.loading import identity
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import CHUNKS, TableWriter, count_rows, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def chunk_documents(job: Job) -> None:
    """Write the chunks of every document in the order of the shard."""
    settings = ChunkSettings.model_validate(job.params["settings"])
    tokenizer = load_text_tokenizer(job.params["embed"])
    source = job.input("documents")
    with TableWriter(job.staged("chunks"), CHUNKS) as out, job.progress(count_rows(source)) as progress:
        for document in read_rows(source, ["id", "text", "source", "meta"]):
            job.ledger.use(document["id"])
            number = 0
            for size in sizes_of(settings, json.loads(document["meta"])):
                for chunk in chunks_of(document["text"], size, tokenizer.count, tokenizer.longest):
                    row = {
                        "chunk_id": f"{document['source']}/{document['id']}#{size.name}{number}",
                        "document_id": document["id"],
                        "source": document["source"],
                        "index": number,
                        "start": chunk.start,
                        "end": chunk.end,
                        "text": document["text"][chunk.start : chunk.end],
                        "n_tokens": chunk.tokens,
                    }
                    job.ledger.give(row["chunk_id"])
                    out.write(row)
                    number += 1
            progress.advance()


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return identity(params["embed"]["model"], params["embed"]["revision"])


if __name__ == "__main__":
    run_job(
        snakemake,
        chunk_documents,
        Units("document", "chunk"),
        packages=("tokenizers",),
        identity=_identity,
    )
