"""Attention in bfloat16 on processors, as products of matrices; apart, since torch takes seconds to import.

With AVX512-BF16 and without AMX, torch's own kernel is as slow in bfloat16 as in float32; of a single query, as a
decoder asks, it takes ten times as long as the products that it stands for.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCORES = 1 << 21
"""Scores that are held at once (4 MB): what is larger falls out of a core's cache before it is used."""


def products_pay() -> bool:
    """Tell whether products in bfloat16 are faster on this processor than torch's kernel (bench/audio.md)."""
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return what queries (n, heads, queries, d) take of all values (n, heads, keys, e): (n, heads, queries, e).

    All are in bfloat16. No mask, and no more of the scores than :data:`SCORES` at a time.
    """
    n, heads, queries, _ = query.shape
    q, k, v = (each.flatten(0, 1) for each in (query * scale, key, value))
    keys = k.shape[1]
    at_once, rows = max(1, SCORES // (queries * keys)), max(1, min(queries, SCORES // keys))
    found = q.new_empty(n * heads, queries, v.shape[2])
    for first in range(0, n * heads, at_once):
        some = slice(first, first + at_once)
        transposed = k[some].transpose(1, 2)
        for at in range(0, queries, rows):
            weights = torch.bmm(q[some, at : at + rows], transposed).softmax(-1)
            found[some, at : at + rows] = torch.bmm(weights, v[some])
    return found.view(n, heads, queries, -1)
