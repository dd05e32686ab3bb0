"""Write the new embedding version of a database: into a copy of it, or into the database itself."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from malgeul.embedding.database import connect, tables_of
from malgeul.embedding.index import version_name
from malgeul.embedding.versions import Version, VersionedChunk, copy_database, lacks_version_in_key, write_version
from malgeul.shards.files import written_whole
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def write_back(job: Job) -> None:
    """Insert chunks and vectors of all shards, verify their number, switch: all or nothing."""
    source: Path = job.input("ancient")
    embedded = [ledger for ledger in job.upstream if ledger.stage == "embed"]
    expected = sum(ledger.given.n for ledger in embedded)
    version = Version(
        name=version_name(ledger.key for ledger in embedded),
        strategy=job.params["strategy"],
        model=job.params["model"],
        dimension=embedded[0].measured["dimension"],
        metadata={"run": job.results.name, "chunks": expected},
    )
    if job.params["write_back"] == "copy":
        target = job.staged("database")
        copy_database(source, target)
        if expected:  # an empty version would take the place of a good one
            write_version(target, version, _chunks(job), expected)
        with closing(connect(target, write=True)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, not three
    elif expected:
        _keep_a_backup(source)
        write_version(source, version, _chunks(job), expected)
    for chunk in _chunks(job):
        job.ledger.use(chunk.chunk_id)
        job.ledger.give(chunk.chunk_id)
    job.ledger.measure(version=version.name, chunks=expected)


def _keep_a_backup(database: Path) -> None:
    """Before the first change of its schema, copy a database beside itself."""
    with closing(connect(database)) as connection:
        changes = "text_chunks" in tables_of(connection) and lacks_version_in_key(connection)
    backup = database.with_name(f"{database.stem}.before-malgeul{database.suffix}")
    if changes and not backup.exists():
        with written_whole(backup) as staged:
            copy_database(database, staged)


def _chunks(job: Job) -> Iterator[VersionedChunk]:
    """Yield the chunks that have vectors, shard by shard."""
    for chunks, embeddings in zip(job.inputs["chunks"], job.inputs["embeddings"], strict=True):
        rows = {row["chunk_id"]: row for row in read_rows(chunks)}
        for embedded in read_rows(embeddings):
            row: dict[str, Any] = rows[embedded["chunk_id"]]
            yield VersionedChunk(
                row["chunk_id"],
                row["document_id"],
                row["index"],
                row["start"],
                row["end"],
                row["text"],
                row["n_tokens"],
                np.asarray(embedded["vector"], dtype="<f4").tobytes(),
            )


if __name__ == "__main__":
    run_job(snakemake, write_back, Units("vector", "vector"))
