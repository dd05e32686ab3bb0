"""Models of masked pieces: the kinds that learn from the merged dataset, and heads that see masked places alone.

A vocabulary of 130,000 pieces makes the head as dear as all layers together; of a window of 512 pieces a handful is
predicted. So the hidden states are cut to those places before the head.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from malgeul.models.positions import room_of
from malgeul.training.tasks import Batch, Row, SumOfRows, load_to_learn, on_device_of

IGNORED = -100
"""Label of a piece that is not predicted (PyTorch's default ignore_index)."""

MEASURE = 2**32 - 1
"""Stands for the step where a measure masks."""


class MaskedModel(SumOfRows):
    """What both kinds have: the loss on masked pieces, and how many of them are found.

    ``longest`` is how many pieces the longest row has.
    """

    def __init__(
        self, rows: Callable[[str], Sequence[Row]], collate: Callable[[Sequence[Row]], Batch], longest: int = 0
    ) -> None:
        self.rows, self.collate, self._longest = rows, collate, longest
        self._head = MaskedPlaces()

    def load(self, folder: str, precision: str = "float32") -> Any:
        """Return the model with its head for masked pieces; raises ValueError for one that takes no such long rows."""
        model = load_to_learn("fill", folder, precision)
        if (room := room_of(model)) is not None and room < self._longest:
            raise ValueError(
                f"{folder} takes {room} pieces, and the dataset has rows of up to {self._longest}; lower "
                "select.sequence_length"
            )
        self._head.watch(model)
        return model

    def items(self, batch: Batch) -> int:
        """Return the number of masked pieces."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum of the cross entropies of masked pieces."""
        logits, labels = self._head.predict(model, batch)
        return cross_entropy(logits.float(), labels, reduction="sum")

    def judge(self, model: nn.Module, rows: Sequence[Row]) -> torch.Tensor:
        """Return of each row: its loss, masked pieces, those found, whether all are found, whether the first is."""
        batch = self.prepare(on_device_of(model, self.collate(rows)), None)
        row_of_piece = (batch["labels"] != IGNORED).nonzero()[:, 0]
        with torch.inference_mode():
            logits, labels = self._head.predict(model, batch)
            losses = cross_entropy(logits.float(), labels, reduction="none")
            found = (logits.argmax(-1) == labels).float()
        judged = torch.zeros(len(rows), 5, device=found.device)
        for column, values in ((0, losses), (1, torch.ones_like(found)), (2, found)):
            judged[:, column].index_add_(0, row_of_piece, values)
        judged[:, 3] = (judged[:, 1] == judged[:, 2]).float()
        first = torch.ones_like(row_of_piece, dtype=torch.bool)
        first[1:] = row_of_piece[1:] != row_of_piece[:-1]
        judged[row_of_piece[first], 4] = found[first]
        return judged.cpu()


class MentionTask(MaskedModel):
    """Rows whose masked mention is chosen already: mention reference prediction."""

    def figures(self, judged: torch.Tensor) -> dict[str, float]:
        """Return the loss of a piece, and the shares of mentions found exactly and by their first piece."""
        sums = judged.double().sum(0)
        return {
            "loss": float(sums[0] / sums[1]),
            "exact_accuracy": float(sums[3] / len(judged)),
            "first_piece_accuracy": float(sums[4] / len(judged)),
            "piece_accuracy": float(sums[2] / sums[1]),
        }


class SequenceTask(MaskedModel):
    """Sequences of which a share of pieces is masked, others at every step, the same ones at every measure.

    What is masked depends on the seed, the step and the row alone, so that neither processes nor a resume change it.
    """

    def __init__(
        self,
        rows: Callable[[str], Sequence[Row]],
        collate: Callable[[Sequence[Row]], Batch],
        longest: int = 0,
        *,
        mask_id: int,
        special: Sequence[int],
        vocabulary: int,
        share: float,
        seed: int,
    ) -> None:
        super().__init__(rows, collate, longest)
        self._mask_id, self._special, self._vocabulary = mask_id, torch.tensor(sorted(special)), vocabulary
        self._share, self._seed = share, seed

    def prepare(self, batch: Batch, step: int | None) -> Batch:
        """Return the batch with a share of its pieces masked, and with the labels of those.

        At least one piece of a row is; of those chosen 80 % become the mask, 10 % any piece, 10 % stay.
        """
        device = batch["input_ids"].device
        ids, mask = batch["input_ids"].cpu(), batch["attention_mask"].cpu().bool()
        free = mask & ~torch.isin(ids, self._special)
        labels = torch.full_like(ids, IGNORED)
        shown = ids.clone()
        for number in range(len(ids)):
            places = free[number].nonzero()[:, 0].numpy()
            if not len(places):
                continue
            content = zlib.crc32(ids[number][mask[number]].numpy().tobytes())
            draws = np.random.default_rng([self._seed, MEASURE if step is None else step, content])
            drawn = draws.random((3, len(places)))
            chosen = drawn[0] < self._share
            chosen[drawn[0].argmin()] = True
            at = torch.from_numpy(places[chosen])
            labels[number, at] = ids[number, at]
            masked, other = drawn[1, chosen] < 0.8, drawn[1, chosen] >= 0.9
            shown[number, at[torch.from_numpy(masked)]] = self._mask_id
            pieces = torch.from_numpy((drawn[2, chosen][other] * self._vocabulary).astype(np.int64))
            shown[number, at[torch.from_numpy(other)]] = pieces
        return {**batch, "input_ids": shown.to(device), "labels": labels.to(device)}

    def figures(self, judged: torch.Tensor) -> dict[str, float]:
        """Return the loss of a piece, e to its power, and the share of pieces found."""
        sums = judged.double().sum(0)
        loss = float(sums[0] / sums[1])
        return {"loss": loss, "perplexity": float(np.exp(min(loss, 700.0))), "piece_accuracy": float(sums[2] / sums[1])}


class MaskedPlaces:
    """Cuts what a model's layers return to the masked places, so that its head computes those alone."""

    def __init__(self) -> None:
        self._places: torch.Tensor | None = None

    def watch(self, model: Any) -> None:
        """Have the layers of ``model`` (before it is wrapped) cut; raises ValueError for one without layers of its own.

        Holds for every head that looks at each place by itself, as those for masked pieces do.
        """
        layers = model.base_model
        if layers is model:
            raise ValueError(f"{type(model).__name__} names no base model that its head stands on")
        layers.register_forward_hook(self._cut)

    def predict(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, vocabulary) and labels (n,) of the n masked places of a batch, row by row."""
        self._places = batch["labels"] != IGNORED
        try:
            found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        finally:
            places, self._places = self._places, None
        return found.logits[0], batch["labels"][places]

    def _cut(self, _: nn.Module, __: Any, output: Any) -> Any:
        if self._places is None:
            return None
        output["last_hidden_state"] = output["last_hidden_state"][self._places].unsqueeze(0)
        return output
