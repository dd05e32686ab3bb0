"""Text encoders in sentence-transformers' format, with the pooling, length, prompt and norm of the model's own files.

Read here instead of through sentence-transformers, because batches are planned by tokens and recorded one by one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from malgeul.models.devices import Device
from malgeul.models.loading import quiet_transformers
from malgeul.models.memory import Batcher, DoesNotFit

Vectors = npt.NDArray[np.float32]

Pooling = Literal["mean", "cls", "max", "lasttoken"]


@dataclass(frozen=True)
class Recipe:
    """How a model makes a vector of a text: pooling, longest input in tokens, prompt before it, unit length or not."""

    pooling: Pooling
    longest: int
    prompt: str
    normalize: bool


def read_recipe(folder: Path) -> Recipe:
    """Read a recipe from a model's files; a plain encoder without modules.json has mean pooling and unit length.

    Raises ValueError for modules that are not known here.
    """
    config = _json(folder / "config.json")
    longest = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in {"roberta", "xlm-roberta", "camembert"}:
        longest -= int(config.get("pad_token_id") or 0) + 1  # positions begin behind the padding's
    pooling: Pooling = "mean"
    normalize = True
    modules = _json(folder / "modules.json")
    if modules:
        normalize = False
        for module in modules:
            kind = module["type"].rsplit(".", 1)[-1]
            if kind == "Pooling":
                pooling = _pooling(_json(folder / module["path"] / "config.json"))
            elif kind == "Normalize":
                normalize = True
            elif kind != "Transformer":
                raise ValueError(f"{folder} has a module {kind}; Transformer, Pooling and Normalize are understood")
    declared = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    prompts = _json(folder / "config_sentence_transformers.json")
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name") or "document", "")
    return Recipe(pooling, min(longest, int(declared or longest)), prompt, normalize)


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _pooling(config: dict[str, Any]) -> Pooling:
    named: dict[str, Pooling] = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_lasttoken": "lasttoken",
    }
    chosen = [pooling for key, pooling in named.items() if config.get(key)]
    if len(chosen) != 1:
        raise ValueError(f"pooling modes {chosen or 'none'}: exactly one of {', '.join(named)} is understood")
    return chosen[0]


class Encoder:
    """An encoder with its tokenizer on one device."""

    def __init__(self, folder: Path, device: Device, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        quiet_transformers()
        torch.set_num_threads(threads)
        self._torch = torch
        self.recipe = read_recipe(folder)
        self._device = "cuda:0" if device.kind == "cuda" else "cpu"
        dtype = torch.float16 if device.kind == "cuda" else torch.float32
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
        model = AutoModel.from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, attn_implementation="sdpa", trust_remote_code=False
        )
        self._model = model.to(self._device).eval()
        self._batches = Batcher(self._encode, "text")

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Return the token ids of every text, cut to what the model takes, and how many tokens were cut off."""
        prompted = [self.recipe.prompt + text for text in texts]
        ids: list[list[int]] = self._tokenizer(prompted, truncation=True, max_length=self.recipe.longest)["input_ids"]
        whole = self._tokenizer(prompted, verbose=False)["input_ids"]
        return ids, sum(len(full) - len(cut) for full, cut in zip(whole, ids, strict=True))

    def encode(self, batch: Sequence[list[int]]) -> list[Vectors | DoesNotFit]:
        """Return the vector of every sequence of token ids, in order.

        Out of memory splits the batch; a sequence that does not fit alone gives DoesNotFit in its place.
        """
        return self._batches(batch)

    def _encode(self, batch: Sequence[list[int]]) -> Sequence[Vectors]:
        torch = self._torch
        padded = self._tokenizer.pad({"input_ids": list(batch)}, return_tensors="pt")
        inputs = {name: padded[name].to(self._device) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            hidden = self._model(**inputs).last_hidden_state
            pooled = pool(hidden.float(), inputs["attention_mask"], self.recipe.pooling)
            if self.recipe.normalize:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
        return list(pooled.cpu().numpy().astype(np.float32))


def pool(hidden: Any, mask: Any, how: Pooling) -> Any:
    """Reduce hidden states (batch, tokens, dimension) to (batch, dimension); ``mask`` (batch, tokens) is 1 for text."""
    match how:
        case "cls":
            return hidden[:, 0]
        case "lasttoken":
            last = mask.cumsum(1).argmax(1)
            return hidden[range(len(hidden)), last]
        case "max":
            return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).max(1).values
    weight = mask.unsqueeze(-1).float()
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return batches of positions whose padded size (members x longest) stays within ``budget`` tokens, longest first.

    The plan depends on the lengths alone; a sequence over the budget has a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    batches: list[list[int]] = []
    for k in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(k)
        else:
            batches.append([k])
    return batches
