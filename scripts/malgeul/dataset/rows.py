"""Rows of the dataset: a window with one mention masked, ready for a collator that pads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from malgeul.dataset.tokenizer import Ids, PieceTokenizer

IGNORED = -100
"""Label of a piece that the loss leaves out (PyTorch's default ignore_index)."""

COLUMNS: dict[str, str] = {
    "input_ids": "list<int32>",
    "labels": "list<int32>",
    "mention_starts": "list<int32>",
    "mention_ends": "list<int32>",
    "masked_index": "int32",
    "target": "string",
    "distance": "int32",
    "doc_id": "string",
    "source": "string",
}
"""Columns and types. No padding, no token types; the attention mask is the collator's.

``input_ids``: pieces of the window with special tokens, those of the masked mention replaced by the mask token.
``labels``: the original ids where masked, else -100. ``mention_starts``, ``mention_ends``: positions [start, end) of
all mentions of the entity in ``input_ids``; ``masked_index``: which of them is masked. ``target``: the entity.
``distance``: characters from the mention before.
"""


def row_of(sample: Mapping[str, Any], ids: Ids, tokenizer: PieceTokenizer) -> dict[str, Any]:
    """Return the row of a sample (of :data:`malgeul.dataset.samples.SAMPLES`); ``ids`` are its document's pieces."""
    first, last, masked = sample["window_first"], sample["window_last"], sample["masked_index"]
    offset = len(tokenizer.before) - first
    starts = [start + offset for start in sample["mention_starts"]]
    ends = [end + offset for end in sample["mention_ends"]]
    row = np.concatenate([tokenizer.before, ids[first:last], tokenizer.after])
    labels = np.full_like(row, IGNORED)
    place = slice(starts[masked], ends[masked])
    labels[place] = row[place]
    row[place] = tokenizer.mask_id
    return {
        "input_ids": row,
        "labels": labels,
        "mention_starts": starts,
        "mention_ends": ends,
        "masked_index": masked,
        "target": sample["entity"],
        "distance": sample["distance"],
        "doc_id": sample["doc_id"],
        "source": sample["source"],
    }
