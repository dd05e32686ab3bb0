"""Copies of models with weights in fewer bits, made once: quantizing while loading would read every byte every time.

By torchao, which is to be installed by who wants them. The copies are safetensors, and transformers loads them as any
other model: the fewer bits are in their config.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from malgeul.models.hub import CONVERSION_PATIENCE, SMALL, copies_folder, fits, name_of
from malgeul.shards.files import beside, digest_of, files_under, publish, remove, sha256_of
from malgeul.shards.locks import shard_lock

Quantization = Literal["int8", "int4"]


def quantized_copy(folder: Path, to: Quantization) -> Path:
    """Return the copy of a model in so many bits a weight, made the first time; computing stays in halves or floats.

    int8 runs anywhere, int4 on a GPU. Raises ModuleNotFoundError when torchao is not installed and ValueError for what
    the machine cannot make.
    """
    content = {str(file.relative_to(folder)): sha256_of(file) for file in files_under(folder)}
    target = copies_folder() / f"{name_of(folder)}-{to}" / digest_of(content)[:16]
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with shard_lock(target.with_suffix(".lock"), CONVERSION_PATIENCE):
            if not target.is_dir():
                _make(folder, to, target)
    return target


def is_quantized(folder: Path) -> bool:
    """Tell whether a model's config says that its weights have fewer bits."""
    config = folder / "config.json"
    return config.is_file() and "quantization_config" in json.loads(config.read_text(encoding="utf-8"))


@contextmanager
def tensor_by_tensor() -> Iterator[None]:
    """Have transformers put quantized weights together in a time that grows with their number, while the block runs.

    It hands every tensor a copy of the description of all of them, and torchao looks through the whole of it for each
    (transformers 5.23, torchao 0.18): a copy of 100 layers took longer to load than to quantize anew. Here a tensor is
    given its own description alone.
    """
    from transformers.integrations import torchao as integration

    usual = integration.TorchAoDeserialize

    class OneTensor(usual):  # type: ignore[misc, valid-type]
        def __deepcopy__(self, memo: object) -> OneTensor:
            return OneTensor(self.hf_quantizer)

        def convert(self, input_dict: Any, full_layer_name: str | None = None, **more: Any) -> Any:
            quantizer, name = self.hf_quantizer, full_layer_name
            whole = quantizer.metadata
            if name in whole:
                quantizer.metadata = {"tensor_names": json.dumps([name]), name: whole[name]}
            try:
                return super().convert(input_dict, full_layer_name=name, **more)
            finally:
                quantizer.metadata = whole

    integration.TorchAoDeserialize = OneTensor
    try:
        yield
    finally:
        integration.TorchAoDeserialize = usual


def _make(folder: Path, to: Quantization, target: Path) -> None:
    import torch
    import transformers

    wanted_bits = scheme(to)
    if to == "int4" and not torch.cuda.is_available():
        raise ValueError("weights of int4 are made and used on a GPU; int8 runs on processors, too")
    config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    kind: Any = getattr(transformers, config.architectures[0])
    device = "cuda:0" if to == "int4" else "cpu"
    wanted = transformers.TorchAoConfig(wanted_bits)
    dtype = torch.bfloat16 if to == "int4" else "auto"
    model = kind.from_pretrained(
        str(folder), quantization_config=wanted, device_map=device, dtype=dtype, use_safetensors=True
    )
    staged = beside(target)
    remove(staged)
    model.save_pretrained(str(staged))
    for file in files_under(folder):
        name = str(file.relative_to(folder))
        if fits(name, SMALL) and not (staged / name).exists() and not name.endswith(".index.json"):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, staged / name)
    publish(staged, target)


def scheme(to: Quantization) -> Any:
    """Return how torchao is asked for so many bits; raises ModuleNotFoundError where it is not installed."""
    try:
        from torchao import quantization
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"weights of {to} need torchao: pip install torchao") from error
    made: dict[str, Callable[[], Any]] = {
        "int8": quantization.Int8WeightOnlyConfig,
        # In this packing torch's own kernels multiply; the default one asks for a package of its own (mslk).
        "int4": lambda: quantization.Int4WeightOnlyConfig(int4_packing_format="tile_packed_to_4d"),
    }
    return made[to]()
