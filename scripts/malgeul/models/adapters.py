"""What an adapter of peft holds: weights, the head that it was trained with, the names of its labels."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgeul.models.hub import cached_snapshot
from malgeul.models.local import resolve

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

HEAD = re.compile(r"\.(classifier|score)(\.out_proj)?\.weight$")
"""The last layer of a classification head among an adapter's weights."""


class OtherBase(ValueError):
    """An adapter was trained on another base than the model it is to be put on."""


@dataclass(frozen=True)
class AdapterBase:
    """What an adapter's trainer called its base, and the revision of it, None where that was not said."""

    model: str
    revision: str | None

    def is_that_of(self, model: str, revision: str | None) -> bool:
        """Tell whether a model as a config names it is this base, as far as names and the cache tell.

        Of a hub id, revisions are the same whose files are of one commit; one that the adapter does not say is any. A
        folder has none.
        """
        if self.model != model:
            return False
        if self.revision is None or self.revision == revision or resolve(model):
            return True
        one, other = cached_snapshot(model, self.revision), cached_snapshot(model, revision)
        return one is not None and one == other

    def __str__(self) -> str:
        return self.model if self.revision is None else f"{self.model} at {self.revision}"


def base_of(folder: Path) -> AdapterBase | None:
    """Return what an adapter was trained on; None for a folder that is no adapter."""
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    return AdapterBase(str(told.get("base_model_name_or_path") or "a base without a name"), told.get("revision"))


def labels_of(folder: Path) -> list[str] | None:
    """Return the labels that a folder's config.json names, in order; None where it names none."""
    file = folder / "config.json"
    named = json.loads(file.read_text(encoding="utf-8")).get("id2label") if file.is_file() else None
    return [str(named[number]) for number in sorted(named, key=int)] if named else None


def head_size(adapter: Path) -> int | None:
    """Return how many labels an adapter knows: by its config.json, or by the head among its weights."""
    labels = labels_of(adapter)
    file = adapter / ADAPTER_WEIGHTS
    if labels:
        return len(labels)
    if not file.is_file():
        return None
    from safetensors import safe_open

    with safe_open(file, "np") as weights:
        heads = [name for name in weights.keys() if HEAD.search(name)]  # noqa: SIM118 - no mapping
        return int(weights.get_slice(heads[0]).get_shape()[0]) if heads else None


def several(folder: Path) -> bool | None:
    """Tell whether the labels of a folder's config.json do not exclude each other; None where it says nothing."""
    file = folder / "config.json"
    kind = json.loads(file.read_text(encoding="utf-8")).get("problem_type") if file.is_file() else None
    return None if kind is None else str(kind) == "multi_label_classification"


def holds(adapter: Path, key: str) -> bool:
    """Tell whether an adapter's weights have one of the model's, as peft names it (modules_to_save)."""
    from safetensors import safe_open

    with safe_open(adapter / ADAPTER_WEIGHTS, "np") as weights:
        return any(name.endswith(key) for name in weights.keys())  # noqa: SIM118 - no mapping


def put_on(model: Any, adapter: Path, name: str = "default") -> Any:
    """Return a model of transformers, or one that has adapters already, with an adapter of peft more.

    Raises OtherBase for one that lacks weights for the model, has others, or has them in other shapes.
    """
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(adapter), adapter_name=name, is_trainable=False)
        else:
            model = PeftModel.from_pretrained(model, str(adapter), adapter_name=name, is_trainable=False)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # what torch raises where shapes differ
        if "size mismatch" not in str(error):
            raise
        raise OtherBase(f"{adapter} was trained on another base: {error}") from error
    # peft computes with those that find each other, and leaves it at a warning, if that.
    wanted = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False).keys()
    with safe_open(adapter / ADAPTER_WEIGHTS, "np") as weights:
        given = set(weights.keys())
    foreign = given - wanted - model.state_dict().keys()  # embeddings that an adapter brings are the model's own
    if unlike := sorted((wanted - given) | foreign):
        raise OtherBase(
            f"{adapter} was trained on another base: {len(unlike)} of its weights and the model's are not the same, "
            f"such as {unlike[0]}"
        )
    return model
