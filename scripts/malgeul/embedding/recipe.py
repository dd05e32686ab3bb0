"""How a model makes a vector of a text, read from its own files in sentence-transformers' format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from malgeul.models.positions import first_position, longest_input

Pooling = Literal["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"]

Activation = Literal["Identity", "Tanh", "ReLU", "GELU", "Sigmoid"]

_OLD_POOLING: dict[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}

DEFAULT_LONGEST = 512
"""Tokens that a model takes whose files tell nothing about it."""


@dataclass(frozen=True)
class Dense:
    """A linear layer behind the pooling.

    ``weights`` is the file with linear.weight and linear.bias, ``dimension`` that of what comes out.
    """

    weights: Path
    activation: Activation
    dimension: int


Step = Dense | Literal["normalize"]
"""What is done to a pooled vector."""


@dataclass(frozen=True)
class Recipe:
    """How a model makes a vector of a text.

    ``longest`` counts the tokens of the longest input, special ones and those of the prompt too; ``first_position`` is
    the position of a text's first token; ``steps`` follow the pooling in their order.
    """

    pooling: Pooling
    longest: int
    prompt: str
    query_prompt: str
    first_position: int
    steps: tuple[Step, ...]

    @property
    def normalize(self) -> bool:
        """Whether vectors have unit length."""
        return bool(self.steps) and self.steps[-1] == "normalize"


def read_recipe(folder: Path, prompt: str | None = None, query_prompt: str | None = None) -> Recipe:
    """Read a recipe from a model's files; a plain encoder without modules.json has mean pooling and unit length.

    ``prompt`` and ``query_prompt`` take the place of the model's own, of which that for documents is the first of
    document, passage, corpus and the default one, as sentence-transformers takes them. Raises ValueError for what is
    not understood here.
    """
    config = _json(folder / "config.json")
    known = longest_input(config)
    pooling: Pooling = "mean"
    steps: list[Step] = []
    modules = _json(folder / "modules.json")
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        place = folder / module["path"]
        if kind == "Pooling":
            pooling = _pooling(place)
        elif kind == "Normalize":
            steps.append("normalize")
        elif kind == "Dense":
            steps.append(_dense(place))
        elif kind != "Transformer":
            raise ValueError(f"{folder} has a module {kind}; Transformer, Pooling, Dense and Normalize are understood")
    own = _json(folder / "sentence_bert_config.json")
    if own.get("do_lower_case"):
        raise ValueError(f"{folder}/sentence_bert_config.json asks for do_lower_case, which is not understood")
    declared = own.get("max_seq_length") or _json(folder / "tokenizer_config.json").get("model_max_length")
    limits = [int(declared)] if declared else []
    limits += [known] if known else []
    files = _json(folder / "config_sentence_transformers.json")
    prompts = files.get("prompts") or {}
    names = ("document", "passage", "corpus", files.get("default_prompt_name"))
    default = prompts.get(files.get("default_prompt_name"), "")
    return Recipe(
        pooling,
        min(limits, default=DEFAULT_LONGEST),
        next((prompts[name] for name in names if name in prompts), "") if prompt is None else prompt,
        prompts.get("query", default) if query_prompt is None else query_prompt,
        first_position(config),
        tuple(steps) if modules else ("normalize",),
    )


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _pooling(place: Path) -> Pooling:
    config = _json(place / "config.json")
    named = config.get("pooling_mode")
    chosen = [named] if isinstance(named, str) else list(named or [])
    chosen = chosen or [mode for key, mode in _OLD_POOLING.items() if config.get(key)]
    if len(chosen) != 1 or chosen[0] not in get_args(Pooling):
        raise ValueError(f"{place} pools by {chosen or 'nothing'}; one of {', '.join(get_args(Pooling))} is understood")
    if config.get("include_prompt") is False:
        raise ValueError(f"{place} leaves the prompt out of the pooling (include_prompt), which is not understood")
    return chosen[0]  # type: ignore[return-value]


def _dense(place: Path) -> Dense:
    config = _json(place / "config.json")
    activation = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    weights = place / "model.safetensors"
    if activation not in get_args(Activation) or config.get("use_residual"):
        raise ValueError(f"{place} is no plain layer with one of the activations {', '.join(get_args(Activation))}")
    if not weights.is_file():
        raise ValueError(f"{place} has no model.safetensors; other weights are not loaded")
    return Dense(weights, activation, int(config["out_features"]))  # type: ignore[arg-type]
