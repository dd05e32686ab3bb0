"""Chunks and vectors of shards as rows of text_chunks and embeddings, straight from the columns of their tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from malgeul.embedding.vectors import from_table, restored
from malgeul.embedding.versions import Batch
from malgeul.shards.tables import count_rows

Thing = TypeVar("Thing")

ROWS = 4096
"""Chunks of a batch: some 20 MiB with vectors of 1,024 dimensions, so that a commit costs little beside the writing."""

RENAMED = {
    "index": "chunk_index",
    "start": "start_char",
    "end": "end_char",
    "n_tokens": "token_count",
    "overlap": "overlap_chars",
    "size": "chunk_size_category",
}
"""Columns of chunks/ that text_chunks calls otherwise; every other one is taken where text_chunks has its name."""


def read_ahead(things: Iterator[Thing], most: int = 1) -> Iterator[Thing]:
    """Yield things in order while a thread makes the next ones, at most so many: Parquet is unpacked meanwhile."""
    end = object()
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming: deque[Any] = deque(reader.submit(next, things, end) for _ in range(most))
        while (thing := coming.popleft().result()) is not end:
            coming.append(reader.submit(next, things, end))
            yield thing


def batches_of(
    shards: Sequence[tuple[Path, Path]], strategy: str, *, skip: int = 0, law: bool = True
) -> Iterator[Batch]:
    """Yield the chunks that have vectors, shard by shard in the order of the tables, without the first ``skip``.

    ``shards`` are tables of chunks and of their vectors. A vector's chunk is found by its id; chunks without one (what
    the model could not take) are left out. ``law`` says that a document's id begins with its kind (case/2019다1234).
    """
    for chunk_file, vector_file in shards:
        rows = count_rows(vector_file)
        if rows <= skip:
            skip -= rows
            continue
        chunks = pq.read_table(chunk_file)
        with pq.ParquetFile(vector_file) as file:
            columns = [name for name in file.schema_arrow.names if name in {"chunk_id", "vector", "scale"}]
            for vectors in file.iter_batches(batch_size=ROWS, columns=columns):
                left, skip = vectors.slice(skip), max(0, skip - len(vectors))
                if len(left):
                    yield _batch(chunks, left, strategy, law, chunk_file)


def _batch(chunks: pa.Table, vectors: pa.RecordBatch, strategy: str, law: bool, file: Path) -> Batch:
    places = pc.index_in(vectors["chunk_id"], chunks["chunk_id"].combine_chunks())
    if places.null_count:
        raise ValueError(f"{file} lacks chunks that have vectors: {vectors['chunk_id'].filter(places.is_null())[0]}")
    rows = chunks.take(places)
    columns: dict[str, list[Any]] = {RENAMED.get(name, name): rows[name].to_pylist() for name in rows.column_names}
    documents = columns["document_id"]
    kinds, names = ["document"] * len(documents), documents
    if law:
        kinds, _, names = zip(*(name.partition("/") for name in documents), strict=True)  # type: ignore[assignment]
    given = {
        "source_type": kinds,
        "source_id": names,
        "level": ["chunk"] * len(documents),
        "chunking_strategy": [strategy] * len(documents),
        "chunk_group_id": documents,
        "original_document_id": documents,
    }
    return Batch({**given, **columns}, restored(from_table(pa.Table.from_batches([vectors]))))
