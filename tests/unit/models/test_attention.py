"""Attention by products of matrices is what torch's own kernel computes."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from malgeul.models import attention
from malgeul.models.attention import attend


@pytest.mark.parametrize("most", [1, 60, 100, 1000, attention.SCORES])
@pytest.mark.parametrize(("queries", "keys"), [(1, 33), (20, 20), (7, 33)])
def test_products_are_what_the_kernel_computes_however_many_scores_are_held(monkeypatch, most, queries, keys):
    monkeypatch.setattr(attention, "SCORES", most)
    torch.manual_seed(0)
    query = torch.randn(2, queries, 3, 16).transpose(1, 2)
    key, value = (torch.randn(2, 3, keys, width) for width in (16, 24))
    expected = scaled_dot_product_attention(query, key, value, scale=0.3)
    found = attend(*(each.bfloat16() for each in (query, key, value)), 0.3)
    assert (found.dtype, found.shape) == (torch.bfloat16, expected.shape)
    assert float((found.float() - expected).norm() / expected.norm()) < 0.01
