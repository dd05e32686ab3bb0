"""Rows of the dataset: a window with one mention masked, ready for a collator that pads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from malgeul.dataset.mentions import Mention, groups, place, windows
from malgeul.dataset.tokenizer import PieceTokenizer

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


def rows_of(
    document: dict[str, Any], samples: Sequence[dict[str, Any]], tokenizer: PieceTokenizer, capacity: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a document's samples, in the order of the samples.

    The document is tokenized once and cut into the same windows as when its samples were selected. Raises LookupError
    when a sample does not belong to the document as it is now.
    """
    mentions = [Mention(m["surface"], m["start"], m["end"]) for m in document["mentions"]]
    pieces = tokenizer.pieces(document["text"])
    placed, _ = place(mentions, pieces)
    cut = list(windows(document["text"], pieces, capacity))
    for sample in samples:
        window = cut[sample["window"]]
        group = groups(placed, window)[sample["entity"]]
        masked_index = [mention.mention.start for mention in group].index(sample["masked_start"])
        masked = group[masked_index]
        offset = len(tokenizer.before) - window.first
        ids = [*tokenizer.before, *pieces.ids[window.first : window.last], *tokenizer.after]
        labels = [IGNORED] * len(ids)
        for position in range(masked.first + offset, masked.last + offset):
            labels[position], ids[position] = ids[position], tokenizer.mask_id
        yield {
            "input_ids": ids,
            "labels": labels,
            "mention_starts": [mention.first + offset for mention in group],
            "mention_ends": [mention.last + offset for mention in group],
            "masked_index": masked_index,
            "target": sample["entity"],
            "distance": sample["distance"],
            "doc_id": sample["doc_id"],
            "source": sample["source"],
        }
