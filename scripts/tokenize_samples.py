"""Make the rows of the dataset from a shard's samples: one Arrow file per split, equal columns, no padding."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any

from malgeul.dataset.rows import row_of
from malgeul.dataset.samples import SAMPLES, SPLITS
from malgeul.dataset.saved import COLUMNS, SplitWriter, describe
from malgeul.dataset.sequences import Packer
from malgeul.dataset.settings import SelectSettings
from malgeul.dataset.tokenizer import Ids, PieceTokenizer, load_tokenizer, tokenizer_identity
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.progress import Progress
from malgeul.shards.tables import count_rows, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake

BATCH_CHARACTERS = 1 << 19
"""Characters of the documents that are tokenized at a time."""

AHEAD = 2
"""Batches under way: while a single thread takes the ids out of one, all others encode the next."""

READ = {
    "mentions": [name for name in SAMPLES.names if name not in ("masked_start", "masked_end")],
    "sequences": ["sample_id", "doc_id", "source", "split", "entity", "window_first", "window_last", "priority"],
}
"""Columns of the samples that their rows need, by kind: lists that are not read cost nothing."""

Batch = list[tuple[str, list[dict[str, Any]]]]
"""Texts of documents, each with its samples."""


def tokenize_samples(job: Job) -> None:
    """Tokenize the samples that survive the cap, document by document in the order of the shard."""
    tokenizer = load_tokenizer(job.params["settings"])
    settings = SelectSettings.model_validate(job.params["select"])
    folder = job.staged("tokenized")
    columns = COLUMNS[settings.kind]
    packers = {
        split: Packer(tokenizer, tokenizer.room(settings.sequence_length), settings.packing == "packed")
        for split in SPLITS
    }
    pieces = 0

    def rows_of(sample: dict[str, Any], ids: Ids) -> Iterable[tuple[str, dict[str, Any]]]:
        if settings.kind == "mentions":
            return [(sample["sample_id"], row_of(sample, ids, tokenizer))]
        return packers[sample["split"]].add(sample, ids)

    with ExitStack() as stack:
        writers = {split: stack.enter_context(SplitWriter(folder / f"{split}.arrow", columns)) for split in SPLITS}
        progress = stack.enter_context(job.progress(count_rows(job.input("samples"))))
        ahead = stack.enter_context(ThreadPoolExecutor(AHEAD))

        def write(split: str, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
            nonlocal pieces
            for row_id, row in rows:
                writers[split].write(row)
                job.ledger.give(row_id)
                pieces += len(row["input_ids"])

        for batch, ids in _tokenized(tokenizer, _batches(job, READ[settings.kind], progress), ahead):
            for (_, samples), ids_of_document in zip(batch, ids, strict=True):
                for sample in samples:
                    write(sample["split"], rows_of(sample, ids_of_document))
        for split, packer in packers.items():
            write(split, packer.flush())
        rows = {f"{split}_rows": writer.rows for split, writer in writers.items()}
    describe(folder, {split: [f"../{split}.arrow"] for split in SPLITS}, columns)
    job.ledger.measure(tokens=pieces, **rows)


def _batches(job: Job, columns: list[str], progress: Progress) -> Iterator[Batch]:
    """Yield texts of documents, each with its samples that survive the cap, so many as are tokenized at a time."""
    largest = _own_caps(job)
    documents = read_rows(job.input("filtered"), ["id", "text"])
    batch: Batch = []
    characters = advanced = 0
    for doc_id, of_document in groupby(read_rows(job.input("samples"), columns), key=lambda sample: sample["doc_id"]):
        text = next(row["text"] for row in documents if row["id"] == doc_id)
        wanted = []
        for sample in of_document:
            if sample["priority"] > largest.get(sample["entity"], sample["priority"]):
                job.ledger.reject(sample["sample_id"], "entity_cap")
            else:
                job.ledger.use(sample["sample_id"])
                wanted.append(sample)
            advanced += 1
        if not wanted:
            continue
        batch.append((text, wanted))
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            progress.advance(advanced)
            yield batch
            batch, characters, advanced = [], 0, 0
    progress.advance(advanced)
    if batch:
        yield batch


def _tokenized(
    tokenizer: PieceTokenizer, batches: Iterator[Batch], ahead: ThreadPoolExecutor
) -> Iterator[tuple[Batch, list[Ids]]]:
    """Yield batches with the ids of their texts; while one is written the next are tokenized."""
    waiting: deque[tuple[Batch, Future[list[Ids]]]] = deque()
    for batch in batches:
        waiting.append((batch, ahead.submit(tokenizer.ids, [text for text, _ in batch])))
        if len(waiting) > AHEAD:
            done, ids = waiting.popleft()
            yield done, ids.result()
    for done, ids in waiting:
        yield done, ids.result()


def _own_caps(job: Job) -> dict[str, int]:
    """Return the largest priority that stays of every capped entity that the shard has samples of."""
    caps = {row["entity"]: row["largest_priority"] for row in read_rows(job.input("entity_cap"))}
    if not caps:
        return {}
    entities = {row["entity"] for row in read_rows(job.input("samples"), ["entity"])}
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
