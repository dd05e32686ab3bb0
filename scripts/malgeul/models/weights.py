"""The one place where weights are read: safetensors only, straight to their device, no more than the cap allows."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from malgeul.models.adapters import head_size, holds, put_on
from malgeul.models.devices import Device
from malgeul.models.loading import folder_of, quiet_transformers, weight_files
from malgeul.models.quantization import Quantization, is_quantized, ready_for
from malgeul.models.variables import MEMORY_CAP, memory_cap

Task = Literal["transcribe", "embed", "classify", "write", "fill"]

_KINDS: dict[Task, str] = {
    "transcribe": "AutoModelForSpeechSeq2Seq",
    "embed": "AutoModel",
    "classify": "AutoModelForSequenceClassification",
    "write": "AutoModelForCausalLM",
    "fill": "AutoModelForMaskedLM",
}
"""What of transformers knows which class a task has for a model's architecture."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Loaded:
    """A model, ready to compute, and the names of weights that neither its files nor an adapter's have: drawn anew."""

    model: Any
    drawn: frozenset[str]


def load_model(
    task: Task,
    model: str | Path,
    device: Device,
    *,
    revision: str | None = None,
    precision: str = "native",
    quantization: Quantization | None = None,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    device_map: str | None = None,
    max_memory_gb: float | None = None,
    **options: Any,
) -> Loaded:
    """Load a model for a task: a folder with safetensors, or a hub id or path as a config names it.

    ``precision`` is float32, bfloat16, float16 or native, the model's own, which is no cast; a quantized model has its
    own in any case. ``device_map`` "auto" spreads a model that is too large for ``device`` over the GPUs that the job
    holds and the host. ``max_memory_gb`` (GiB) caps what is used of the device's memory; by default MAX_MEMORY_GB does.
    ``options`` go to transformers (num_labels, attn_implementation, …).

    Raises ModelNotFound, and ValueError for an adapter of another base and for weights that the cap has no room for. On
    GPUs the cap holds for all that the process does later, a training too: what goes beyond it is out of memory.
    """
    import torch
    import transformers

    quiet_transformers()
    folder = model if isinstance(model, Path) else folder_of(model, revision, quantization=quantization)
    quantized = is_quantized(folder)
    native = precision == "native" or quantized
    cap = memory_cap() if max_memory_gb is None else int(max_memory_gb * (1 << 30))
    if cap is not None:
        limit_gpu_memory(cap, every_gpu=device_map is not None)
        if device_map is None:
            _check_room(cap, folder, None if native else precision)
    worn = folder_of(adapter, adapter_revision) if isinstance(adapter, str) else adapter
    if worn is not None and task == "classify" and (labels := head_size(worn)):
        options = {"num_labels": labels, "ignore_mismatched_sizes": True, **options}
    # Told to none, bitsandbytes takes a GPU where it sees one.
    place = device_map or (device.place if device.kind == "cuda" or quantized else None)
    spread = {} if cap is None or device_map is None else {"max_memory": _shares(cap)}
    with ready_for(folder):
        made, about = getattr(transformers, _KINDS[task]).from_pretrained(
            str(folder),
            dtype="auto" if native else getattr(torch, precision),
            device_map=place,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **spread,
            **options,
        )
    drawn = {*about["missing_keys"], *(key for key, *_ in about["mismatched_keys"])}
    if worn is not None:
        made = put_on(made, worn)
        drawn = {key for key in drawn if not holds(worn, key)}
    return Loaded(made.eval(), frozenset(drawn))


def bytes_in_memory(folder: Path, precision: str | None = None) -> int:
    """Return how many bytes the weights of a model take once they are loaded; None: in the precision they are in."""
    files = weight_files(folder)
    if precision is None:
        return sum(file.stat().st_size for file in files)
    return _BYTES[precision] * sum(map(_numbers, files))


def _numbers(file: Path) -> int:
    """Return how many numbers the tensors of a safetensors file have, by its header."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _check_room(cap: int, folder: Path, precision: str | None) -> None:
    needed = bytes_in_memory(folder, precision)
    if needed > cap:
        raise ValueError(
            f"the weights of {folder.name} take {needed / (1 << 30):.2f} GiB, and {MEMORY_CAP} allows "
            f"{cap / (1 << 30):g}; raise it, or load fewer bytes (precision, of classifiers quantization)"
        )


def limit_gpu_memory(cap: int, *, every_gpu: bool) -> None:
    """Have torch take no more than so many bytes of the GPU in use, or of each one that this process sees.

    Only where a model is spread are there others: of several processes of a training each would hold memory of them.
    """
    import torch

    count = torch.cuda.device_count()
    if not count:
        return
    in_use = torch.cuda.current_device()
    others = [number for number in range(count) if every_gpu and number != in_use]
    for number in (*others, in_use):  # torch makes the one that it is told of the one in use
        total = torch.cuda.get_device_properties(number).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total), number)


def _shares(cap: int) -> dict[int | str, int]:
    """Return what accelerate may take of each GPU, within the cap, and of the host."""
    import torch

    return {**dict.fromkeys(range(torch.cuda.device_count()), cap), "cpu": cap}
