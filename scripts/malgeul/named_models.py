"""The models that a config names: what loads them, and whether it is their weights that are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from malgeul.models.hub import Parts

if TYPE_CHECKING:
    from malgeul.config import RunConfig
    from malgeul.plan import Plan


@dataclass(frozen=True)
class NamedModel:
    """A model as the config names it: under which key, hub id or path, revision, bits a weight, what is wanted."""

    key: str
    model: str
    revision: str | None = None
    quantization: Literal["int8", "int4"] | None = None
    parts: Parts = "model"


def named_models(config: RunConfig, plan: Plan | None) -> Iterator[NamedModel]:
    """Yield the models that a run loads; without a plan, all that the config names."""
    if plan is None or plan.recordings:
        yield NamedModel("transcribe.model", config.transcribe.model, config.transcribe.revision)
        if config.diarize.file and config.diarize.model:
            yield NamedModel("diarize.model", config.diarize.model, config.diarize.revision, parts="all")
        yield from _of_classifiers("classify", config.classify)
    if plan is None or plan.embedded_shards:
        yield NamedModel("embed.model", config.embed.model, config.embed.revision)
    if plan is None or plan.text_shards:
        tokenize = config.tokenize
        yield NamedModel("tokenize.tokenizer", tokenize.tokenizer, tokenize.revision, parts="tokenizer")
    if plan is None or plan.text:
        scorers = {name: one for name, one in config.filter.scorers.items() if one.kind == "classifier"}
        yield from _of_classifiers("filter.scorers", scorers)
    for name, training in config.train.items():
        yield NamedModel(f"train.{name}.base", training.base, training.revision)
        for other, model in training.beside.items():
            yield NamedModel(f"train.{name}.beside.{other}", model)


def _of_classifiers(key: str, classifiers: Mapping[str, Any]) -> Iterator[NamedModel]:
    for name, one in classifiers.items():
        yield NamedModel(f"{key}.{name}.model", one.model, one.revision, one.quantization)
        if one.adapter:
            yield NamedModel(f"{key}.{name}.adapter", one.adapter, one.adapter_revision)
