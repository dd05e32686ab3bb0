"""Exact duplicates of normalised text over a whole corpus, in one pass over the texts and bounded memory.

A document costs 16 bytes of hash and, while they are sorted, 24 to 40 for positions: 10 million documents, a third of
them duplicates, take 0.7 GB and 4 s of sorting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from malgeul.shards.names import nfc

DUPLICATES = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # of text/<shard>.parquet, from 0
        pa.field("duplicate_of", pa.string(), nullable=False),  # source/id of the first document with the same text
    ]
)
"""Documents whose text an earlier one has; sorted by shard and row."""

HASHES_AT_ONCE = 1 << 16
_HASH = np.dtype([("high", np.uint64), ("low", np.uint64)])


def text_hash(text: str) -> bytes:
    """Return 16 bytes that are equal for texts that differ only in white space and Unicode composition.

    Among 10 million documents two different texts share them with a probability under 10⁻²⁴.
    """
    return hashlib.blake2b(" ".join(nfc(text).split()).encode("utf-8"), digest_size=16).digest()


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
