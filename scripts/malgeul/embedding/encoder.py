"""Text encoders in sentence-transformers' format, with the pooling, length, prompts and steps of the model's own files.

Read here instead of through sentence-transformers, because batches are planned by tokens and recorded one by one, and
because a model computes its sequences side by side, without padding, where it lends itself to that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from malgeul.embedding.recipe import Dense, Pooling, Recipe, Step, read_recipe
from malgeul.models.devices import Device
from malgeul.models.loading import quiet_transformers
from malgeul.models.memory import Batcher, DoesNotFit, plan_batches
from malgeul.models.precision import precision_for
from malgeul.models.tokenizers import backend_of
from malgeul.models.weights import load_model

if TYPE_CHECKING:
    from torch import Tensor

Vectors = npt.NDArray[np.float32]

PART_TOKENS = 1024
"""Tokens, or one text, that a core of a processor computes at once: more leaves its caches and is not faster."""

CORE_TOKENS = 4 * PART_TOKENS
"""Tokens of a batch for each core, at most: who is done with one part finds another."""

_PROOF = ("말", "글은 말을 적은 것이다. 말글은 둘을 함께 이른다.")
"""Texts of different lengths by which is proved that a model's sequences do not see each other in a row."""

_LIKENESS = {"float32": 1e-3, "float16": 3e-2, "bfloat16": 1e-1}
"""By which share hidden states may differ then; those of a model that mixes its sequences are wholly different."""

log = logging.getLogger(__name__)


