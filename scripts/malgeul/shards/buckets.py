"""Stable buckets: which shard an input belongs to, from its name and its weight alone.

A bucket ``(number, depth)`` holds the items whose hash equals ``number`` in its lowest ``depth`` bits. One that is too
heavy splits in two by one more bit: ``number`` keeps half of its items and ``number + 2**depth`` is new (extendible
hashing, Fagin et al. 1979). An added input therefore adds its bucket, or splits one; the others keep number and
content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from malgeul.shards.names import stable_hash

MAX_DEPTH = 24
"""Items that still share a bucket after this many bits (16 million buckets) stay together."""


@dataclass(frozen=True)
class Limits:
    """How much one shard holds: at most ``items`` inputs and ``size`` bytes, unless a single input is larger."""

    items: int
    size: int


@dataclass(frozen=True)
class Item:
    """One input with its relative NFC name and its size in bytes."""

    name: str
    size: int


ItemT = TypeVar("ItemT", bound=Item)


def split(items: Iterable[ItemT], limits: Limits) -> dict[int, list[ItemT]]:
    """Distribute ``items`` over buckets within ``limits``.

    Returns the buckets by number, each sorted by name; empty ones are left out. The result depends on the set of items
    only, never on their order.
    """
    hashed = sorted(((stable_hash(item.name), item) for item in items), key=lambda pair: pair[1].name)
    return dict(sorted(_split(hashed, 0, 0, limits)))


def _split(
    hashed: Sequence[tuple[int, ItemT]], number: int, depth: int, limits: Limits
) -> Iterable[tuple[int, list[ItemT]]]:
    if not hashed:
        return
    size = sum(item.size for _, item in hashed)
    fits = len(hashed) <= limits.items and size <= limits.size
    if fits or len(hashed) == 1 or depth == MAX_DEPTH:
        yield number, [item for _, item in hashed]
        return
    bit = 1 << depth
    yield from _split([pair for pair in hashed if not pair[0] & bit], number, depth + 1, limits)
    yield from _split([pair for pair in hashed if pair[0] & bit], number | bit, depth + 1, limits)


def bucket_of(key: str, buckets: int) -> int:
    """Return the bucket of ``key`` among ``buckets``, a power of two (rows of a database)."""
    return stable_hash(key) & (buckets - 1)


def power_of_two(n: float) -> int:
    """Return the smallest power of two that is at least ``n``."""
    power = 1
    while power < n:
        power *= 2
    return power
