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


@dataclass
class Packer:
    """Joins stretches to rows of at most ``capacity`` pieces, in the order in which they come.

    With ``packed`` false every stretch is a row of its own.
    """

    tokenizer: PieceTokenizer
    capacity: int
    packed: bool
    _waiting: list[tuple[dict[str, Any], Ids]] = field(default_factory=list)

    def add(self, sample: dict[str, Any], ids: Ids) -> Iterator[tuple[str, dict[str, Any]]]:
        """Take a sample of a document with these pieces; yield the row that is full before it, if one is, with its id.

        A row has the id of its first sample.
        """
        ids = ids[sample["window_first"] : sample["window_last"]]
        if self._waiting and (not self.packed or self._length() + len(self.tokenizer.after) + len(ids) > self.capacity):
            yield from self.flush()
        self._waiting.append((sample, ids))

    def flush(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what is left, as a row with its id."""
        if self._waiting:
            yield self._waiting[0][0]["sample_id"], self._row()
            self._waiting = []

    def _length(self) -> int:
        return sum(len(ids) for _, ids in self._waiting) + (len(self._waiting) - 1) * len(self.tokenizer.after)

    def _row(self) -> dict[str, Any]:
        parts, starts, length = [self.tokenizer.before], [], len(self.tokenizer.before)
        for _, pieces in self._waiting:
            starts.append(length)
            parts += [pieces, self.tokenizer.after]
            length += len(pieces) + len(self.tokenizer.after)
        samples = [sample for sample, _ in self._waiting]
        return {
            "input_ids": np.concatenate(parts),
            "doc_starts": starts,
            "doc_ids": [sample["doc_id"] for sample in samples],
            "sources": [sample["source"] for sample in samples],
        }
