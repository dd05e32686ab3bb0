"""How a Whisper attends in bfloat16 on processors, by products; apart, since torch takes seconds to import."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from malgeul.models.attention import attend

Model = TypeVar("Model", bound=PreTrainedModel)

NAME = "malgeul_products"


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float = 1.0,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks: to (n, queries, heads, e), in the dtype of the queries."""
    asked = query.to(key.dtype)
    if attention_mask is not None or (module.is_causal and query.shape[2] > 1):
        found = sdpa_attention_forward(module, asked, key, value, attention_mask, scaling=scaling, **more)[0]
    else:
        found = attend(asked, key, value, scaling).transpose(1, 2)
    return found.to(query.dtype), None


def with_attention_by_products(model: Model) -> Model:
    """Have a Whisper attend in bfloat16 by products, whatever the rest of it computes in.

    Keys and values are kept in bfloat16: those of the encoder's states are read anew for every token.
    """
    for name, module in model.named_modules():
        if name.endswith(("k_proj", "v_proj")):
            module.register_forward_hook(lambda _module, _given, made: made.to(torch.bfloat16))
    AttentionInterface.register(NAME, _attend)
    model.set_attn_implementation(NAME)
    return model
