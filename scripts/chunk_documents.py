"""Cut a shard's documents into chunks that the embedding model can take whole."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from malgeul.embedding.chunker import Chunker, Cut, pack, unpack
from malgeul.embedding.sentences import SentenceProcess
from malgeul.embedding.settings import ChunkSettings
from malgeul.embedding.tokens import load_text_tokenizer
from malgeul.models.loading import identity
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import CHUNKS, LOOKED_UP_CHARACTERS, TableWriter, count_rows, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake

BATCH = 512
"""Documents that are cut and recorded together: at most this many are cut again after a kill."""

BATCH_CHARACTERS = 1 << 22
"""A batch ends earlier when its texts have this many characters, so that long documents do not fill the memory."""


def chunk_documents(job: Job) -> None:
    """Write the chunks of every document in the order of the shard."""
    settings = ChunkSettings.model_validate(job.params["settings"])
    tokenizer = load_text_tokenizer({**job.params["spelled"], "prompt": job.params["prompt"]})
    source = job.input("documents")
    counts = Counter(characters=0, tokens=0, shared_characters=0, punctuated=0)
    with ExitStack() as stack:
        out = stack.enter_context(TableWriter(job.staged("chunks"), CHUNKS, LOOKED_UP_CHARACTERS))
        progress = stack.enter_context(job.progress(count_rows(source)))
        kiwi = stack.enter_context(SentenceProcess(job.threads)) if settings.sentences == "kiwi" else None
        chunker = Chunker(settings, tokenizer, kiwi)
        for batch in _batches(read_rows(source, ["id", "text", "source", "meta"])):
            documents = [(document["text"], _kind(document)) for document in batch]
            key = job.item_key(documents)
            if key in job.journal:
                cuts = unpack(job.journal.blob(key))
                progress.resume(len(batch))
            else:
                cuts = chunker.cut(documents)
                job.journal.put(key, blob=pack(cuts))
                progress.advance(len(batch))
            for document, cut in zip(batch, cuts, strict=True):
                _account(job, document["id"], cut)
                for row in _rows(document, cut, several_sizes=settings.strategy == "hybrid"):
                    out.write(row)
                    job.ledger.give(row["chunk_id"])
                    counts["tokens"] += row["n_tokens"]
                    counts["shared_characters"] += row["overlap"]
                counts["characters"] += len(document["text"])
                counts["punctuated"] += cut.punctuated is not None
    job.ledger.measure(**counts)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row["text"])
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _kind(document: dict[str, Any]) -> str | None:
    kind = json.loads(document["meta"]).get("kind")
    return kind if isinstance(kind, str) else None  # any field of a source may have this name


def _account(job: Job, document_id: str, cut: Cut) -> None:
    if cut.fault:
        job.ledger.quarantine(document_id, cut.fault)
        return
    job.ledger.use(document_id)
    if cut.punctuated:
        job.ledger.note(document_id, sentences="punctuation", reason=cut.punctuated.reason)


def _rows(document: dict[str, Any], cut: Cut, *, several_sizes: bool) -> Iterator[dict[str, Any]]:
    for number, chunk in enumerate(cut.chunks):
        name = f"{chunk.size}{number}" if several_sizes else str(number)
        yield {
            "chunk_id": f"{document['source']}/{document['id']}#{name}",
            "document_id": document["id"],
            "source": document["source"],
            "index": number,
            "start": chunk.start,
            "end": chunk.end,
            "text": document["text"][chunk.start : chunk.end],
            "n_tokens": chunk.tokens,
            "overlap": chunk.overlap,
            "level": chunk.level,
            "size": chunk.size,
            "query_type": chunk.query_type,
        }


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return identity(params["spelled"]["model"], params["spelled"]["revision"])


if __name__ == "__main__":
    run_job(
        snakemake,
        chunk_documents,
        Units("document", "chunk"),
        packages=("tokenizers", "kiwipiepy", "kiwipiepy_model"),
        identity=_identity,
    )
