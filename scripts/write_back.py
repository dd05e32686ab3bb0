"""Write the new embedding version of a database: into a copy of it, or into the database itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from malgeul.embedding.batches import batches_of, read_ahead
from malgeul.embedding.documents import Survey
from malgeul.embedding.index import version_name
from malgeul.embedding.settings import Database
from malgeul.embedding.sqlite_store import SqliteStore, copy_database
from malgeul.embedding.store import Store, open_store
from malgeul.embedding.versions import Changes, Record, Version
from malgeul.shards.buckets import bucket_of
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Tally, Units

if TYPE_CHECKING:
    from snakemake.script import snakemake


def write_back(job: Job) -> None:
    """Insert chunks and vectors of all shards beside the old version, verify their number, switch."""
    settings = Database.model_validate(job.params["settings"])
    embedded = [ledger for ledger in job.upstream if ledger.stage == "embed"]
    version = Version(
        name=version_name(ledger.content for ledger in embedded),
        strategy=job.params["strategy"],
        model=job.params["model"],
        dimension=embedded[0].measured["dimension"],
        chunks=sum(ledger.given.n for ledger in embedded),
        metadata={"run": job.results.name, "settings": job.hint("settings")},
    )
    store = _store(job, settings)
    survey = store.survey(settings)
    changes = _changes(job, store, survey)
    if version.chunks:  # an empty version would take the place of a good one
        shards = list(zip(job.inputs["chunks"], job.inputs["embeddings"], strict=True))
        law = settings.layout == "law"
        record = Record(_as_planned(job, survey), settings)
        store.write(version, lambda skip: read_ahead(batches_of(shards, version.strategy, skip=skip, law=law)), record)
    written = Tally.of(_vector_ids(job))
    job.ledger.taken = job.ledger.used = job.ledger.given = written
    job.ledger.measure(version=version.name, chunks=version.chunks)
    if changes:
        job.ledger.measure(**{f"documents_{what}": number for what, number in changes.counts.items()})


def _store(job: Job, settings: Database) -> Store:
    """Return the store that is written to; a copy is made first where one was asked for."""
    if job.params["write_back"] == "copy":
        target = job.staged("database")
        copy_database(job.input("ancient"), target)
        return SqliteStore(target, alone=True)
    return open_store(job.input("ancient") if job.inputs["ancient"] else settings.path)


def _changes(job: Job, store: Store, survey: Survey) -> Changes | None:
    """Return what changed since the version that this one takes the place of; that of a copy is in the last copy."""
    if job.params["write_back"] == "copy":
        last = job.kept.file(str(job.outputs["database"].relative_to(job.results)))
        return SqliteStore(last).changes(survey) if last else None
    return store.changes(survey)


def _as_planned(job: Job, survey: Survey) -> dict[str, bytes]:
    """Return the documents whose buckets are as the plan has them.

    Of a bucket that changed meanwhile nobody can tell which documents the version was made of: they are left out and
    count as new until the next run.
    """
    planned = job.params["buckets"]
    found = survey.buckets(len(planned))
    same = [list(bucket) == list(plan) for bucket, plan in zip(found, planned, strict=True)]
    contents = survey.contents()
    if all(same):
        return contents
    return {name: digest for name, digest in contents.items() if same[bucket_of(name, len(same))]}


def _vector_ids(job: Job) -> Iterator[str]:
    for table in job.inputs["embeddings"]:
        yield from pq.read_table(table, columns=["chunk_id"])["chunk_id"].to_pylist()


if __name__ == "__main__":
    run_job(snakemake, write_back, Units("vector", "vector"))
