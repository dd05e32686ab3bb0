"""Find what the corpus repeats: documents for which an earlier one stands, and lines that many documents share."""

from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, count_rows, read_rows
from malgeul.text.boilerplate import BOILERPLATE, line_key
from malgeul.text.duplicates import (
    DUPLICATES,
    REPEATED_ID,
    REPEATED_RECORD,
    Hashed,
    find_namesakes,
    hash_table,
    id_hash,
    merge_clusters,
)
from malgeul.text.pii import masked_lines
from malgeul.text.signatures import BAND_COLUMNS

if TYPE_CHECKING:
    from snakemake.script import snakemake

LINES_AT_ONCE = 1 << 25
"""Keys of lines that are counted at a time: 256 MB, and as much again while they are sorted."""


def find_duplicates(job: Job) -> None:
    """Write every document but the first of each cluster (by shard id, then by row), and the lines that many have."""
    files = sorted(job.inputs["screened"], key=lambda file: file.stem)
    starts = np.cumsum([0, *map(count_rows, files)])
    texts = _texts(files)
    names = _names(job, files, int(starts[-1]))
    namesakes, named_first = find_namesakes(names, texts)
    repeated, firsts = texts.without(namesakes).repeats()  # a document that goes stands for no other
    clusters = np.arange(starts[-1])
    clusters[repeated] = firsts
    for column in BAND_COLUMNS:
        keys, positions = _band(files, starts, column)
        compared = ~np.isin(positions, namesakes)
        clusters = merge_clusters(clusters, keys[compared], positions[compared])
    clustered = np.flatnonzero(clusters != np.arange(starts[-1]))
    figures = {
        "duplicates": len(repeated),
        "near_duplicates": len(clustered) - len(repeated),
        "clusters": len(np.unique(clusters[clustered])),
        "repeated_ids": len(namesakes),
    }
    clusters[namesakes] = named_first
    leaving = np.union1d(clustered, namesakes)
    named, same = np.isin(leaving, names.repeats()[0]), np.isin(leaving, repeated)
    kinds = np.select(
        [np.isin(leaving, namesakes), named & same, same], [REPEATED_ID, REPEATED_RECORD, "duplicate"], "near_duplicate"
    )
    staying, staying_of = np.unique(clusters[leaving], return_inverse=True)
    told = [f"{source}/{first_id}" for *_, source, first_id in _documents_at(job, files, starts, staying)]
    with TableWriter(job.staged("duplicates"), DUPLICATES) as written:
        rows = zip(_documents_at(job, files, starts, leaving), staying_of.tolist(), kinds.tolist(), strict=True)
        for (shard, row, _, document_id), first, kind in rows:
            written.write({"shard": shard, "id": document_id, "row": row, "kind": kind, "duplicate_of": told[first]})
            job.ledger.give(f"{shard}/{document_id}")
    stays = np.ones(starts[-1], bool)
    stays[leaving] = False
    job.ledger.measure(
        **figures,
        boilerplate_lines=_write_boilerplate(job, files, starts, stays),
    )


def _names(job: Job, files: list[Path], documents: int) -> Hashed:
    """Take all documents into the ledger and return the names of those that pass."""
    positions = array("q")

    def hashes() -> Iterator[bytes]:
        position = 0
        with job.progress(documents) as progress:
            for file in files:
                source = job.params["sources"][file.stem]
                for document in read_rows(file, ["id", "reason"]):
                    job.ledger.use(document["id"])
                    if document["reason"] is None:
                        positions.append(position)
                        yield id_hash(source, document["id"])
                    position += 1
                    progress.advance()

    return Hashed(hash_table(hashes()), np.array(positions, np.int64))


def _texts(files: list[Path]) -> Hashed:
    """Return the texts of the documents that were signed."""
    positions = array("q")

    def hashes() -> Iterator[bytes]:
        for position, document in enumerate(row for file in files for row in read_rows(file, ["text_hash"])):
            if document["text_hash"] is not None:
                positions.append(position)
                yield document["text_hash"]

    return Hashed(hash_table(hashes()), np.array(positions, np.int64))


def _write_boilerplate(job: Job, files: list[Path], starts: npt.NDArray[np.int64], stays: npt.NDArray[np.bool_]) -> int:
    """Write the lines of many documents and return how many they are.

    ``stays`` tells for every document of the corpus whether it is none that an earlier one stands for.
    """
    counts: dict[int, int] = {}
    parts = 1 + sum(len(keys) for keys, _ in _lines(files, starts, stays)) // LINES_AT_ONCE
    for part in range(parts):
        found = np.concatenate([keys[keys % parts == part] for keys, _ in _lines(files, starts, stays)])
        values, documents = np.unique(found, return_counts=True)
        many = documents >= job.params["boilerplate"]
        counts.update(zip(values[many].tolist(), documents[many].tolist(), strict=True))
    rows = []
    wanted = np.fromiter(counts, np.uint64, len(counts))
    for file, start, (keys, positions) in zip(files, starts, _lines(files, starts, stays), strict=False):
        new, first = np.unique(keys, return_index=True)
        there = np.isin(new, wanted)
        wanted = np.setdiff1d(wanted, new[there])
        for key, line, document_id in _told(job, file, new[there].tolist(), (positions[first[there]] - start).tolist()):
            first_in = f"{job.params['sources'][file.stem]}/{document_id}"
            rows.append({"line": key, "text": line, "documents": counts[key], "first": first_in})
    with TableWriter(job.staged("boilerplate"), BOILERPLATE) as table:
        for row in sorted(rows, key=lambda row: (-row["documents"], row["line"])):
            table.write(row)
    return len(rows)


def _told(job: Job, screened: Path, keys: list[int], rows: list[int]) -> Iterator[tuple[int, str, str]]:
    """Yield key, text and document id of lines that stand in the given rows of a shard."""
    asked: dict[int, list[int]] = {}
    for key, row in zip(keys, rows, strict=True):
        asked.setdefault(row, []).append(key)
    if not asked:
        return
    [text] = [file for file in job.inputs["text"] if file.stem == screened.stem]
    for row, document in enumerate(islice(read_rows(text, ["id", "text"]), max(asked) + 1)):
        if row in asked:
            text = document["text"]
            # With what stands before them in the document, which may tell that a number is personal.
            told = masked_lines(text) if job.params["mask_personal_numbers"] else text.split("\n")
            lines = {line_key(line): shown for line, shown in zip(text.split("\n"), told, strict=True)}
            yield from ((key, lines[key].strip(), document["id"]) for key in asked[row])


def _lines(
    files: list[Path], starts: npt.NDArray[np.int64], stays: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]:
    """Yield by file the keys of the lines of documents that stay, and for each where its document is in the corpus."""
    for file, start, end in zip(files, starts[:-1], starts[1:], strict=True):
        column = pq.read_table(file, columns=["lines"])["lines"].combine_chunks()
        counts = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        positions = np.repeat(np.arange(start, end), counts)
        kept = stays[positions]
        yield column.flatten().to_numpy()[kept], positions[kept]


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
