"""Models of the Hugging Face hub: which of their files are needed, had from the cache or the network, and whole.

Weights are safetensors. Where a repository has pickled ones alone (pytorch_model.bin), they are converted once into a
copy beside the cache: read with torch's weights_only, which runs no code of theirs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from malgeul.shards.faults import is_transient
from malgeul.shards.files import beside, digest_of, files_under, publish, remove, sha256_of
from malgeul.shards.locks import shard_lock

log = logging.getLogger(__name__)

SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*/config.json")
"""Configs, vocabularies and templates; of folders below (the modules of sentence-transformers) the configs."""
SAFE = ("model.safetensors", "model-*-of-*.safetensors", "adapter_model.safetensors", "*/model.safetensors")
"""Weights as transformers, peft and sentence-transformers name them; other variants (fp32, onnx) are left where they
are."""
PICKLED = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "adapter_model.bin", "*/pytorch_model.bin")

KNOWN_BY = ("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "config.yaml")
"""Every repository that is of use here has one of these."""

Parts = Literal["tokenizer", "model", "all"]
"""What of a repository is wanted: its small files; those and the weights; or every file, for what loads it itself."""

CONVERSION_PATIENCE = 3600.0
"""Seconds that a job waits for another one that converts the same weights."""


class ModelNotFound(RuntimeError):
    """A model is neither a folder nor to be had from the hub, or it cannot be used."""


def needed(names: Iterable[str], parts: Parts = "model") -> list[str]:
    """Return which files of a repository are needed: of a model pickled weights only where there are no others."""
    names = list(names)
    if parts == "all":
        return names
    small = [name for name in names if fits(name, SMALL)]
    return [*small, *weights_of(names)] if parts == "model" else small


def weights_of(names: Iterable[str]) -> list[str]:
    """Return which files hold the weights: in every folder the safetensors, where there are none the pickled ones."""
    names = list(names)
    safe = [name for name in names if fits(name, SAFE)]
    folders = {Path(name).parent for name in safe}
    return [*safe, *(name for name in names if fits(name, PICKLED) and Path(name).parent not in folders)]


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a name fits a pattern of as many folders as it has."""
    return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def is_pickled(folder: Path) -> bool:
    """Tell whether a model's folder has weights that are pickled and not there as safetensors, too."""
    return any(fits(name, PICKLED) for name in weights_of(_names(folder)))


def _names(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]


def complete(model: str, revision: str | None, parts: Parts = "model") -> Path:
    """Return the folder of a hub id's files after fetching what the cache lacks of them; nothing else tells that.

    Where a commit of the revision is in the cache, it is that one. Raises as :func:`snapshot`.
    """
    cached = cached_snapshot(model, revision)
    if _offline():
        return snapshot(model, revision, parts)
    try:
        return _downloaded(model, cached.name if cached else revision, parts)
    except ModelNotFound:
        if cached is None or missing(cached, parts):
            raise
        log.warning("the hub was not reached: %s is taken as it is in the cache", model)
        return cached


def snapshot(model: str, revision: str | None, parts: Parts = "model") -> Path:
    """Return the folder of a hub id's files: from the cache where they seem whole, else downloaded.

    Raises ModelNotFound with what to do when they are not to be had, and when HF_HUB_OFFLINE forbids to ask.
    """
    cached = cached_snapshot(model, revision)
    if cached and not missing(cached, parts):
        return cached
    if _offline():
        lacks = f" (the cache lacks {', '.join(missing(cached, parts))})" if cached else ""
        raise ModelNotFound(
            f"{model} is neither a folder nor in the cache{lacks}, and HF_HUB_OFFLINE forbids to ask the hub; "
            f"run `hf download {model}` where there is a network"
        )
    return _downloaded(model, revision, parts)


