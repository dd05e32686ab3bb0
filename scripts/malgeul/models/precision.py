"""In what a model computes: which precisions a device is made for."""

from __future__ import annotations

from typing import Literal

from malgeul.models.devices import Device

Precision = Literal["auto", "fastest", "float32", "bfloat16", "float16", "int8"]
"""What a config may ask for; fastest is decided by whoever can measure it."""


def precision_for(device: Device, asked: str) -> str:
    """Return in what a device computes: ``asked``, or for auto what every device of its kind can.

    Raises ValueError for int8 on a GPU.
    """
    if asked == "auto":
        return "float16" if device.kind == "cuda" else "float32"
    if asked == "int8" and device.kind == "cuda":
        raise ValueError("precision: int8 is for processors; a GPU takes float16 or bfloat16")
    return asked


def candidate_precisions(device: Device) -> list[str]:
    """Return the precisions among which the fastest is worth looking for: those that a processor is made for."""
    import torch

    if device.kind == "cuda":
        return ["float16"]
    halves = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ["float32", *(["bfloat16"] if halves else []), "int8"]
