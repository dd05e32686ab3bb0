"""Merge the tokenized shards into one dataset by linking their files: no row is read or written again."""

from typing import TYPE_CHECKING

from malgeul.dataset.samples import SPLITS
from malgeul.dataset.saved import describe, link_split
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units

if TYPE_CHECKING:
    from snakemake.script import snakemake


def merge_dataset(job: Job) -> None:
    """Link every shard's files into the splits after comparing their sha256 with the ledgers."""
    job.check_contents()
    folder = job.staged("dataset")
    rows = dict.fromkeys(SPLITS, 0)
    for ledger in job.upstream:
        job.ledger.taken += ledger.given
        job.ledger.used += ledger.given
        job.ledger.given += ledger.given
        for split in SPLITS:
            rows[split] += ledger.measured[f"{split}_rows"]
    files = {
        split: link_split(folder, split, [shard / f"{split}.arrow" for shard in job.inputs["tokenized"]])
        for split in SPLITS
    }
    describe(folder, files)
    job.ledger.measure(**{f"{split}_rows": n for split, n in rows.items()})


if __name__ == "__main__":
    run_job(snakemake, merge_dataset, Units("row", "row"))
