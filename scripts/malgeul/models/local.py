"""Where a model's files are: a folder of the user's, or a hub's cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from malgeul import ROOT
from malgeul.models.hub import is_pickled
from malgeul.shards.files import digest_of
from malgeul.shards.inputs import InputFile, locate, sketch
from malgeul.shards.names import slug, stable_hash


def resolve(model: str) -> Path | None:
    """Return the folder of a model that is given as a path (as it is, or beside the Snakefile), None for a hub id.

    An empty name is no model: as a path it would be the working directory.
    """
    place = locate(model, ROOT)
    return place if model and place.is_dir() else None


@dataclass(frozen=True)
class ModelFolder:
    """A model of the user's own: the files that the rules which load it depend on, and how its weights are kept."""

    files: list[str]
    pickled: bool
    """Whether weights are pickled, and have to be converted before they are loaded."""


def model_folder(model: str) -> ModelFolder | None:
    """Return what there is of a model given as a folder, None for a hub id and a folder without files."""
    folder = resolve(model)
    files = sorted(str(file) for file in folder.rglob("*") if file.is_file()) if folder else []
    return ModelFolder(files, is_pickled(folder)) if folder and files else None


def fetched_name(model: str, revision: str | None, quantization: str | None = None) -> str:
    """Return the name of the file that says that a model was fetched, or its quantized copy made."""
    named = f"{model}@{revision}" + (f" {quantization}" if quantization else "")
    return f"{slug(model)}-{stable_hash(named) % 16**6:06x}"


def lost_models(results: Path) -> Iterator[Path]:
    """Yield the files of a run that do not say any more where a model is that was fetched, converted or quantized."""
    for told in sorted((results / "models").rglob("*.json")):
        try:
            there = Path(json.loads(told.read_text(encoding="utf-8"))["folder"]).is_dir()
        except (ValueError, TypeError, KeyError):  # cut off, or of an earlier version
            there = False
        if not there:
            yield told


DECIDING = frozenset({".json", ".txt", ".model", ".safetensors"})
"""Suffixes of the files of a model that decide what it computes."""


def sketch_of_model(folder: Path) -> str:
    """Return a digest of samples of a model's files, in milliseconds whatever its size: another model has another.

    It tells a mix-up, not a forgery: a few bytes changed on purpose may lie between the samples.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix in DECIDING and file.is_file())
    found = [InputFile(str(file.relative_to(folder)), file.stat().st_size, str(file)) for file in files]
    return digest_of([[file.name, file.size, sketch(file)] for file in found])[:16]
