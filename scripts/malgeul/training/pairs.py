"""Vectors of texts: a query and its answer closer together than the query and the other answers of the batch.

The loss of a row needs the vectors of the whole batch, whose activations need not fit into memory: vectors are computed
without gradients first, then their gradients, then those of the weights part by part (Gao et al. 2021, GradCache). With
several processes the vectors of all are gathered, so that the batch is the same as that of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from malgeul.shards.names import stable_hash
from malgeul.training.tasks import Batch, Pass, Row, load_to_learn, on_device_of, parts

SCORED_AT_ONCE = 64

NEAREST = 10
"""Answers among which the right one is looked for."""


class PairTask:
    """Rows with ``query_ids``, ``positive_ids`` and ``key``, a number that equal answers share.

    ``pool`` makes vectors (rows, dimension) of hidden states (rows, pieces, dimension) and the attention mask.
    ``batch`` is the size of the batches whose loss is measured, ``scored`` are pairs with a score each.
    """

    def __init__(
        self,
        rows: Callable[[str], Sequence[Row]],
        collate: Callable[[Sequence[Row]], Batch],
        pool: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        *,
        scale: float,
        batch: int,
        scored: Sequence[tuple[Row, float]] = (),
    ) -> None:
        self.rows, self._padded, self._pool, self._scale, self._batch = rows, collate, pool, scale, batch
        self._scored = scored

    def load(self, folder: str, precision: str = "float32") -> Any:
        """Return the model without a head."""
        model = load_to_learn("embed", folder, precision)
        model.new_modules = []  # a pooler that is missing is not used either
        return model

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Return queries and answers as texts of one batch: rows 0, 2, … are queries, 1, 3, … their answers."""
        texts = [{"input_ids": ids} for row in rows for ids in (row["query_ids"], row["positive_ids"])]
        keys = torch.tensor([key for row in rows for key in (row["key"], row["key"])])
        return {**self._padded(texts), "key": keys}

    def prepare(self, batch: Batch, step: int | None) -> Batch:
        """Return the batch as it is."""
        return batch

    def vectors(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the vectors of texts, of length one."""
        hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return normalize(self._pool(hidden.float(), batch["attention_mask"]), dim=1)

    def loss(self, vectors: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of pairs whose texts lie behind each other; equal answers are no wrong ones."""
        queries, answers, keys = vectors[0::2], vectors[1::2], keys[0::2]
        logits = self._scale * queries @ answers.T
        right = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
        logits = logits.masked_fill((keys[:, None] == keys[None, :]) & ~right, float("-inf"))
        return cross_entropy(logits, torch.arange(len(keys), device=keys.device))

    def learn(self, given: Pass, batch: Batch, at_once: int) -> torch.Tensor:
        """Add the gradients of the mean loss over the pairs of all processes."""
        texts = {name: values for name, values in batch.items() if name != "key"} | {
            "place": torch.arange(len(batch["key"]), device=batch["key"].device)
        }
        whole = len(batch["key"]) <= 2 * at_once
        states: list[RandomState] = []

        def encode() -> list[tuple[torch.Tensor, torch.Tensor]]:
            found = []
            for part in parts(texts, 2 * at_once):
                states.append(RandomState())
                with torch.set_grad_enabled(whole):
                    found.append((part["place"], self.vectors(given.model, part)))
            return found

        found = given.ranks.together(encode)
        places = torch.cat([places for places, _ in found])
        own = torch.empty(len(places), found[0][1].shape[1], device=places.device)
        own[places] = torch.cat([vectors.detach() for _, vectors in found])
        every = given.ranks.gather(own).requires_grad_()
        loss = self.loss(every, given.ranks.gather(batch["key"]))
        (gradient,) = torch.autograd.grad(loss, every)
        gradient = gradient[given.ranks.rank * len(own) :][: len(own)]

        def backward() -> None:
            after = RandomState()
            for number, part in enumerate(parts(texts, 2 * at_once)):
                if whole:
                    vectors = found[0][1]
                else:
                    states[number].restore()  # dropout leaves out what it left out before
                    vectors = self.vectors(given.model, part)
                given.backward((vectors * gradient[part["place"]]).sum())
            after.restore()

        given.ranks.together(backward)
        return loss.detach() / given.ranks.size

    def judge(self, model: nn.Module, rows: Sequence[Row]) -> torch.Tensor:
        """Return of each row the vector of its query, that of its answer, and the key of the answer as two numbers."""
        batch = on_device_of(model, self.collate(rows))
        with torch.inference_mode():
            vectors = self.vectors(model, batch)
        keys = batch["key"][0::2]
        halves = torch.stack([keys >> 20, keys & 0xFFFFF], 1).float()  # each exact in float32
        return torch.cat([vectors[0::2], vectors[1::2], halves], 1).cpu()

    def figures(self, judged: torch.Tensor) -> dict[str, float]:
        """Return the loss in batches as in training, and how often an answer is found among all judged ones.

        ``recall_at_1`` and ``recall_at_10`` are shares of queries, ``mrr`` is the mean of one over the answer's rank.
        """
        dimension = (judged.shape[1] - 2) // 2
        halves = judged[:, -2:].long()
        keys = (halves[:, 0] << 20) | halves[:, 1]
        pairs = judged[:, :-2].reshape(-1, dimension)
        losses = [
            (self.loss(block, key.repeat_interleave(2)), len(key))
            for block, key in zip(torch.split(pairs, 2 * self._batch), torch.split(keys, self._batch), strict=True)
        ]
        ranks = []
        for block, own in zip(torch.split(pairs[0::2], 1024), torch.split(keys, 1024), strict=True):
            cosines = block @ pairs[1::2].T
            right = own[:, None] == keys[None, :]
            best = cosines.masked_fill(~right, -2).max(1, keepdim=True).values
            ranks.append(1 + ((cosines > best) & ~right).sum(1))
        rank = torch.cat(ranks).double()
        return {
            "loss": sum(float(loss) * n for loss, n in losses) / len(judged),
            "recall_at_1": float((rank <= 1).double().mean()),
            f"recall_at_{NEAREST}": float((rank <= NEAREST).double().mean()),
            "mrr": float((1 / rank).mean()),
        }

    def more(self, model: nn.Module) -> dict[str, Any]:
        """Return Spearman's correlation of the cosines of scored pairs with their scores, where there are any."""
        if not self._scored:
            return {}
        cosines = []
        for first in range(0, len(self._scored), SCORED_AT_ONCE):
            judged = self.judge(model, [row for row, _ in self._scored[first : first + SCORED_AT_ONCE]])
            queries, answers = judged[:, :-2].chunk(2, 1)
            cosines += (queries * answers).sum(1).tolist()
        return {"scored_pairs": len(cosines), "spearman": spearman(cosines, [score for _, score in self._scored])}


def key_of(text: str) -> int:
    """Return the number that stands for a text: 40 bits of its hash."""
    return stable_hash(text) >> 24


class RandomState:
    """Where torch's random numbers stand, on the CPU and on the GPU in use."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Go back to where they stood."""
        torch.set_rng_state(self._cpu)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation of two lists, or None where it is not defined (one is constant)."""
    from scipy.stats import spearmanr

    if min(len(set(first)), len(set(second))) < 2:
        return None
    return float(spearmanr(first, second).statistic)
