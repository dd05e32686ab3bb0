"""What a model is called and how it is loaded: hub ids and folders alike, offline first, safetensors only."""

from __future__ import annotations

import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from malgeul.models.devices import Device
from malgeul.models.hub import Parts, snapshot, with_safetensors
from malgeul.models.local import resolve
from malgeul.models.memory import MemoryRise
from malgeul.models.quantization import Quantization, quantized_copy
from malgeul.shards.files import digest_of, files_under, sha256_of
from malgeul.shards.imports import lasting_imports
from malgeul.shards.ledger import Ledger

log = logging.getLogger(__name__)

Model = TypeVar("Model")

UNKNOWN_PEAKS = {
    "peak_host_bytes": "the system does not let a process's peak start anew (/proc/self/clear_refs)",
    "peak_gpu_bytes": "the job computes on the processor",
}
"""Why a peak of memory was not measured."""


def identity(model: str, revision: str | None, parts: Parts = "model") -> dict[str, Any]:
    """Return what names a model's content: the digest of a folder's files, or the commit of a hub id.

    Raises ModelNotFound when it is neither.
    """
    folder = resolve(model)
    if folder:
        digest = digest_of({str(file.relative_to(folder)): sha256_of(file) for file in files_under(folder)})
        return {"model": Path(model).name, "digest": digest[:16]}
    return {"model": model, "commit": snapshot(model, revision, parts).name}


def folder_of(
    model: str, revision: str | None, parts: Parts = "model", *, quantization: Quantization | None = None
) -> Path:
    """Return the folder that ``parts`` of a repository are loaded from, the weights of a model as safetensors.

    Pickled weights, and with ``quantization`` any, are those of a copy that is made the first time.
    """
    folder = resolve(model) or snapshot(model, revision, parts)
    if parts == "model":
        folder = with_safetensors(folder)
    return quantized_copy(folder, quantization) if quantization else folder


def weight_files(folder: Path) -> list[Path]:
    """Return the weights that loading the model in ``folder`` reads: one file, the parts of an index, or all there are.

    A folder may hold its weights twice, whole and in parts; transformers prefers the whole.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    return sorted(folder.glob("*.safetensors"))


@contextmanager
def measured_load(ledger: Ledger, folder: Path, device: Device) -> Iterator[None]:
    """Measure how the block loads the model in ``folder``, and add it to the ledger's ``load`` and ``load_seconds``.

    ``load`` holds, over all models of the job: ``models``, ``bytes`` of their weights, ``seconds`` and
    ``megabytes_per_second`` without ``import_seconds`` of the libraries, and the highest rise of memory of the process
    and of the GPU, ``peak_host_bytes`` and ``peak_gpu_bytes`` (None for a reason under ``not_measured``).
    """
    import_seconds = _import_libraries()
    started = time.monotonic()
    rise = MemoryRise(device)
    yield
    this: dict[str, Any] = {
        "models": 1,
        "bytes": sum(file.stat().st_size for file in weight_files(folder)),
        "seconds": time.monotonic() - started,
        "import_seconds": import_seconds,
        "peak_host_bytes": rise.host(),
        "peak_gpu_bytes": rise.gpu(),
    }
    _enter(ledger, this)
    log.info("loaded %s: %s", folder.name, _told(_joined(None, this)))


def measured_imports(ledger: Ledger) -> None:
    """Import the libraries that load models, and add the time to the ledger's ``load``.

    For jobs that need them before they load; else :func:`measured_load` does it.
    """
    nothing = {"models": 0, "bytes": 0, "seconds": 0.0, **dict.fromkeys(UNKNOWN_PEAKS)}
    _enter(ledger, {**nothing, "import_seconds": _import_libraries()})


def _import_libraries() -> float:
    """Return the seconds it took: together with torch more than a small model does, and nothing the second time."""
    started = time.monotonic()
    if "transformers.modeling_utils" not in sys.modules:
        with lasting_imports():
            import transformers.modeling_utils  # noqa: F401
    return time.monotonic() - started


def _enter(ledger: Ledger, this: dict[str, Any]) -> None:
    load = _joined(ledger.measured.get("load"), this)
    ledger.measure(load=load, load_seconds=round(load["seconds"] + load["import_seconds"], 3))


def _joined(before: dict[str, Any] | None, this: dict[str, Any]) -> dict[str, Any]:
    """Return the account of two loads, or of the first: sums, and the higher peaks."""
    joined = dict(this)
    for name, value in (before or {}).items():
        if name.startswith("peak"):
            known = [peak for peak in (value, this[name]) if peak is not None]
            joined[name] = max(known, default=None)
        elif name in this:
            joined[name] = this[name] + value
    seconds = joined["seconds"] = round(joined["seconds"], 4)
    joined["import_seconds"] = round(joined["import_seconds"], 4)
    joined["megabytes_per_second"] = round(joined["bytes"] / 1e6 / max(seconds, 1e-4), 1)
    joined["not_measured"] = {name: why for name, why in UNKNOWN_PEAKS.items() if joined[name] is None}
    return joined


def _told(load: dict[str, Any]) -> str:
    """Return a load in words, for the log."""
    peaks = (("peak_host_bytes", "of the process"), ("peak_gpu_bytes", "of the GPU"))
    risen = [f"that {of} by {load[name] / 1e6:.0f} MB" for name, of in peaks if load[name] is not None]
    return (
        f"{load['bytes'] / 1e6:.1f} MB in {load['seconds']:.2f} s ({load['megabytes_per_second']:.0f} MB/s) after "
        f"{load['import_seconds']:.2f} s of imports; memory rose: {' and '.join(risen) or 'not measured'}"
    )


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
