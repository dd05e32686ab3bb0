"""What a training has to know of its kind: rows, batches, how gradients come about, how good a model is.

A batch is a step's share of one process. It is computed in parts of as many rows as fit into memory; what comes of it
must not depend on the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from malgeul.models import weights
from malgeul.models.devices import cpu
from malgeul.training.ranks import Ranks

Batch = dict[str, torch.Tensor]
"""Tensors of a batch, each with a row per row; those of texts are padded to the longest."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """What a task is given to compute gradients with: the model as it is called, and its processes.

    ``backward`` adds the gradients of a loss to those of the weights (scaled, where the precision asks for it).
    """

    model: nn.Module
    ranks: Ranks
    backward: Callable[[torch.Tensor], None]


class Task(Protocol):
    """A kind of training."""

    def rows(self, split: str) -> Sequence[Row]:
        """Return the rows of a split (train, validation, test)."""

    def load(self, folder: str, precision: str = "float32") -> Any:
        """Return a model of transformers with ``new_modules``, whose weights the folder lacks."""

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Return rows as a batch."""

    def prepare(self, batch: Batch, step: int | None) -> Batch:
        """Return a batch as step ``step`` (None: a measure) sees it, such as with pieces masked."""

    def learn(self, given: Pass, batch: Batch, at_once: int) -> torch.Tensor:
        """Add the gradients of the mean loss over the batches of all processes; return this process's part of it.

        ``at_once`` rows are computed at a time. May raise torch.OutOfMemoryError, which :class:`Ranks` shares.
        """

    def judge(self, model: nn.Module, rows: Sequence[Row]) -> torch.Tensor:
        """Return what is needed of each row to measure a model, float32 (rows, k) on the CPU."""

    def figures(self, judged: torch.Tensor) -> dict[str, Any]:
        """Return the figures over all judged rows; ``loss`` is one of them."""

    def more(self, model: nn.Module) -> dict[str, Any]:
        """Return further figures of a model that are not of rows, for the evaluation."""


def parts(batch: Batch, at_once: int) -> Iterator[Batch]:
    """Yield a batch in parts of at most ``at_once`` rows, those with long texts first, cut to their longest.

    Rows of equal length have parts of their own as far as it goes, so that little is padded.
    """
    lengths = batch["attention_mask"].sum(1)
    order = torch.argsort(lengths, descending=True, stable=True)
    width = batch["attention_mask"].shape[1]
    # Of all parts at once, or a GPU would wait for the host before each.
    for some, longest in zip(torch.split(order, at_once), lengths[order[::at_once]].tolist(), strict=True):
        yield {
            name: values[some][:, :longest] if values.ndim > 1 and values.shape[1] == width else values[some]
            for name, values in batch.items()
        }


class SumOfRows:
    """The part of a task whose loss is a mean over items (pieces, texts) that have nothing to do with each other."""

    def prepare(self, batch: Batch, step: int | None) -> Batch:
        """Return the batch as it is."""
        return batch

    def more(self, model: nn.Module) -> dict[str, Any]:
        """Return nothing more."""
        return {}

    def items(self, batch: Batch) -> int:
        """Return over how many items of a batch the loss is a mean."""
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum of the losses of a batch's items."""
        raise NotImplementedError

    def learn(self, given: Pass, batch: Batch, at_once: int) -> torch.Tensor:
        """Add the gradients of the mean over the items of all processes, part by part."""
        items = given.ranks.total(self.items(batch))

        def every_part() -> torch.Tensor:
            whole = torch.zeros((), device=batch["input_ids"].device)
            for part in parts(batch, at_once):
                loss = self.loss(given.model, part) / max(items, 1)
                given.backward(loss)
                whole += loss.detach()
            return whole

        return given.ranks.together(every_part)


def load_to_learn(task: weights.Task, folder: str, precision: str, **options: Any) -> Any:
    """Return a model on the host.

    Its ``new_modules`` are the names of the modules whose weights the folder lacks, which are drawn at random.
    """
    loaded = weights.load_model(task, Path(folder), cpu(), precision=precision, **options)
    loaded.model.new_modules = sorted({name.rpartition(".")[0] for name in loaded.drawn})
    return loaded.model


def on_device_of(model: nn.Module, batch: Batch) -> Batch:
    """Return a batch on the device of a model."""
    device = next(model.parameters()).device
    return {name: values.to(device) for name, values in batch.items()}
