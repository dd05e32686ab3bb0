"""Batches for transformers' Trainer: rows of the dataset, padded to the longest of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from malgeul.dataset.rows import IGNORED


@dataclass(frozen=True)
class MaskedMentionCollator:
    """Pads rows for a masked language model; to be given to a Trainer as ``data_collator``.

    ``pad_to_multiple_of`` is of use on GPUs (8 for half precision). The Trainer must keep the columns that a model does
    not know only where they are wanted: with ``remove_unused_columns`` (its default) they are dropped before.
    """

    pad_id: int
    pad_to_multiple_of: int = 1

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return input_ids, attention_mask and labels, int64 of shape (rows, longest)."""
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        longest += -longest % self.pad_to_multiple_of

        def padded(values: list[list[int]], filler: int) -> torch.Tensor:
            return torch.tensor([[*line, *[filler] * (longest - len(line))] for line in values])

        return {
            "input_ids": padded([row["input_ids"] for row in rows], self.pad_id),
            "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0),
            "labels": padded([row["labels"] for row in rows], IGNORED),
        }
