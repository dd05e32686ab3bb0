"""Merge the tokenized shards into one dataset by linking their files: no row is read or written again."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from malgeul.dataset.card import card_of, history
from malgeul.dataset.samples import SPLITS
from malgeul.dataset.saved import COLUMNS, describe, link_split, write_parquet
from malgeul.shards.files import digest_of
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units, read_ledger
from malgeul.shards.names import TRANSCRIPTS

if TYPE_CHECKING:
    from snakemake.script import snakemake


def merge_dataset(job: Job) -> None:
    """Link every shard's files into the splits after checking them against the ledgers, and write the card."""
    job.check_contents()
    folder = job.staged("dataset")
    by_source: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for ledger in job.upstream:
        job.ledger.taken += ledger.given
        job.ledger.used += ledger.given
        job.ledger.given += ledger.given
        for split in SPLITS:
            by_source[job.params["sources"].get(ledger.shard, TRANSCRIPTS)][split] += ledger.measured[f"{split}_rows"]
    parts = {split: [shard / f"{split}.arrow" for shard in job.inputs["tokenized"]] for split in SPLITS}
    kind = job.params["kind"]
    columns = COLUMNS[kind]
    describe(folder, {split: link_split(folder, split, parts[split], columns) for split in SPLITS}, columns)
    hashes = sorted(known["sha256"] for ledger in job.upstream for known in ledger.outputs.values())
    told = (_history(job), by_source, job.params["licences"], job.params["made_with"], kind, digest_of(hashes))
    (folder / "README.md").write_text(card_of(*told, suffix="arrow"), encoding="utf-8")
    if job.params["settings"]["parquet"]:
        for split in SPLITS:
            (folder / "parquet" / split).mkdir(parents=True)
            for number, part in enumerate(parts[split]):
                write_parquet(part, folder / "parquet" / split / f"{number:05d}-of-{len(parts[split]):05d}.parquet")
        (folder / "parquet" / "README.md").write_text(card_of(*told, suffix="parquet"), encoding="utf-8")
    job.ledger.measure(**{f"{split}_rows": sum(rows[split] for rows in by_source.values()) for split in SPLITS})


def _history(job: Job) -> dict[str, Any]:
    return history(map(read_ledger, job.inputs["history"]))


if __name__ == "__main__":
    run_job(snakemake, merge_dataset, Units("row", "row"), packages=("pyarrow",), relevant={"history": _history})
