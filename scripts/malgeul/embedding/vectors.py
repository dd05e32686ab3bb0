"""Vectors on disk: whole or of half or a quarter the size, and read back as float32 whatever they are stored as."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from malgeul.embedding.settings import Storage
from malgeul.shards.items import FinishedFiles, is_intact
from malgeul.shards.tables import KEY_BYTES, embeddings_schema

Vectors = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]
"""Vectors as they are stored: a structured array with the fields of :func:`stored_as`."""

log = logging.getLogger(__name__)


def stored_as(storage: Storage, dimension: int) -> np.dtype[Any]:
    """Return the form of a stored vector: float16 has 3 significant digits, int8 one scale a vector and 2.

    Of vectors of unit length and 256 to 1,024 dimensions, float16 keeps a cosine of 0.999999 and int8 one of 0.9999
    with the whole one.
    """
    if storage == "int8":
        return np.dtype([("vector", "i1", (dimension,)), ("scale", "<f4")])
    return np.dtype([("vector", "<f4" if storage == "float32" else "<f2", (dimension,))])


def dimension_kept(whole: int, asked: int | None) -> int:
    """Return how many numbers of a model's vectors are kept; raises ValueError where it has not so many."""
    if asked is not None and asked > whole:
        raise ValueError(f"embed.dimensions is {asked}, but the model's vectors have {whole}")
    return asked or whole


def shortened(vectors: Vectors, dimension: int, *, normalize: bool) -> Vectors:
    """Return the first numbers of vectors that are made to be cut (Kusupati et al. 2022, Matryoshka).

    They have unit length again where the whole ones had it (``normalize``).
    """
    if dimension == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimension]
    return cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12) if normalize else cut


def stored(vectors: Vectors, form: np.dtype[Any]) -> Stored:
    """Return float32 vectors (n, dimension) in the form they are stored in (n)."""
    found = np.empty(len(vectors), form)
    if "scale" in (form.names or ()):
        found["scale"] = np.maximum(np.abs(vectors).max(axis=1), 1e-12) / 127
        found["vector"] = np.rint(vectors / found["scale"][:, None])
    else:
        found["vector"] = vectors
    return found


def restored(found: Stored) -> Vectors:
    """Return stored vectors (n) as float32 (n, dimension)."""
    vectors: Vectors = found["vector"].astype(np.float32)
    if "scale" in (found.dtype.names or ()):
        vectors *= found["scale"][:, None]
    return vectors


def to_table(chunk_ids: Sequence[str], found: Stored, keys: Sequence[bytes], storage: Storage) -> pa.Table:
    """Return rows of embeddings/."""
    dimension = found["vector"].shape[1]
    schema = embeddings_schema(dimension, storage)
    numbers = pa.array(np.ascontiguousarray(found["vector"]).reshape(-1))
    columns = {"chunk_id": pa.array(chunk_ids, pa.string())}
    columns["vector"] = pa.FixedSizeListArray.from_arrays(numbers, dimension)
    if storage == "int8":
        columns["scale"] = pa.array(np.ascontiguousarray(found["scale"]))
    columns["key"] = pa.array(keys, pa.binary(KEY_BYTES))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def from_table(rows: pa.Table) -> Stored:
    """Return the vectors of rows of embeddings/ in the form they are stored in."""
    kind = rows.schema.field("vector").type
    numbers = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    form = [("vector", numbers.dtype, (kind.list_size,))]
    scaled = "scale" in rows.column_names
    found = np.empty(rows.num_rows, np.dtype([*form, ("scale", "<f4")] if scaled else form))
    found["vector"] = numbers.reshape(-1, kind.list_size)
    if scaled:
        found["scale"] = rows["scale"].to_numpy()
    return found


def read_vectors(path: Path) -> Iterator[tuple[list[str], Vectors]]:
    """Yield the ids and float32 vectors (n, dimension) of a file of embeddings/, a row group at a time."""
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name != "key"]
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=columns)
            yield rows["chunk_id"].to_pylist(), restored(from_table(rows))


def known_vectors(files: FinishedFiles, wanted: set[bytes]) -> Iterator[tuple[list[bytes], Stored]]:
    """Yield keys of ``wanted`` and their vectors from finished files of embeddings/, a row group at a time.

    What is found is taken out of ``wanted``. A file that was altered, or that another job removes meanwhile, is as good
    as none.
    """
    asked = pa.array([], pa.binary(KEY_BYTES))
    for path in files.paths():
        if not wanted:
            return
        if len(asked) != len(wanted):
            asked = pa.array(list(wanted), pa.binary(KEY_BYTES))
        try:
            with path.open("rb") as file:
                yield from _known_in(file, path, wanted, asked)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowInvalid) as error:
            log.warning("the vectors in %s are not taken again: %s", path, error)


def _known_in(
    file: BufferedReader, path: Path, wanted: set[bytes], asked: pa.Array
) -> Iterator[tuple[list[bytes], Stored]]:
    """Yield what :func:`known_vectors` does from one file; ``asked`` are the wanted keys as Arrow compares them."""
    with pq.ParquetFile(file) as table:
        if "key" not in table.schema_arrow.names:
            return
        keys = table.read(columns=["key"], use_threads=False)["key"]
        if not pc.any(pc.is_in(keys, value_set=asked)).as_py():
            return
        if not is_intact(file, path):
            log.warning("the vectors in %s are not taken again: its bytes are no longer what they were", path)
            return
        for group in range(table.num_row_groups):
            keys = table.read_row_group(group, columns=["key"])["key"].to_pylist()
            places = {key: k for k, key in enumerate(keys) if key in wanted}
            if places:
                wanted.difference_update(places)
                yield list(places), from_table(table.read_row_group(group))[list(places.values())]
