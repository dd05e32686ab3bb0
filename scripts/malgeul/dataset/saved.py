"""Datasets on disk in the form of ``datasets.save_to_disk``: Arrow files and the few JSON files that describe them.

A dataset on disk is its Arrow files, a ``state.json`` that lists them and a ``dataset_info.json`` with the features.
Files of equal features can therefore be linked and described anew instead of being rewritten: merging costs a link per
shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from malgeul.dataset import rows, sequences
from malgeul.shards.files import digest_of, link_or_copy, write_json

ROWS_PER_BATCH = 1000
"""Rows of a record batch: fixed, so that the bytes do not depend on how the rows arrive."""

COLUMNS = {"mentions": rows.COLUMNS, "sequences": sequences.COLUMNS}
"""Columns and types by the kind of samples."""

_ARROW = {
    "int32": pa.int32(),
    "string": pa.string(),
    "list<int32>": pa.list_(pa.int32()),
    "list<string>": pa.list_(pa.string()),
}


def _feature(kind: str) -> dict[str, Any]:
    if kind.startswith("list<"):
        return {"feature": _feature(kind[5:-1]), "_type": "List"}
    return {"dtype": kind, "_type": "Value"}


def features_of(columns: Mapping[str, str]) -> dict[str, Any]:
    """Return columns as Hugging Face's ``Features`` in JSON."""
    return {name: _feature(kind) for name, kind in columns.items()}


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    """Return columns as Arrow's schema, with the features where ``datasets`` looks for them."""
    return pa.schema(
        [pa.field(name, _ARROW[kind]) for name, kind in columns.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features_of(columns)}})},
    )


class SplitWriter:
    """Writes the rows of a split to one Arrow stream file; a context manager."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self.rows = 0
        self._schema = schema_of(columns)
        self._writer = pa.ipc.new_stream(str(path), self._schema)
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == ROWS_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        columns = [_column([row[field.name] for row in self._waiting], field.type) for field in self._schema]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._waiting = []

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._writer.close()


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not isinstance(values[0], np.ndarray):
        return pa.array(values, kind)
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate(values), kind)


def describe(folder: Path, files: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> None:
    """Write what makes ``folder`` a DatasetDict on disk.

    ``files`` maps splits to Arrow files relative to the split's folder.
    """
    features = features_of(columns)
    write_json(folder / "dataset_dict.json", {"splits": list(files)})
    for split, names in files.items():
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": digest_of([split, list(names), features])[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        write_json(folder / split / "state.json", state)
        info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
        write_json(folder / split / "dataset_info.json", info)


def link_split(folder: Path, split: str, parts: Iterable[Path], columns: Mapping[str, str]) -> list[str]:
    """Link the Arrow files of all shards into a split of a merged dataset; returns their names there.

    Raises ValueError when a file has other columns than the dataset.
    """
    parts = list(parts)
    expected = schema_of(columns)
    names = []
    for number, part in enumerate(parts):
        with pa.memory_map(str(part)) as source:
            schema = pa.ipc.open_stream(source).schema
        if not schema.equals(expected):
            raise ValueError(f"{part} has other columns than the dataset: {schema.names}")
        name = f"data-{number:05d}-of-{len(parts):05d}.arrow"
        link_or_copy(part, folder / split / name)
        names.append(name)
    return names


def write_parquet(part: Path, file: Path) -> None:
    """Write the rows of an Arrow file as Parquet, with the features where ``datasets`` looks for them."""
    with pa.memory_map(str(part)) as source:
        stream = pa.ipc.open_stream(source)
        with pq.ParquetWriter(file, stream.schema, compression="zstd") as out:
            for batch in stream:
                out.write_batch(batch)
