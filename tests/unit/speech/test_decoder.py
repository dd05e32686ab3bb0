"""Our decoder gives the hidden states of transformers', step by step and whichever windows go on."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, WhisperConfig, WhisperForConditionalGeneration

from malgeul.models.linear import with_linear_layers_in
from malgeul.speech import decoder as module
from malgeul.speech.attention import with_attention_by_products
from malgeul.speech.decoder import Decoder

PROMPT = [3, 5, 7]


def small(**more):
    torch.manual_seed(0)
    shape = {"d_model": 36, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 3, "max_source_positions": 10}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3, "vocab_size": 50}
    return WhisperForConditionalGeneration(WhisperConfig(**shape, **heads, **ids, init_std=0.3, **more)).eval()


def both(model, steps, keep=None):
    """Yield the hidden states of either decoder over four windows; ``keep`` are the rows that go on after two steps."""
    torch.manual_seed(1)
    states = torch.randn(4, 10, 36, dtype=model.dtype)
    ours = Decoder(model, states)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    ids = torch.tensor([PROMPT] * 4)
    for step in range(steps):
        theirs = model.model.decoder(
            input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True
        ).last_hidden_state
        yield ours.step(ids), theirs
        ids = torch.randint(10, 50, (len(states), 1))
        if keep and step == 1:
            rows = torch.tensor(keep)
            ours.keep(rows)
            cache.batch_select_indices(rows)
            states, ids = states[rows], ids[rows]


@pytest.mark.parametrize("keep", [None, [2], [3, 0, 1]])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_hidden_states_are_those_of_transformers(monkeypatch, activation, keep):
    monkeypatch.setattr(module, "GROWTH", 2)  # so that the room grows on the way, and just after windows were left out
    with torch.inference_mode():
        for found, expected in both(small(activation_function=activation), 8, keep):
            assert found.shape == expected.shape
            assert torch.allclose(found, expected, atol=1e-5)


def test_layers_in_bfloat16_attend_by_products():
    """With hidden states in float32 between them, as they are computed on processors."""
    model = with_attention_by_products(with_linear_layers_in(small(), torch.bfloat16))
    with torch.inference_mode():
        for found, expected in both(model, 4, [1, 2]):
            assert found.dtype == expected.dtype == torch.float32
            assert float((found - expected).norm() / expected.norm()) < 0.02
