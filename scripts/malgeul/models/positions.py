"""How long a text a model takes, by its config.json or by its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BEHIND_PADDING = {
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Kinds of models whose first position is the one behind the padding's id: a list, as who asks loads no torch; a test
compares it with transformers' models."""


def first_position(config: Mapping[str, Any]) -> int:
    """Return the position of a text's first token."""
    return int(config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _BEHIND_PADDING else 0


def longest_input(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model takes, special ones counted; None where its config does not tell."""
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or 0)  # GPT-2's kin
    return positions - first_position(config) if positions > 0 else None  # XLNet says -1


def longest_input_of(folder: Path) -> int | None:
    """Return how many tokens the model in a folder takes, None where its config.json does not tell."""
    return longest_input(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def room_of(model: Any) -> int | None:
    """Return how many tokens a loaded model has a learnt position for; None where positions are only relative."""
    for name, table in model.named_modules():
        # By what it has and not by its class: I-BERT's is one of its own.
        if name.endswith("position_embeddings") and hasattr(table, "padding_idx"):
            return len(table.weight) - (0 if table.padding_idx is None else int(table.padding_idx) + 1)
    return None