def _offline() -> bool:
    asked = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return asked.upper() in {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads it


def cached_snapshot(model: str, revision: str | None) -> Path | None:
    """Return the folder of a hub id's files in the cache, whole or not; None where there is none.

    Raises ModelNotFound for what can be no hub id.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for name in KNOWN_BY:
            file = try_to_load_from_cache(model, name, revision=revision)
            if isinstance(file, str):
                return Path(file).parent
    except HFValidationError as error:
        raise ModelNotFound(f"{model!r} is neither a folder that exists nor a hub id such as BAAI/bge-m3") from error
    return None


def _downloaded(model: str, revision: str | None, parts: Parts) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        names = HfApi().list_repo_files(model, revision=revision)
        return Path(snapshot_download(model, revision=revision, allow_patterns=needed(names, parts)))
    except GatedRepoError as error:
        why = f"its owner asks for consent: give it on the model's page, then `hf auth login` ({error})"
    except RepositoryNotFoundError:
        why = "the hub has no such model, or it is private and `hf auth login` was not done; is it spelt right?"
    except RevisionNotFoundError:
        why = f"the model has no revision {revision!r}"
    except Exception as error:  # noqa: BLE001 - of the network anything may come
        why = f"the hub did not give it: {type(error).__name__}: {error}"
    raise ModelNotFound(f"{model} is neither a folder nor to be had from the hub: {why}")


def missing(folder: Path, parts: Parts = "model") -> list[str]:
    """Return what a model's folder lacks: any config, and of a model any weights, or those that an index names.

    A link that leads nowhere, as a cache may hold it, is a file that is not there.
    """
    names = _names(folder)
    broken = [str(file.relative_to(folder)) for file in folder.rglob("*") if not file.exists()]
    known = [*names, *broken]
    lacking = [name for name in needed(known, parts) if name in broken]
    if parts == "all":
        return lacking if names else [*lacking, "any file"]
    if not any(fits(name, SMALL) for name in names):
        lacking.append("a config")
    if parts == "model":
        for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
            if (folder / index).is_file() and not ("pytorch" in index and any(fits(n, SAFE) for n in known)):
                listed = set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
                lacking += sorted(listed - set(known))
        if not weights_of(known):
            lacking.append("weights (model.safetensors)")
    return lacking


def damaged(folder: Path) -> list[str]:
    """Return the files of a snapshot whose bytes are not those that the hub has: cut safetensors, wrong sha256.

    The cache names what the hub keeps as large files by their sha256; other files are not checked by content.
    """
    found = []
    for file in files_under(folder):
        blob = file.resolve().name
        known = re.fullmatch("[0-9a-f]{64}", blob)
        if (known and sha256_of(file) != blob) or (file.suffix == ".safetensors" and not _opens(file)):
            found.append(str(file.relative_to(folder)))
    return found


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a snapshot and what the cache keeps of them."""
    for name in names:
        file = folder / name
        remove(file.resolve())
        file.unlink(missing_ok=True)


def _opens(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np"):
            return True
    except SafetensorError:
        return False


def with_safetensors(folder: Path) -> Path:
    """Return the folder, or where its weights are pickled a copy of it with safetensors, made the first time.

    Raises ModelNotFound when they hold anything but weights, and where the copy cannot be written.
    """
    if not is_pickled(folder):
        return folder
    names = needed(_names(folder))
    content = {name: _content(folder / name) for name in sorted(names)}
    target = copies_folder() / name_of(folder) / digest_of(content)[:16]
    if target.is_dir():
        return target
    try:
        with shard_lock(target.with_suffix(".lock"), CONVERSION_PATIENCE):
            if not target.is_dir():
                _convert(folder, names, target)
    except OSError as error:
        if is_transient(error):
            raise
        raise ModelNotFound(
            f"the weights of {folder} are pickled, and no copy can be written into {copies_folder()} ({error}); "
            "set HF_HOME to a folder with room that may be written into"
        ) from error
    return target


def _content(file: Path) -> str:
    """Return the sha256 of a file: by its name in the cache, else by its bytes."""
    blob = file.resolve().name
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else sha256_of(file)


def name_of(folder: Path) -> str:
    """Return what a model's folder is called: in the cache it is named after a commit."""
    return folder.parents[1].name if folder.parent.name == "snapshots" else folder.name


def copies_folder() -> Path:
    """Return where converted and quantized copies are: beside the hub's cache."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "malgeul"


def _convert(folder: Path, names: Iterable[str], target: Path) -> None:
    from safetensors.torch import save_file

    staged = beside(target)
    remove(staged)
    shards: dict[str, dict[str, Any]] = {}
    for name in names:
        copy = staged / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if fits(name, PICKLED):
            whole = "adapter_model" if "adapter_model" in name else "model"
            place = str(Path(name).with_name(f"{whole}.safetensors"))
            shards.setdefault(place, {}).update(_unpickled(folder / name))
        elif not name.endswith(".bin.index.json"):
            shutil.copyfile(folder / name, copy)
    for place, tensors in shards.items():
        own = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}  # none shares another's memory
        save_file(own, staged / place, metadata={"format": "pt"})
    publish(staged, target)


def _unpickled(file: Path) -> dict[str, Any]:
    import pickle

    import torch

    load: Callable[..., Any] = torch.load
    try:
        state = load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ModelNotFound(f"{file} holds more than weights, or is damaged; it is not loaded ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ModelNotFound(f"{file} is no table of weights")
    return state
