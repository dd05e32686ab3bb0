"""Samples: which mention of which group of which window is masked, in which split, and which survive the cap.

Every choice is a hash of the seed and of what is chosen, so that it is the same for any order, number of shards or
resume.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import pyarrow as pa

from malgeul.dataset.mentions import Mention, PlacedMention, groups, place, windows
from malgeul.dataset.tokenizer import PieceTokenizer
from malgeul.shards.names import stable_hash

SPLITS = ("train", "validation", "test")

SAMPLES = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("entity", pa.string(), nullable=False),  # empty for a sequence
        pa.field("window_first", pa.int32(), nullable=False),  # pieces [first, last) of the document
        pa.field("window_last", pa.int32(), nullable=False),
        # All mentions of the entity in the window, by pieces [start, end) of the document, and which of them is masked.
        pa.field("mention_starts", pa.list_(pa.int32()), nullable=False),
        pa.field("mention_ends", pa.list_(pa.int32()), nullable=False),
        pa.field("masked_index", pa.int32()),  # null for a sequence
        # In characters of the document; of a sequence, which masks nothing, its own place.
        pa.field("masked_start", pa.int32(), nullable=False),
        pa.field("masked_end", pa.int32(), nullable=False),
        pa.field("distance", pa.int32(), nullable=False),  # characters from the mention before
        pa.field("priority", pa.uint64(), nullable=False),
    ]
)
"""samples/: candidates before the cap over the whole corpus."""

ENTITY_CAP = pa.schema(
    [
        pa.field("entity", pa.string(), nullable=False),
        pa.field("largest_priority", pa.uint64(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
    ]
)
"""entity_cap.parquet: the entities over the cap, the largest priority that stays, and how many samples there were."""


@dataclass(frozen=True)
class Choice:
    """The rules of selection: the fields of SelectSettings that decide about samples."""

    capacity: int
    profile: str
    min_distance: int
    max_distance: int
    masked_per_group: int
    seed: int
    validation_share: float
    test_share: float


def split_of(doc_id: str, choice: Choice) -> str:
    """Return the split of a document: all its samples go there, so that none leaks into another."""
    place_in_unit = stable_hash(f"{choice.seed}:split:{doc_id}") / 2**64
    if place_in_unit < choice.test_share:
        return "test"
    if place_in_unit < choice.test_share + choice.validation_share:
        return "validation"
    return "train"


def samples_of(
    document: dict[str, Any], tokenizer: PieceTokenizer, choice: Choice, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield the samples of a document (a row of filtered/) as rows of :data:`SAMPLES`.

    Adds to ``counts``: mentions, misaligned (left out: a piece reaches over the border), windows, groups.
    """
    mentions = [Mention(m["surface"], m["start"], m["end"]) for m in document["mentions"]]
    pieces = tokenizer.pieces(document["text"])
    placed, misaligned = place(mentions, pieces)
    counts["mentions"] += len(mentions)
    counts["misaligned"] += misaligned
    split = split_of(document["id"], choice)
    first_alone = 1 if choice.profile == "seed_compat" else None
    for window in islice(windows(document["text"], pieces, choice.capacity), first_alone):
        counts["windows"] += 1
        for entity, group in groups(placed, window).items():
            counts["groups"] += 1
            for masked, distance in _masked(group, choice):
                span = f"{masked.mention.start}-{masked.mention.end}"
                yield {
                    "sample_id": f"{document['source']}/{document['id']}@{span}",
                    "doc_id": document["id"],
                    "source": document["source"],
                    "split": split,
                    "entity": entity,
                    "window_first": window.first,
                    "window_last": window.last,
                    "mention_starts": [mention.first for mention in group],
                    "mention_ends": [mention.last for mention in group],
                    "masked_index": group.index(masked),
                    "masked_start": masked.mention.start,
                    "masked_end": masked.mention.end,
                    "distance": distance,
                    "priority": stable_hash(f"{choice.seed}:cap:{document['source']}/{document['id']}@{span}"),
                }


def _masked(group: Sequence[PlacedMention], choice: Choice) -> Iterator[tuple[PlacedMention, int]]:
    """Yield the mentions of a group that are masked, each with its distance from the one before."""
    found = 0
    # The forerunner looks at so many mentions, whether they are masked or not.
    seen = group[: 1 + choice.masked_per_group] if choice.profile == "seed_compat" else group
    for before, masked in pairwise(seen):
        distance = masked.mention.start - before.mention.end
        if choice.min_distance <= distance <= choice.max_distance and found < choice.masked_per_group:
            found += 1
            yield masked, distance


def saturated(samples: Iterable[tuple[str, int]], cap: int) -> Iterator[dict[str, Any]]:
    """Return the entities with more than ``cap`` samples, in sorted order, as rows of :data:`ENTITY_CAP`.

    ``samples`` are pairs of entity and priority in any order. Of an entity the ``cap`` smallest priorities stay
    (bottom-k sampling, Cohen and Kaplan 2007); memory is bounded by the priorities that may stay.
    """
    smallest: dict[str, list[int]] = {}
    seen: Counter[str] = Counter()
    for entity, priority in samples:
        seen[entity] += 1
        heap = smallest.setdefault(entity, [])
        if len(heap) < cap:
            heapq.heappush(heap, -priority)
        elif -priority > heap[0]:
            heapq.heapreplace(heap, -priority)
    for entity in sorted(seen):
        if seen[entity] > cap:
            yield {"entity": entity, "largest_priority": -smallest[entity][0], "samples": seen[entity]}
