"""Sequences side by side in one row: a model computes no padding, and attention alone knows where they end.

transformers takes a function for attention by name and hands it what the model's caller gives; positions are the
caller's too. So every model whose attention goes through that interface can be packed. Whether the vectors are still
the model's is proved when it is loaded (see the encoder), since a model may do more between its tokens than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from malgeul.models.attention import attend, products_pay

NAME = "malgeul_packed"

_NOT_UNDERSTOOD = ("sliding_window", "softcap", "s_aux", "position_bias")
"""What some models ask of attention beyond a scale; they are not packed."""


class NotPackable(Exception):
    """A model does more than attention between its tokens, or attention of a kind that is not known here."""


class Row:
    """Sequences in a row: their lengths, and what attention needs to tell them apart.

    ``groups`` holds (first token, sequences, length) of neighbours with one length; ``bounds`` the first tokens and the
    end of the row, on the device, where its kernels want them.
    """

    def __init__(self, lengths: Sequence[int], device: str) -> None:
        self.lengths = lengths
        self.longest = max(lengths)
        self.groups: list[tuple[int, int, int]] = []
        at = 0
        for length, equal in groupby(lengths):
            count = len(list(equal))
            self.groups.append((at, count, length))
            at += count * length
        self.bounds: Tensor | None = None
        if device != "cpu":
            self.bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    row: Row | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attend within the sequences of a row: (1, heads, tokens, dimension) to (1, tokens, heads, dimension)."""
    asked = [name for name in _NOT_UNDERSTOOD if more.get(name) is not None]
    if row is None or attention_mask is not None or asked:
        raise NotPackable(f"its attention has {', '.join(asked) or 'a mask or hides the rows'}")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    v = value[0].transpose(0, 1)
    q, k = (each[0].transpose(0, 1).to(v.dtype) for each in (query, key))
    grouped = q.shape[1] != k.shape[1]
    if row.bounds is not None and v.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn

        window = (-1, 0) if causal else (-1, -1)
        of_row = (row.bounds, row.bounds, row.longest, row.longest)
        packed = varlen_attn(q, k, v, *of_row, scale=scaling, window_size=window, enable_gqa=grouped)
        assert isinstance(packed, Tensor)
        return packed[None], None
    by_products = v.dtype == torch.bfloat16 and products_pay() and not (causal or grouped)
    out = q.new_empty((*q.shape[:2], v.shape[2]))
    for at, count, length in row.groups:
        end = at + count * length
        a, b, c = (each[at:end].view(count, length, *each.shape[1:]).transpose(1, 2) for each in (q, k, v))
        if by_products:
            found = attend(a, b, c, scaling if scaling is not None else a.shape[3] ** -0.5)
        else:
            found = scaled_dot_product_attention(a, b, c, is_causal=causal, scale=scaling, enable_gqa=grouped)
        out[at:end] = found.transpose(1, 2).flatten(0, 1)
    return out[None], None


def pack(model: PreTrainedModel) -> None:
    """Have a model attend within the sequences of a row. Raises NotPackable for one without the interface."""
    if not getattr(model, "_supports_attention_backend", False):
        raise NotPackable("its attention is not to be replaced")
    AttentionInterface.register(NAME, _attend)
    model.set_attn_implementation(NAME)


def hidden_of_row(model: PreTrainedModel, ids: Tensor, row: Row, first_position: int) -> Tensor:
    """Return the hidden states (tokens, dimension) of a row's token ids (tokens), both on the model's device."""
    positions = torch.cat([torch.arange(count * length) % length for _, count, length in row.groups]) + first_position
    positions = positions.to(ids.device, non_blocking=True)
    found: Tensor = model(input_ids=ids[None], position_ids=positions[None], row=row).last_hidden_state[0]
    return found
