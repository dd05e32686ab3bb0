"""Vectors of queries: one text at a time, on the CPU, seconds before torch and transformers would be imported.

A question is a dozen tokens; what costs is the start: torch and transformers take 3.5 s to import. Encoders of the
BERT family are therefore computed here with NumPy, from weights that stay memory-mapped: of the embeddings only the
rows of the question's tokens are read. Every other architecture takes the workflow's way, the Encoder. Both give the
same vectors (a test compares them), and without torch there is no second OpenMP beside FAISS's.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from malgeul.embedding.clusters import Vectors, unit
from malgeul.embedding.encoder import Encoder
from malgeul.embedding.recipe import Recipe, read_recipe
from malgeul.embedding.vectors import shortened
from malgeul.models.devices import cpu
from malgeul.models.hub import ModelNotFound
from malgeul.models.loading import folder_of
from malgeul.models.local import resolve, sketch_of_model
from malgeul.models.tokenizers import load_fast_tokenizer

log = logging.getLogger(__name__)

QueryEncoder = Callable[[str], Vectors]
"""From a question to its vector."""

FAMILY = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
"""Architectures that differ in nothing but the numbers of their positions."""


class OtherModel(RuntimeError):
    """The model is not the one that made the vectors."""


def load_query_encoder(about: dict[str, Any], threads: int) -> QueryEncoder:
    """Load the model that :func:`malgeul.embedding.query_model.describe_query_model` described.

    Raises ModelNotFound when it is gone, and OtherModel when its files are others than those that made the vectors.
    """
    name = about["model"]
    if "sketch" in about and resolve(name) is None:
        raise ModelNotFound(f"the folder {name}, whose model made the vectors, is gone")
    folder = folder_of(name, about.get("commit"))
    if "sketch" in about and sketch_of_model(folder) != about["sketch"]:
        raise OtherModel(f"{folder} has changed since the vectors were made with it; run the workflow again")
    recipe = read_recipe(folder, query_prompt=about["query_prompt"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    encode: QueryEncoder
    if is_of_family(config, folder, recipe):
        encode = BertEncoder(folder, config, recipe)
    else:
        log.info("%s (%s) is loaded with transformers, which takes a few seconds", name, config.get("model_type"))
        encode = torch_encoder(folder, about["query_prompt"], threads)
    return encode if about["dimensions"] is None else _shortening(encode, about["dimensions"], recipe)


def _shortening(encode: QueryEncoder, dimensions: int, recipe: Recipe) -> QueryEncoder:
    def encode_shortened(text: str) -> Vectors:
        kept: Vectors = shortened(encode(text)[None], dimensions, normalize=recipe.normalize)[0]
        return kept

    return encode_shortened


def is_of_family(config: dict[str, Any], folder: Path, recipe: Recipe) -> bool:
    """Tell whether :class:`BertEncoder` computes what the config and the recipe say."""
    return (
        set(recipe.steps) <= {"normalize"}
        and recipe.pooling in {"cls", "lasttoken", "max", "mean"}
        and config.get("model_type") in FAMILY
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and (folder / "tokenizer.json").is_file()
        and bool(list(folder.glob("model*.safetensors")))
    )


def torch_encoder(folder: Path, query_prompt: str, threads: int) -> QueryEncoder:
    """Return the workflow's encoder for single questions."""
    encoder = Encoder(folder, cpu(), threads, query_prompt=query_prompt)

    def encode(text: str) -> Vectors:
        vector: Vectors = encoder.encode_texts([text], query=True)[0]
        return vector

    return encode


