"""Where a model's files are: a folder of the user's, or a hub's cache."""

from __future__ import annotations

from pathlib import Path

from malgeul import ROOT
from malgeul.shards.files import digest_of
from malgeul.shards.inputs import InputFile, locate, sketch
from malgeul.shards.names import slug, stable_hash


def resolve(model: str) -> Path | None:
    """Return the folder of a model that is given as a path (as it is, or beside the Snakefile), None for a hub id."""
    place = locate(model, ROOT)
    return place if place.is_dir() else None


def model_files(model: str) -> list[str]:
    """Return the files of a model given as a folder, as inputs of the rules that load it; none for a hub id."""
    folder = resolve(model)
    return sorted(str(file) for file in folder.rglob("*") if file.is_file()) if folder else []


def fetched_name(model: str, revision: str | None, quantization: str | None = None) -> str:
    """Return the name of the file that says that a model was fetched, or its quantized copy made."""
    named = f"{model}@{revision}" + (f" {quantization}" if quantization else "")
    return f"{slug(model)}-{stable_hash(named) % 16**6:06x}"


DECIDING = frozenset({".json", ".txt", ".model", ".safetensors"})
"""Suffixes of the files of a model that decide what it computes."""


def sketch_of_model(folder: Path) -> str:
    """Return a digest of samples of a model's files, in milliseconds whatever its size: another model has another.

    It tells a mix-up, not a forgery: a few bytes changed on purpose may lie between the samples.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix in DECIDING and file.is_file())
    found = [InputFile(str(file.relative_to(folder)), file.stat().st_size, str(file)) for file in files]
    return digest_of([[file.name, file.size, sketch(file)] for file in found])[:16]
