"""Parquet tables: the schemas that wings share, one reader and one writer whose bytes depend on the rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 4096
"""Rows of a row group: fixed, so that the bytes do not depend on how the rows arrive."""

GROUP_CHARACTERS = 1 << 24
"""A row group ends earlier when its texts have this many characters, so that long documents do not fill the memory."""

LOOKED_UP_CHARACTERS = 1 << 18
"""The same for tables of which single rows are looked up: a group is read whole, here in about a millisecond."""

KEY_BYTES = 16
"""Bytes of the key of a vector in embeddings/ (see Job.item_key)."""

DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("meta", pa.string(), nullable=False),  # a JSON object with sorted keys
    ]
)
"""Documents: text/ and exported/, and the first columns of filtered/."""

MENTIONS = pa.list_(
    pa.struct(
        [
            pa.field("surface", pa.string(), nullable=False),
            pa.field("start", pa.int32(), nullable=False),  # in characters of the document
            pa.field("end", pa.int32(), nullable=False),
            pa.field("tag", pa.string(), nullable=False),  # Kiwi's tag
        ]
    )
)
"""Proper nouns of a document in the order of the text: the column ``mentions`` of filtered/."""

CHUNKS = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),  # text[start:end] of the document is the chunk
        pa.field("end", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("n_tokens", pa.int32(), nullable=False),  # as the model is fed them: with prompt and special ones
        pa.field("overlap", pa.int32(), nullable=False),  # characters that the chunk before of its size ends with
        pa.field("level", pa.string(), nullable=False),  # what begins behind them: document, article, sentence, …
        pa.field("size", pa.string(), nullable=False),  # standard or tokens, small, medium, large
        pa.field("query_type", pa.string()),  # what the size was chosen for: precise, balanced, broad
    ]
)
"""Chunks of documents, filtered text and transcripts."""


def embeddings_schema(dimension: int, storage: str = "float32") -> pa.Schema:
    """Return the schema of embeddings/: a chunk's id and its vector of ``dimension`` numbers of the type ``storage``.

    A vector of int8 is to be multiplied by its ``scale``. ``key`` tells all that a vector depends on, so that a later
    run takes it again; it may be null.
    """
    scale = [pa.field("scale", pa.float32(), nullable=False)] if storage == "int8" else []
    return pa.schema(
        [
            pa.field("chunk_id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.type_for_alias(storage), dimension), nullable=False),
            *scale,
            pa.field("key", pa.binary(KEY_BYTES)),
        ]
    )


class TableWriter:
    """Writes rows to a Parquet file in groups of a fixed size; a context manager.

    A group has :data:`ROWS_PER_GROUP` rows, fewer where their texts have ``group_characters`` before that.
    """

    def __init__(self, path: Path, schema: pa.Schema, group_characters: int = GROUP_CHARACTERS) -> None:
        self.schema = schema
        self._group_characters = group_characters
        self._characters = 0
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._waiting.append(row)
        self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._waiting) == ROWS_PER_GROUP or self._characters >= self._group_characters:
            self._flush()

    def write_group(self, rows: pa.Table) -> None:
        """Append a table as a row group of its own."""
        if self._waiting:
            self._flush()
        if not rows.num_rows:
            return
        self._writer.write_table(rows.cast(self.schema), row_group_size=rows.num_rows)

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self.schema))
        self._waiting = []
        self._characters = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._writer.close()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file as dictionaries, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, row_groups=[group], columns=columns):
                yield from batch.to_pylist()


def read_rows_at(path: Path, rows: Sequence[int], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return some rows of a Parquet file as dictionaries, in the order asked for; reads only the groups they are in."""
    found: dict[int, dict[str, Any]] = {}
    wanted = sorted(set(rows))
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            here = [row for row in wanted if first <= row < end]
            if here:
                # Threads cost more than they save on so little.
                table = file.read_row_group(group, columns=columns, use_threads=False)
                found.update((row, table.slice(row - first, 1).to_pylist()[0]) for row in here)
            first = end
    return [found[row] for row in rows]


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file from its footer."""
    return int(pq.read_metadata(path).num_rows)
