"""A classifier of texts: cross entropy over labels, and F1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from malgeul.training.tasks import Batch, Row, SumOfRows, load_to_learn, on_device_of


class ClassifierTask(SumOfRows):
    """Rows with ``input_ids`` and ``label``, the place of the label in ``labels``."""

    def __init__(
        self,
        rows: Callable[[str], Sequence[Row]],
        collate: Callable[[Sequence[Row]], Batch],
        labels: Sequence[str],
    ) -> None:
        self.rows, self._padded, self.labels = rows, collate, list(labels)

    def load(self, folder: str, precision: str = "float32") -> Any:
        """Return the model with a head of as many classes as there are labels, named."""
        return load_to_learn(
            "classify",
            folder,
            precision,
            num_labels=len(self.labels),
            id2label=dict(enumerate(self.labels)),
            label2id={label: number for number, label in enumerate(self.labels)},
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,
        )

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Return texts, padded, and labels."""
        return {**self._padded(rows), "labels": torch.tensor([row["label"] for row in rows])}

    def items(self, batch: Batch) -> int:
        """Return the number of texts."""
        return len(batch["labels"])

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum of the cross entropies of texts."""
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return cross_entropy(logits.float(), batch["labels"], reduction="sum")

    def judge(self, model: nn.Module, rows: Sequence[Row]) -> torch.Tensor:
        """Return of each text: its loss, its label, and the label that the model gives."""
        batch = on_device_of(model, self.collate(rows))
        with torch.inference_mode():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
            losses = cross_entropy(logits, batch["labels"], reduction="none")
        return torch.stack([losses, batch["labels"].float(), logits.argmax(-1).float()], 1).cpu()

    def figures(self, judged: torch.Tensor) -> dict[str, Any]:
        """Return loss, accuracy, F1 of each label and their mean, and how often which label was taken for which.

        ``majority_accuracy`` is what always giving the most frequent label would reach. A label that neither occurs nor
        is given has no F1 and is left out of the mean.
        """
        said = list(zip(judged[:, 1].long().tolist(), judged[:, 2].long().tolist(), strict=True))
        pairs = Counter(said)
        there, given = Counter(label for label, _ in said), Counter(label for _, label in said)
        f1: dict[str, float | None] = {}
        for number, label in enumerate(self.labels):
            both = there[number] + given[number]
            f1[label] = 2 * pairs[number, number] / both if both else None
        known = [value for value in f1.values() if value is not None]
        return {
            "loss": float(judged[:, 0].double().mean()),
            "accuracy": sum(n for (label, other), n in pairs.items() if label == other) / len(said),
            "majority_accuracy": max(there.values()) / len(said),
            "macro_f1": sum(known) / len(known),
            "f1": f1,
            "confusion": [[pairs[row, column] for column in range(len(f1))] for row in range(len(f1))],
        }


def sorted_labels(values: Sequence[str]) -> list[str]:
    """Return the labels of the training rows, sorted; raises ValueError for fewer than two."""
    labels = sorted(set(values))
    if len(labels) < 2:
        raise ValueError(f"the training rows have {len(labels)} label ({', '.join(labels)}); two are needed")
    return labels
