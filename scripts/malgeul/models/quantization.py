"""Copies of models with weights in fewer bits, made once: quantizing while loading would read every byte every time.

8 bits by torchao, 4 bits (NF4, Dettmers et al. 2023) by bitsandbytes, which are to be installed by who wants them. A
copy is safetensors that transformers loads as any other model, since its config says what the bits mean; it is made on
a processor, and is the same for processors and GPUs: what a kernel wants packed in its own way is packed when it runs.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from malgeul.models.hub import CONVERSION_PATIENCE, SMALL, copies_folder, fits, name_of
from malgeul.shards.files import beside, digest_of, files_under, publish, remove, sha256_of
from malgeul.shards.locks import shard_lock

Quantization = Literal["int8", "int4"]

PACKAGES: dict[Quantization, str] = {"int8": "torchao", "int4": "bitsandbytes"}
"""What makes and loads weights of so many bits."""

FORM = 2
"""Of the copies: one in another form is another copy."""

NF4_ROWS, NF4_COLUMNS = 32, 64
"""What bitsandbytes' kernel for processors wants the two sides of a matrix to be multiples of; 64 weights share a
scale."""


def quantized_copy(folder: Path, to: Quantization) -> Path:
    """Return the copy of a model in so many bits a weight, made the first time; computing stays in halves or floats.

    Raises ModuleNotFoundError when what makes it is not installed.
    """
    content = {str(file.relative_to(folder)): sha256_of(file) for file in files_under(folder)}
    target = copies_folder() / f"{name_of(folder)}-{to}" / digest_of([FORM, content])[:16]
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


def ready_for(folder: Path) -> AbstractContextManager[None]:
    """Return what a model is loaded in: where its weights have fewer bits, what reads them is made ready."""
    if not is_quantized(folder):
        return nullcontext()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    if config.get("quant_method") == "bitsandbytes":
        _import(PACKAGES["int4"])
    return tensor_by_tensor() if config.get("quant_method") == "torchao" else nullcontext()


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


def scheme(to: Quantization, whole: Sequence[str] = ()) -> Any:
    """Return how transformers is asked for so many bits, for all matrices but those of the modules named in ``whole``.

    Raises ModuleNotFoundError where what does it is not installed.
    """
    import torch
    import transformers

    package = _import(PACKAGES[to])
    if to == "int8":
        bits = package.quantization.Int8WeightOnlyConfig()
        return transformers.TorchAoConfig(bits, modules_to_not_convert=list(whole))
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,  # scales in 8 bits: 4.13 bits a weight and not 4.5
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(whole),  # of 4 bits, too
    )


def _make(folder: Path, to: Quantization, target: Path) -> None:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    kind: Any = getattr(transformers, config.architectures[0])
    model, about = kind.from_pretrained(
        str(folder),
        quantization_config=scheme(to, _kept_whole(kind, config, to)),
        device_map="cpu",
        # Of 4 bits the rest is kept in what they are multiplied in.
        dtype=torch.bfloat16 if to == "int4" else "auto",
        use_safetensors=True,
        output_loading_info=True,
    )
    _leave_out(model, about["missing_keys"])
    staged = beside(target)
    remove(staged)
    model.save_pretrained(str(staged))
    for file in files_under(folder):
        name = str(file.relative_to(folder))
        if fits(name, SMALL) and not (staged / name).exists() and not name.endswith(".index.json"):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, staged / name)
    publish(staged, target)


def _leave_out(model: Any, drawn: Iterable[str]) -> None:
    """Take away the weights that a model's files lack: who loads its copy is to draw them, too, and to be told."""
    wanted = model.config.quantization_config
    whole = wanted.llm_int8_skip_modules if hasattr(wanted, "llm_int8_skip_modules") else wanted.modules_to_not_convert
    for key in sorted(drawn):
        place, _, name = key.rpartition(".")
        model.get_submodule(place)._parameters[name] = None
        if place and place not in whole:  # the model's own name, which is empty, would stand for every matrix
            whole.append(place)


def _kept_whole(kind: Any, config: Any, to: Quantization) -> list[str]:
    """Return the names of the modules of a model whose weights keep their bits.

    Heads do: they are small, decide most, and an adapter may bring its own in their place. So does a matrix whose sides
    a kernel cannot take.
    """
    import torch

    with torch.device("meta"):
        model = kind(config)
    body = kind.base_model_prefix
    heads = [name for name, _ in model.named_children() if name != body] if hasattr(model, body) else []
    if to == "int8":
        return heads
    odd = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and (module.out_features % NF4_ROWS or module.in_features % NF4_COLUMNS)
    ]
    return heads + odd


def _import(package: str) -> Any:
    """Import what handles fewer bits; raises ModuleNotFoundError that says how to have it.

    bitsandbytes (0.50), where the package kernels is installed, has it fetch compiled code from the hub and runs that,
    and warns where it is not: here it finds none, in silence.
    """
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, there = logger.level, sys.modules.get("kernels", _ABSENT)
    logger.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModuleNotFoundError(f"weights of so few bits need {package}: pip install {package}") from error
    finally:
        logger.setLevel(level)
        if there is _ABSENT:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = there  # type: ignore[assignment]


_ABSENT = object()
