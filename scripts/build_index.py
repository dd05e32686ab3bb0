"""Build the index over the vectors of all shards."""

from typing import TYPE_CHECKING

from malgeul.embedding.index import version_name, write_index
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import count_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def build_index(job: Job) -> None:
    """Gather the vectors after comparing their sha256 with the ledgers."""
    job.check_contents()
    tables = job.inputs["embeddings"]
    dimensions = {ledger.measured["dimension"] for ledger in job.upstream}
    if len(dimensions) != 1:
        raise ValueError(f"the shards have vectors of different dimensions: {sorted(dimensions)}")
    rows = sum(count_rows(table) for table in tables)
    about = {"embedding_version": version_name(ledger.key for ledger in job.upstream)}
    names = write_index(job.staged("index"), tables, rows, dimensions.pop(), about)
    for name in names:
        job.ledger.use(name)
        job.ledger.give(name)
    job.ledger.measure(vectors=rows)


if __name__ == "__main__":
    run_job(snakemake, build_index, Units("vector", "entry"), packages=("numpy", "pyarrow"))
