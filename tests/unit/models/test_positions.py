"""A model is given as many tokens as it has positions: one more ends a job, on GPUs without a word of why."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from malgeul.models.positions import longest_input, room_of

POSITIONS = 12
SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
KINDS = [
    "bert",
    "camembert",
    "data2vec-text",
    "electra",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
]


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_promised_and_not_one_more(kind):
    config = AutoConfig.for_model(kind, max_position_embeddings=POSITIONS, **SIZES)
    if kind == "xmod":
        config.default_language = config.languages[0]
    model = AutoModel.from_config(config).eval()
    longest = longest_input(config.to_dict())
    assert longest == room_of(model)
    model(input_ids=torch.full((1, longest), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 7))


def test_positions_by_the_name_that_gpt_2_has_for_them():
    config = AutoConfig.for_model("gpt2", n_positions=POSITIONS, vocab_size=50, n_embd=32, n_layer=1, n_head=2)
    assert longest_input(config.to_dict()) == POSITIONS


def test_relative_positions_have_no_end():
    model = AutoModel.from_config(AutoConfig.for_model("llama", **SIZES, num_key_value_heads=2))
    assert room_of(model) is None


@pytest.mark.parametrize("config", [{}, {"max_position_embeddings": None}, {"max_position_embeddings": -1}])
def test_a_config_may_tell_nothing(config):
    assert longest_input(config) is None
