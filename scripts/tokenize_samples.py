"""Make the rows of the dataset from a shard's samples: one Arrow file per split, equal columns, no padding."""

from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any

from malgeul.dataset.rows import rows_of
from malgeul.dataset.samples import SPLITS
from malgeul.dataset.saved import COLUMNS, SplitWriter, describe
from malgeul.dataset.sequences import Packer, pieces_of
from malgeul.dataset.settings import SelectSettings
from malgeul.dataset.tokenizer import load_tokenizer, tokenizer_identity
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import count_rows, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def tokenize_samples(job: Job) -> None:
    """Tokenize the samples that survive the cap, document by document in the order of the shard."""
    tokenizer = load_tokenizer(job.params["settings"])
    settings = SelectSettings.model_validate(job.params["select"])
    capacity = settings.sequence_length - len(tokenizer.before) - len(tokenizer.after)
    largest = _own_caps(job)
    folder = job.staged("tokenized")
    documents = read_rows(job.input("filtered"), ["id", "text", "source", "mentions"])
    samples = read_rows(job.input("samples"))
    pieces = 0
    columns = COLUMNS[settings.kind]
    packers = {split: Packer(tokenizer, capacity, settings.packing == "packed") for split in SPLITS}

    def write(split: str, row_id: str, row: dict[str, Any]) -> None:
        nonlocal pieces
        writers[split].write(row)
        job.ledger.give(row_id)
        pieces += len(row["input_ids"])

    with ExitStack() as stack:
        writers = {split: stack.enter_context(SplitWriter(folder / f"{split}.arrow", columns)) for split in SPLITS}
        progress = stack.enter_context(job.progress(count_rows(job.input("samples"))))
        for doc_id, of_document in groupby(samples, key=lambda sample: sample["doc_id"]):
            wanted = []
            for sample in of_document:
                progress.advance()
                if sample["priority"] > largest.get(sample["entity"], sample["priority"]):
                    job.ledger.reject(sample["sample_id"], "entity_cap")
                    continue
                job.ledger.use(sample["sample_id"])
                wanted.append(sample)
            document = next(row for row in documents if row["id"] == doc_id)
            if settings.kind == "mentions":
                for sample, row in zip(wanted, rows_of(document, wanted, tokenizer, capacity), strict=True):
                    write(sample["split"], sample["sample_id"], row)
            else:
                for sample, ids in zip(wanted, pieces_of(document, wanted, tokenizer, capacity), strict=True):
                    for row_id, row in packers[sample["split"]].add(sample, ids):
                        write(sample["split"], row_id, row)
        for split, packer in packers.items():
            for row_id, row in packer.flush():
                write(split, row_id, row)
        rows = {f"{split}_rows": writer.rows for split, writer in writers.items()}
    describe(folder, {split: [f"../{split}.arrow"] for split in SPLITS}, columns)
    job.ledger.measure(tokens=pieces, **rows)


def _own_caps(job: Job) -> dict[str, int]:
    """Return the largest priority that stays of every capped entity that the shard has samples of."""
    entities = {row["entity"] for row in read_rows(job.input("samples"), ["entity"])}
    caps = {row["entity"]: row["largest_priority"] for row in read_rows(job.input("entity_cap"))}
    return {entity: caps[entity] for entity in sorted(entities & caps.keys())}


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return tokenizer_identity(params["settings"])


if __name__ == "__main__":
    run_job(
        snakemake,
        tokenize_samples,
        Units("sample", "row"),
        packages=("tokenizers", "pyarrow"),
        identity=_identity,
        relevant={"entity_cap": _own_caps},
    )
