"""Find the documents for which an earlier one of the corpus stands: it has the same text, or nearly the same."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, count_rows, read_rows
from malgeul.text.duplicates import DUPLICATES, find_repeats, hash_table, merge_clusters
from malgeul.text.signatures import BAND_COLUMNS

if TYPE_CHECKING:
    from snakemake.script import snakemake


def find_duplicates(job: Job) -> None:
    """Write every document but the first of each cluster; first is by shard id, then by row."""
    files = sorted(job.inputs["screened"], key=lambda file: file.stem)
    starts = np.cumsum([0, *map(count_rows, files)])
    signed = array("q")

    def hashes() -> Iterator[bytes]:
        with job.progress(int(starts[-1])) as progress:
            position = 0
            for file in files:
                for document in read_rows(file, ["id", "text_hash"]):
                    job.ledger.use(document["id"])
                    if document["text_hash"] is not None:
                        signed.append(position)
                        yield document["text_hash"]
                    position += 1
                    progress.advance()

    repeated, firsts = find_repeats(hash_table(hashes()))
    at = np.array(signed, np.int64)
    repeated, firsts = at[repeated], at[firsts]
    clusters = np.arange(starts[-1])
    clusters[repeated] = firsts
    for column in BAND_COLUMNS:
        clusters = merge_clusters(clusters, *_band(files, starts, column))
    leaving = np.flatnonzero(clusters != np.arange(starts[-1]))
    equal = np.isin(leaving, repeated)
    staying, staying_of = np.unique(clusters[leaving], return_inverse=True)
    names = [f"{source}/{first_id}" for *_, source, first_id in _documents_at(job, files, starts, staying)]
    with TableWriter(job.staged("duplicates"), DUPLICATES) as table:
        rows = zip(_documents_at(job, files, starts, leaving), staying_of.tolist(), equal.tolist(), strict=True)
        for (shard, row, _, document_id), first, same in rows:
            kind = "duplicate" if same else "near_duplicate"
            table.write({"shard": shard, "id": document_id, "row": row, "kind": kind, "duplicate_of": names[first]})
            job.ledger.give(f"{shard}/{document_id}")
    job.ledger.measure(
        duplicates=int(equal.sum()), near_duplicates=int(len(leaving) - equal.sum()), clusters=len(staying)
    )


def _band(
    files: list[Path], starts: npt.NDArray[np.int64], column: str
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return one band's numbers of all documents that have one, and where they stand in the corpus."""
    keys, positions = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for file, start in zip(files, starts[:-1], strict=True):
        values = pq.read_table(file, columns=[column])[column].combine_chunks()
        there = values.is_valid().to_numpy(zero_copy_only=False)
        keys.append(values.drop_null().to_numpy())
        positions.append(start + np.flatnonzero(there))
    return np.concatenate(keys), np.concatenate(positions)


def _documents_at(
    job: Job, files: list[Path], starts: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
) -> Iterator[tuple[str, int, str, str]]:
    """Yield shard, row, source and id of the documents at ascending positions of the corpus, a shard at a time."""
    bounds = np.searchsorted(positions, starts)
    for file, start, begin, end in zip(files, starts[:-1], bounds[:-1], bounds[1:], strict=True):
        if begin == end:
            continue
        rows = positions[begin:end] - start
        ids = pq.read_table(file, columns=["id"])["id"].take(rows).to_pylist()
        for row, document_id in zip(rows.tolist(), ids, strict=True):
            yield file.stem, row, job.params["sources"][file.stem], document_id


if __name__ == "__main__":
    run_job(snakemake, find_duplicates, Units("document", "document"), packages=("pyarrow", "scipy"))
