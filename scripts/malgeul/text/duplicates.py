"""Duplicates over a whole corpus: equal texts and near ones, the first of a cluster being the one that stays.

A document costs 32 bytes of hashes, 8 for its cluster, and while a band is sorted 24 to 40 more: 10 million documents
take under 0.9 GB, whatever the length of their texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from malgeul.shards.names import nfc

DUPLICATES = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # of text/<shard>.parquet, from 0
        # duplicate: the same text; near_duplicate: nearly the same; repeated_record: the same text under the same name;
        # repeated_id: another text under the same name.
        pa.field("kind", pa.string(), nullable=False),
        pa.field("duplicate_of", pa.string(), nullable=False),  # source/id of the document that stays
    ]
)
"""Documents that an earlier one of the corpus stands for; sorted by shard and row."""

REPEATED_ID = "repeated_id"
"""Kind of a document whose id an earlier one of its source has with another text: the first of them stays."""

REPEATED_RECORD = "repeated_record"
"""Kind of a document whose id an earlier one of its source has with the same text."""

HASHES_AT_ONCE = 1 << 16
_HASH = np.dtype([("high", np.uint64), ("low", np.uint64)])


def text_hash(text: str) -> bytes:
    """Return 16 bytes that are equal for texts that differ only in white space and Unicode composition.

    Among 10 million documents two different texts share them with a probability under 10⁻²⁴.
    """
    return hashlib.blake2b(" ".join(nfc(text).split()).encode("utf-8"), digest_size=16).digest()


def id_hash(source: str, document_id: str) -> bytes:
    """Return 16 bytes for the name that a document has in the corpus."""
    return hashlib.blake2b(f"{source}/{document_id}".encode(), digest_size=16).digest()


def hash_table(hashes: Iterable[bytes]) -> npt.NDArray[np.void]:
    """Return 16-byte hashes as one array of pairs of numbers, without ever holding them as Python objects."""
    blocks: list[npt.NDArray[np.void]] = []
    block = bytearray()
    for one in hashes:
        block += one
        if len(block) == HASHES_AT_ONCE * _HASH.itemsize:
            blocks.append(np.frombuffer(bytes(block), _HASH))
            block.clear()
    return np.concatenate([*blocks, np.frombuffer(bytes(block), _HASH)])


def find_repeats(table: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of repeated hashes in ascending order, and for each that of the first with the same hash."""
    order = np.lexsort((table["low"], table["high"]))  # stable: equal hashes stay in the order of the corpus
    high, low = table["high"][order], table["low"][order]
    same = np.zeros(len(table), dtype=bool)
    same[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    del high, low
    repeated, group_starts = np.flatnonzero(same), np.flatnonzero(~same)
    firsts = order[group_starts[np.searchsorted(group_starts, repeated, side="right") - 1]]
    positions = order[repeated]
    ascending = np.argsort(positions)
    return positions[ascending], firsts[ascending]


@dataclass(frozen=True)
class Hashed:
    """Hashes of some of a corpus's documents: ``hashes[k]`` is of the document at ``positions[k]``, which ascend."""

    hashes: npt.NDArray[np.void]
    positions: npt.NDArray[np.int64]

    def repeats(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the documents with a hash that an earlier one has, ascending, and of each the first that has it."""
        repeated, firsts = find_repeats(self.hashes)
        return self.positions[repeated], self.positions[firsts]

    def without(self, documents: npt.NDArray[np.int64]) -> Hashed:
        """Return the hashes of the other documents."""
        others = ~np.isin(self.positions, documents)
        return Hashed(self.hashes[others], self.positions[others])

    def same(self, some: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell of pairs of documents whether both have a hash, and the same."""
        if not len(self.positions):
            return np.zeros(len(some), bool)
        last = len(self.positions) - 1
        one, other = (np.minimum(np.searchsorted(self.positions, documents), last) for documents in (some, others))
        hashed = (self.positions[one] == some) & (self.positions[other] == others)
        same: npt.NDArray[np.bool_] = hashed & (self.hashes[one] == self.hashes[other])
        return same


def find_namesakes(names: Hashed, texts: Hashed) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the documents whose name an earlier one has with another text, ascending, and of each that first one.

    Of the same name and the same text is a duplicate like any other.
    """
    repeated, firsts = names.repeats()
    other_text = ~texts.same(repeated, firsts)
    return repeated[other_text], firsts[other_text]


def merge_clusters(
    clusters: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64], positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return clusters with those put together that share a key.

    ``clusters`` has for every document the lowest position of its cluster, shape (documents,); ``keys`` are one band of
    the documents at ``positions``.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    one, other = (clusters[positions[ends[same]]] for ends in (order[:-1], order[1:]))
    linked = one != other
    if not linked.any():
        return clusters
    count = len(clusters)
    graph = coo_array((np.ones(linked.sum(), np.int8), (one[linked], other[linked])), shape=(count, count))
    _, components = connected_components(graph, directed=False)
    firsts = np.unique(components, return_index=True)[1]
    merged: npt.NDArray[np.int64] = firsts[components[clusters]]
    return merged


def duplicates_of(tables: Iterable[Path], shard: str) -> list[tuple[int, str]]:
    """Return the rows of a shard for which an earlier document stands, each with its kind of duplicate.

    ``tables`` are one of DUPLICATES, or none for a shard that is not compared with the corpus.
    """
    rows: list[tuple[int, str]] = []
    for file in tables:
        table = pq.read_table(file, columns=["row", "kind"], filters=[("shard", "=", shard)])
        rows += zip(table["row"].to_pylist(), table["kind"].to_pylist(), strict=True)
    return rows