class BertEncoder:
    """An encoder of the BERT family (Devlin et al. 2019) for one text at a time, in float32."""

    def __init__(self, folder: Path, config: dict[str, Any], recipe: Recipe) -> None:
        self._recipe = recipe
        self._tokenizer = load_fast_tokenizer(folder)
        self._tokenizer.backend.enable_truncation(recipe.longest)
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._first = recipe.first_position
        weights = map_weights(folder)
        word = "embeddings.word_embeddings.weight"
        prefix = next(name for name in weights if name.endswith(word)).removesuffix(word)
        self._weights = {name.removeprefix(prefix): weight for name, weight in weights.items()}
        self._float: dict[str, Vectors] = {}

    def __call__(self, text: str) -> Vectors:
        """Return the vector of a text."""
        ids = self._tokenizer.ids(self._recipe.query_prompt + text)
        states = self._embed(ids)
        for layer in range(self._layers):
            states = self._layer(states, f"encoder.layer.{layer}.")
        match self._recipe.pooling:
            case "cls":
                pooled: Vectors = states[0]
            case "lasttoken":
                pooled = states[-1]
            case "max":
                pooled = states.max(axis=0)
            case "mean":
                pooled = states.mean(axis=0)
        return unit(pooled.reshape(1, -1))[0] if self._recipe.normalize else pooled

    def _embed(self, ids: list[int]) -> Vectors:
        places = np.arange(self._first, self._first + len(ids))
        words, positions, kinds = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        states = _as_float(words[ids]) + _as_float(positions[places]) + _as_float(kinds[:1])
        return self._norm(states, "embeddings.LayerNorm")

    def _layer(self, states: Vectors, layer: str) -> Vectors:
        shape = (len(states), self._heads, -1)
        query, key, value = (
            self._linear(states, f"{layer}attention.self.{name}").reshape(shape).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(query.shape[-1]))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        seen = (shares @ value).transpose(1, 0, 2).reshape(states.shape)
        seen = self._linear(seen, f"{layer}attention.output.dense")
        states = self._norm(states + seen, f"{layer}attention.output.LayerNorm")
        inner = gelu(self._linear(states, f"{layer}intermediate.dense"))
        return self._norm(states + self._linear(inner, f"{layer}output.dense"), f"{layer}output.LayerNorm")

    def _linear(self, states: Vectors, name: str) -> Vectors:
        product: Vectors = states @ self._floats(f"{name}.weight").T + self._floats(f"{name}.bias")
        return product

    def _norm(self, states: Vectors, name: str) -> Vectors:
        centred = states - states.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        normed: Vectors = centred / scale * self._floats(f"{name}.weight") + self._floats(f"{name}.bias")
        return normed

    def _floats(self, name: str) -> Vectors:
        """Return a weight in float32; those of half the size are widened once."""
        if name not in self._float:
            self._float[name] = _as_float(self._weights[name])
        return self._float[name]


def gelu(values: Vectors) -> Vectors:
    """Return x Φ(x), with erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26)."""
    x = np.abs(values) * np.float32(1 / math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * x)
    series = np.full_like(t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(factor)
    erf = np.copysign(1 - series * t * np.exp(-x * x), values)
    result: Vectors = (values * (1 + erf) / 2).astype(np.float32)
    return result


TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Types of weights in safetensors; bfloat16 is the upper half of a float32 and is kept as its bits."""


def map_weights(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the weights of a model's safetensors by name, memory-mapped (the format: huggingface.co/docs/safetensors).

    Raises ValueError for a type of weights that is none of :data:`TYPES`.
    """
    weights: dict[str, npt.NDArray[Any]] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        bytes_ = np.memmap(file, dtype=np.uint8, mode="r", offset=8 + length)
        for name, tensor in header.items():
            if name == "__metadata__" or tensor["dtype"] in {"I64", "I32"}:  # numbers of positions
                continue
            if tensor["dtype"] not in TYPES:
                raise ValueError(f"{file}: {name} has the type {tensor['dtype']}; {', '.join(TYPES)} are understood")
            start, end = tensor["data_offsets"]
            weights[name] = bytes_[start:end].view(TYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return weights


def _as_float(weights: npt.NDArray[Any]) -> Vectors:
    if weights.dtype == np.uint16:
        return (weights.astype(np.uint32) << 16).view(np.float32)
    return weights.astype(np.float32, copy=False)
