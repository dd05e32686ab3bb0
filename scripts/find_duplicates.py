"""Find the documents whose text an earlier one of the corpus has, up to white space."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, count_rows, read_rows
from malgeul.text.duplicates import DUPLICATES, find_repeats, hash_table, text_hash

if TYPE_CHECKING:
    from snakemake.script import snakemake


def find_duplicates(job: Job) -> None:
    """Write every document that is not the first with its text; first is by shard id, then by row."""
    files = sorted(job.inputs["text"], key=lambda file: file.stem)
    starts = np.cumsum([0, *map(count_rows, files)])

    def hashes() -> Iterator[bytes]:
        with job.progress(int(starts[-1])) as progress:
            for file in files:
                for document in read_rows(file, ["id", "text"]):
                    job.ledger.use(document["id"])
                    yield text_hash(document["text"])
                    progress.advance()

    positions, firsts = find_repeats(hash_table(hashes()))
    originals, original_of = np.unique(firsts, return_inverse=True)
    names = [f"{source}/{first_id}" for *_, source, first_id in _documents_at(files, starts, originals)]
    with TableWriter(job.staged("duplicates"), DUPLICATES) as table:
        repeats = zip(_documents_at(files, starts, positions), original_of.tolist(), strict=True)
        for (shard, row, _, document_id), original in repeats:
            table.write({"shard": shard, "id": document_id, "row": row, "duplicate_of": names[original]})
            job.ledger.give(f"{shard}/{document_id}")
    job.ledger.measure(duplicates=len(positions))


def _documents_at(
    files: list[Path], starts: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
) -> Iterator[tuple[str, int, str, str]]:
    """Yield shard, row, source and id of the documents at ascending positions of the corpus, a shard at a time."""
    bounds = np.searchsorted(positions, starts)
    for file, start, begin, end in zip(files, starts[:-1], bounds[:-1], bounds[1:], strict=True):
        if begin == end:
            continue
        rows = positions[begin:end] - start
        found = pq.read_table(file, columns=["source", "id"]).take(rows).to_pylist()
        for row, document in zip(rows.tolist(), found, strict=True):
            yield file.stem, row, document["source"], document["id"]


if __name__ == "__main__":
    run_job(snakemake, find_duplicates, Units("document", "document"), packages=("pyarrow",))