class Encoder:
    """An encoder with its tokenizer on one device.

    On a processor float32, bfloat16 and int8 name what the linear layers multiply in, while everything between them
    stays float32. ``prompt`` and ``query_prompt`` take the place of the model's own.
    """

    def __init__(
        self,
        folder: Path,
        device: Device,
        threads: int,
        precision: str = "auto",
        prompt: str | None = None,
        query_prompt: str | None = None,
    ) -> None:
        import torch
        from transformers import AutoTokenizer

        from malgeul.models.cores import Cores
        from malgeul.models.linear import with_linear_layers_in, with_linear_layers_in_int8

        quiet_transformers()
        self._torch = torch
        self._cores = Cores(threads)
        self.recipe = read_recipe(folder, prompt, query_prompt)
        self.precision = precision_for(device, precision)
        self._device = device.place
        converted = self._device == "cpu" and self.precision != "float16"
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self._fast_tokenizer = backend_of(self._tokenizer, folder)
        self._fast_tokenizer.no_padding()
        self._fast_tokenizer.enable_truncation(self.recipe.longest, direction=self._tokenizer.truncation_side)
        loaded_in = "float32" if converted else self.precision
        self._model = load_model("embed", folder, device, precision=loaded_in).model
        self.packs = self._packs()
        if self.precision == "int8":
            self._model = with_linear_layers_in_int8(self._model)
        elif converted and self.packs:
            self._model = with_linear_layers_in(self._model, getattr(torch, self.precision))
        elif converted:
            self._model = self._model.to(getattr(torch, self.precision))
        self.dimension = dimension_of(folder, self.recipe)
        self._steps = [self._made(step) for step in self.recipe.steps]
        self._batches = Batcher(self._encode, "text")

    def at_once(self, most: int) -> int:
        """Return how many tokens a batch may have where ``most`` are allowed, on a processor for each of its cores."""
        return min(most, CORE_TOKENS) * self._cores.threads if self._device == "cpu" else most

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> tuple[list[list[int]], int]:
        """Return the token ids of every text, cut to what the model takes, and how many tokens were cut off."""
        prompt = self.recipe.query_prompt if query else self.recipe.prompt
        # By itself: what transformers makes of its results takes longer, and keeps the thread that computes waiting.
        encoded = self._fast_tokenizer.encode_batch_fast([prompt + text for text in texts])
        cut = sum(len(rest.ids) - sum(rest.special_tokens_mask) for one in encoded for rest in one.overflowing)
        return [one.ids for one in encoded], cut

    def encode(self, batch: Sequence[list[int]]) -> list[Vectors | DoesNotFit]:
        """Return the vector of every sequence of token ids, in order.

        Out of memory splits the batch; a sequence that does not fit alone gives DoesNotFit in its place.
        """
        return self._batches(batch)

    def encode_texts(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """Return the vectors of texts, or of queries, that fit into memory together: (texts, dimension).

        Raises DoesNotFit for a text that is too large for the device; what is longer than the model takes is cut.
        """
        ids, cut = self.tokenize(texts, query=query)
        if cut:
            log.warning("%d tokens were cut off: the model takes %d of a text", cut, self.recipe.longest)
        vectors: list[Any] = [None] * len(ids)
        for batch in plan_batches([len(one) for one in ids], self.at_once(CORE_TOKENS), padded=not self.packs):
            for k, vector in zip(batch, self.encode([ids[k] for k in batch]), strict=True):
                if isinstance(vector, DoesNotFit):
                    raise vector
                vectors[k] = vector
        return np.stack(vectors) if vectors else np.empty((0, self.dimension), np.float32)

    def parts_of(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the parts of a batch that are computed side by side, as positions: on a GPU the whole of it is one."""
        if self._device != "cpu":
            return [list(range(len(lengths)))]
        return plan_batches(lengths, min(PART_TOKENS, -(-sum(lengths) // self._cores.threads)), padded=not self.packs)

    def _encode(self, batch: Sequence[list[int]]) -> Sequence[Vectors]:
        parts = self.parts_of([len(ids) for ids in batch])
        found = self._cores.compute(lambda part: self._encode_part([batch[k] for k in part]), parts)
        vectors = dict(zip(chain.from_iterable(parts), chain.from_iterable(found), strict=True))
        return [vectors[k] for k in range(len(batch))]

    def _encode_part(self, batch: Sequence[list[int]]) -> Sequence[Vectors]:
        with self._torch.inference_mode():
            hidden, lengths = (self._packed if self.packs else self._padded)(batch)
            vectors = pool(hidden.float(), lengths, self.recipe.pooling)
            for step in self._steps:
                vectors = step(vectors)
        return list(vectors.cpu().numpy())

    def _packed(self, batch: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return the hidden states of all tokens of a batch (tokens, dimension), and the sequences' lengths."""
        from malgeul.embedding.packing import Row, hidden_of_row

        row = Row([len(ids) for ids in batch], self._device)
        ids = self._on_device(self._torch.tensor(list(chain.from_iterable(batch))))
        hidden = hidden_of_row(self._model, ids, row, self.recipe.first_position)
        return hidden, self._on_device(self._torch.tensor(row.lengths))

    def _padded(self, batch: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return the same for a model whose sequences stand one above the other, filled up to the longest."""
        padded = self._tokenizer.pad({"input_ids": list(batch)}, return_tensors="pt")
        ids, mask = (self._on_device(padded[name]) for name in ("input_ids", "attention_mask"))
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden[mask.bool()], mask.sum(1)

    def _on_device(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the host's on the device; pinned, so that a GPU fetches it while the host goes on."""
        if self._device == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _packs(self) -> bool:
        """Prove that sequences in a row have the hidden states that each has alone, or leave the model as it was."""
        from malgeul.embedding.packing import pack

        texts = self.tokenize(_PROOF)[0]
        usual = self._model.config._attn_implementation
        try:
            with self._torch.inference_mode():
                alone = self._torch.cat([self._padded([ids])[0] for ids in texts]).float()
                pack(self._model)
                together = self._packed(texts)[0].float()
            apart = float((together - alone).norm() / alone.norm())
            kind = str(self._model.dtype).removeprefix("torch.")
            if apart <= _LIKENESS[kind]:
                return True
            reason = f"its hidden states would differ by {apart:.2g}"
        except Exception as error:  # noqa: BLE001 - whatever a model does not bear, it works padded
            reason = f"{type(error).__name__}: {error}"
        log.info("the model's sequences are padded, not packed: %s", reason)
        self._model.set_attn_implementation(usual)
        return False

    def _made(self, step: Step) -> Callable[[Tensor], Tensor]:
        torch = self._torch
        if not isinstance(step, Dense):
            return lambda vectors: torch.nn.functional.normalize(vectors, dim=1)
        from safetensors.torch import load_file

        weights = {name: weight.float() for name, weight in load_file(step.weights, device=self._device).items()}
        activation = getattr(torch.nn, step.activation)()
        weight, bias = weights["linear.weight"], weights.get("linear.bias")
        return lambda vectors: activation(torch.nn.functional.linear(vectors, weight, bias))


def dimension_of(folder: Path, recipe: Recipe) -> int:
    """Return how many numbers a vector of the model in ``folder`` has, from its files alone."""
    layers = [step.dimension for step in recipe.steps if isinstance(step, Dense)]
    if layers:
        return layers[-1]
    known = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("hidden_size")
    if known is None:  # some kinds call it otherwise, which transformers knows; its import takes seconds
        from transformers import AutoConfig

        known = AutoConfig.from_pretrained(str(folder)).hidden_size
    return int(known)


def pool(hidden: Tensor, lengths: Tensor, how: Pooling) -> Tensor:
    """Reduce the hidden states (tokens, dimension) of sequences in a row to a vector each; ``lengths`` (sequences)."""
    import torch

    ends = lengths.cumsum(0)
    match how:
        case "cls":
            return hidden[ends - lengths]
        case "lasttoken":
            return hidden[ends - 1]
        case "weightedmean":  # by 1, 2, 3, …: the last tokens of a decoder have seen the most (arXiv 2202.08904)
            before = (ends - lengths).repeat_interleave(lengths, output_size=len(hidden))
            places = torch.arange(1, len(hidden) + 1, device=hidden.device) - before
            summed = torch.segment_reduce(hidden * places[:, None], "sum", lengths=lengths)
            return summed / (lengths * (lengths + 1) / 2)[:, None]
        case "mean_sqrt_len_tokens":
            return torch.segment_reduce(hidden, "sum", lengths=lengths) / lengths.sqrt()[:, None]
    pooled: Tensor = torch.segment_reduce(hidden, how, lengths=lengths)
    return pooled


def pool_padded(hidden: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """Reduce hidden states (sequences, tokens, dimension) with padding, where ``mask`` is 0, to a vector each."""
    return pool(hidden[mask.bool()], mask.sum(1), how)
