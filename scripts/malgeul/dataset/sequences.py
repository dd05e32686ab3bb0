"""Sequences for language models: stretches of documents, one a row or packed together, nothing masked.

The masking of an MLM and the shift of a causal model are the collator's (transformers'
DataCollatorForLanguageModeling).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from malgeul.dataset.mentions import windows
from malgeul.dataset.samples import Choice, split_of
from malgeul.dataset.tokenizer import Ids, PieceTokenizer

COLUMNS: dict[str, str] = {
    "input_ids": "list<int32>",
    "doc_starts": "list<int32>",
    "doc_ids": "list<string>",
    "sources": "list<string>",
}
"""Columns and types. No padding.

``input_ids``: pieces with special tokens; between packed stretches stand the tokens that end a sequence.
``doc_starts``: where each stretch begins in ``input_ids``; ``doc_ids``, ``sources``: the document that it is of.
"""


def stretches_of(
    document: dict[str, Any], tokenizer: PieceTokenizer, choice: Choice, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield the windows of a document (a row of filtered/) as rows of :data:`malgeul.dataset.samples.SAMPLES`.

    Such a sample has no entity, and the place of the whole window instead of a masked mention's. Adds to ``counts``:
    windows, pieces.
    """
    pieces = tokenizer.pieces(document["text"])
    split = split_of(document["id"], choice)
    for window in windows(document["text"], pieces, choice.capacity):
        counts["windows"] += 1
        counts["pieces"] += window.last - window.first
        start, end = pieces.spans[window.first][0], pieces.spans[window.last - 1][1]
        yield {
            "sample_id": f"{document['source']}/{document['id']}@{start}-{end}",
            "doc_id": document["id"],
            "source": document["source"],
            "split": split,
            "entity": "",
            "window_first": window.first,
            "window_last": window.last,
            "mention_starts": [],
            "mention_ends": [],
            "masked_index": None,
            "masked_start": start,
            "masked_end": end,
            "distance": 0,
            "priority": 0,
        }


OPEN_ROWS = 16
"""Rows that wait for more stretches: with so many, petitions fill 98 % of rows of 2,048 pieces; with one, 84 %."""


@dataclass
class _Row:
    """Stretches that share a row, with the pieces they take beside those around the whole."""

    stretches: list[tuple[dict[str, Any], Ids]]
    pieces: int

    def take(self, sample: dict[str, Any], ids: Ids, between: int) -> None:
        self.stretches.append((sample, ids))
        self.pieces += between + len(ids)


@dataclass
class Packer:
    """Joins stretches to rows of at most ``capacity`` pieces; none is cut.

    A stretch goes into the fullest of the open rows that has room for it (best fit); when there are too many of them
    the fullest is closed. With ``packed`` false every stretch is a row of its own.
    """

    tokenizer: PieceTokenizer
    capacity: int
    packed: bool
    _open: list[_Row] = field(default_factory=list)

    def add(self, sample: dict[str, Any], ids: Ids) -> Iterator[tuple[str, dict[str, Any]]]:
        """Take a sample of a document with these pieces; yield the row that is closed for it, if one is, with its id.

        A row has the id of its first sample.
        """
        ids = ids[sample["window_first"] : sample["window_last"]]
        between = len(self.tokenizer.after)
        if not self.packed:
            yield self._closed(_Row([(sample, ids)], len(ids)))
            return
        fitting = [row for row in self._open if row.pieces + between + len(ids) <= self.capacity]
        if fitting:
            _fullest(fitting).take(sample, ids, between)
            return
        self._open.append(_Row([(sample, ids)], len(ids)))
        if len(self._open) > OPEN_ROWS:
            full = _fullest(self._open)
            self._open.remove(full)
            yield self._closed(full)

    def flush(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what is left, as rows with their ids."""
        yield from map(self._closed, self._open)
        self._open = []

    def _closed(self, row: _Row) -> tuple[str, dict[str, Any]]:
        parts, starts, length = [self.tokenizer.before], [], len(self.tokenizer.before)
        for _, pieces in row.stretches:
            starts.append(length)
            parts += [pieces, self.tokenizer.after]
            length += len(pieces) + len(self.tokenizer.after)
        samples = [sample for sample, _ in row.stretches]
        return samples[0]["sample_id"], {
            "input_ids": np.concatenate(parts),
            "doc_starts": starts,
            "doc_ids": [sample["doc_id"] for sample in samples],
            "sources": [sample["source"] for sample in samples],
        }


def _fullest(rows: list[_Row]) -> _Row:
    """Return the row with the most pieces, of several the one that was opened first."""
    return max(rows, key=lambda row: row.pieces)
