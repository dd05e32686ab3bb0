"""The vector index: exact search over memory-mapped float32, with the ids beside it.

Exact search answers in under 0.1 s up to about 250,000 vectors of 1,024 dimensions and stays right above.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from malgeul.shards.files import digest_of

IDS = pa.schema([pa.field("chunk_id", pa.string(), nullable=False)])
VECTORS, NAMES, ABOUT = "vectors.npy", "ids.parquet", "index.json"


def version_name(keys: Iterable[str]) -> str:
    """Return the name of an embedding version: made of the keys of its shards, and so of texts, model and settings."""
    return f"malgeul-{digest_of(sorted(keys))[:16]}"


@dataclass(frozen=True)
class Hit:
    """A chunk that was found and its cosine similarity to the query."""

    chunk_id: str
    score: float


def write_index(folder: Path, tables: Iterable[Path], rows: int, dimension: int, about: dict[str, Any]) -> list[str]:
    """Write the vectors of all tables, scaled to unit length, and their ids; returns the ids in order.

    One table is in memory at a time.
    """
    shape = (rows, dimension)
    matrix = np.lib.format.open_memmap(folder / VECTORS, mode="w+", dtype=np.float32, shape=shape)
    names: list[str] = []
    for table in tables:
        columns = pq.read_table(table)
        vectors = columns["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        matrix[len(names) : len(names) + len(vectors)] = vectors / np.maximum(norms, 1e-12)
        names += columns["chunk_id"].to_pylist()
    matrix.flush()
    pq.write_table(pa.table({"chunk_id": names}, schema=IDS), folder / NAMES, compression="zstd")
    facts = {"kind": "exact", "metric": "cosine", "rows": rows, "dimension": dimension, **about}
    (folder / ABOUT).write_text(
        json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    return names


class Index:
    """An index on disk, opened for searching."""

    def __init__(self, folder: Path) -> None:
        self.about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self._vectors = np.load(folder / VECTORS, mmap_mode="r")
        self._names = pq.read_table(folder / NAMES)["chunk_id"]

    def search(self, query: npt.NDArray[np.float32], k: int = 10) -> list[Hit]:
        """Return the ``k`` chunks nearest to a query vector, best first; ties in the order of the index."""
        unit = query / max(float(np.linalg.norm(query)), 1e-12)
        scores = self._vectors @ unit.astype(np.float32)
        best = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self._names[int(row)].as_py(), float(scores[row])) for row in best]
