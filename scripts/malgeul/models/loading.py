"""What a model is called and how it is loaded: hub ids and folders alike, offline first, safetensors only."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from malgeul.models.hub import snapshot, with_safetensors
from malgeul.models.local import resolve
from malgeul.models.quantization import Quantization, quantized_copy
from malgeul.shards.files import digest_of, files_under, sha256_of

log = logging.getLogger(__name__)

Model = TypeVar("Model")


def identity(model: str, revision: str | None, *, weights: bool = True) -> dict[str, Any]:
    """Return what names a model's content: the digest of a folder's files, or the commit of a hub id.

    Raises ModelNotFound when it is neither.
    """
    folder = resolve(model)
    if folder:
        digest = digest_of({str(file.relative_to(folder)): sha256_of(file) for file in files_under(folder)})
        return {"model": Path(model).name, "digest": digest[:16]}
    return {"model": model, "commit": snapshot(model, revision, weights=weights).name}


def folder_of(
    model: str, revision: str | None, *, weights: bool = True, quantization: Quantization | None = None
) -> Path:
    """Return the folder that a model is loaded from, its weights as safetensors; without ``weights`` they may lack.

    Pickled weights, and with ``quantization`` any, are those of a copy that is made the first time.
    """
    folder = resolve(model) or snapshot(model, revision, weights=weights)
    if weights:
        folder = with_safetensors(folder)
    return quantized_copy(folder, quantization) if quantization else folder


def load_once_more(make: Callable[[], Model]) -> Model:
    """Return the model that ``make`` loads; when that fails, free what it held and try once more.

    A ValueError, which tells that something is asked for that the model has not, is raised at once.
    """
    try:
        return make()
    except ValueError:  # what was asked for is wrong, and will be so again
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the second try raises it again
        log.warning("loading failed and is tried once more: %s: %s", type(error).__name__, error)
    # Outside the block: the traceback held what was half loaded.
    gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return make()


def quiet_transformers() -> None:
    """Keep transformers' progress bars and advice out of the terminal; its errors still come."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
