"""Build the index over the vectors of all shards."""

from typing import TYPE_CHECKING, Any

from malgeul.embedding.index import (
    VECTORS,
    Facts,
    IndexBuilder,
    read_ids,
    version_name,
    write_about,
    write_ids,
    write_lists,
)
from malgeul.embedding.query_model import describe_query_model
from malgeul.embedding.settings import IndexSettings
from malgeul.shards.files import link_or_copy
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.tables import count_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def build_index(job: Job) -> None:
    """Gather the vectors after comparing their sha256 with the ledgers, and index them if they are many."""
    job.check_contents()
    settings = IndexSettings.model_validate(job.params["settings"])
    tables, folder = job.inputs["embeddings"], job.staged("index")
    embedded = _of_stage(job, "embed")
    dimensions = {ledger.measured["dimension"] for ledger in embedded}
    if len(dimensions) != 1:
        raise ValueError(f"the shards have vectors of different dimensions: {sorted(dimensions)}")
    rows = sum(count_rows(table) for table in tables)
    with_lists = rows >= settings.exact_below
    with job.progress(2 * rows if with_lists else rows) as progress:

        def tell(vectors: int, resumed: bool) -> None:
            (progress.resume if resumed else progress.advance)(vectors)

        builder = IndexBuilder(job.journal, job.key, rows, dimensions.pop(), job.threads, tell)
        builder.gather(tables)
        facts = Facts("exact", rows, builder.dimension)
        if with_lists:
            facts = write_lists(builder, folder, settings.recall)
    link_or_copy(builder.file, folder / VECTORS)
    shards = ((read_ids(table), read_ids(chunks)) for table, chunks in zip(tables, job.inputs["chunks"], strict=True))
    for name in write_ids(folder, shards):
        job.ledger.use(name)
        job.ledger.give(name)
    about = {
        "embedding_version": version_name(ledger.content for ledger in embedded),
        "model": job.identity,
        "shards": _shards(job),
    }
    write_about(folder, facts, about)
    job.ledger.measure(vectors=rows, dimension=facts.dimension, **facts.measured())


def _of_stage(job: Job, stage: str) -> list[Ledger]:
    return [ledger for ledger in job.upstream if ledger.stage == stage]


def _shards(job: Job) -> list[dict[str, str]]:
    """Return what tells later whether the index is still that of its shards: their vectors and their chunks' bytes.

    They have the order of the rule's inputs.
    """
    chunked = {ledger.shard: ledger for ledger in _of_stage(job, "chunk")}
    return [
        {
            "name": ledger.shard,
            "content": ledger.content,
            "chunks": chunked[ledger.shard].outputs[f"chunks/{ledger.shard}.parquet"]["sha256"],
        }
        for ledger in _of_stage(job, "embed")
    ]


def _versions(job: Job) -> list[dict[str, str]]:
    """Return what the index depends on: not only the vectors, but the version that they are called after."""
    return _shards(job)


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return describe_query_model(params["embed"])


if __name__ == "__main__":
    run_job(
        snakemake,
        build_index,
        Units("vector", "entry"),
        packages=("numpy", "pyarrow", "faiss-cpu"),
        identity=_identity,
        relevant={"embeddings": _versions},
    )
