"""Linear layers for inference on a processor; apart, since torch takes seconds to import."""

from __future__ import annotations

import platform
from typing import TypeVar

import torch
from torch import Tensor

Model = TypeVar("Model", bound=torch.nn.Module)


class LinearIn(torch.nn.Module):
    """A linear layer that multiplies in a dtype and gives it, whatever comes in."""

    def __init__(self, linear: torch.nn.Linear, kind: torch.dtype, *, laid_out: bool) -> None:
        super().__init__()
        self._kind, self._laid_out = kind, laid_out
        self._bias = None if linear.bias is None else linear.bias.detach().to(kind)
        weight = linear.weight.detach().to(kind)
        # These two are what torch.compile makes of a linear layer on a processor.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if laid_out else weight

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (..., in) times the weights: (..., out)."""
        x = x.to(self._kind)
        if not self._laid_out:
            return torch.nn.functional.linear(x, self._weight, self._bias)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "none")
        return found


def with_linear_layers_in(model: Model, kind: torch.dtype) -> Model:
    """Make a processor's linear layers multiply in ``kind`` and give it; what lies between stays as it is.

    Their weights are laid out for oneDNN where torch multiplies with it; in float32 that alone makes a BERT 1.1 to 1.2
    times as fast. bfloat16 with everything else in float32 is as fast as a model of bfloat16 and nearer to float32.
    The layers that are replaced are gone: the model is for inference alone.
    """
    laid_out = torch._C._has_mkldnn and platform.machine() in {"x86_64", "AMD64"}
    if kind == torch.bfloat16:  # it refuses processors without AVX-512, where torch itself multiplies, slowly
        laid_out = laid_out and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(module, name, LinearIn(child, kind, laid_out=laid_out))
    return model


def with_linear_layers_in_int8(model: Model) -> Model:
    """Make a processor's linear layers multiply in int8: weights scaled by channel, activations as they come."""
    kinds = {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
    made: Model = torch.ao.quantization.quantize_dynamic(model, kinds, inplace=True)  # type: ignore[no-untyped-call]
    return made
