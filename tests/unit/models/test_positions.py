"""A model is given as many tokens as it has positions: one more ends a job, on GPUs without a word of why."""

from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModel
from transformers.models.auto.configuration_auto import model_type_to_module_name
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from malgeul.models.positions import longest_input, room_of

POSITIONS = 12
SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
KINDS = [
    "bert",
    "camembert",
    "data2vec-text",
    "electra",
    "ibert",
    "longformer",
    "luke",
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


def test_of_all_models_that_count_from_the_padding_the_length_is_known():
    """The list of their kinds is by hand; this asks transformers' models themselves, by their sources."""
    models, counting = Path(transformers.__file__).parent / "models", []
    for kind in MODEL_MAPPING_NAMES:
        sources = (models / model_type_to_module_name(kind)).glob("modeling_*.py")
        if not any("padding_idx + 1" in source.read_text(encoding="utf-8") for source in sources):
            continue
        config = AutoConfig.for_model(kind)
        if kind == "evolla" or not getattr(config, "max_position_embeddings", None):
            continue  # of pictures or sounds, with a text model within
        if kind == "esm":  # which leaves them to its checkpoints
            config.vocab_size, config.pad_token_id = 50, 1
        if kind == "xmod":
            config.default_language = config.languages[0]
        with torch.device("meta"):
            room = room_of(AutoModel.from_config(config))
        if room is not None:  # a table that is learnt
            counting.append(kind)
            assert longest_input(config.to_dict()) == room, kind
    assert {"camembert", "esm", "ibert", "layoutlmv3", "longformer", "markuplm", "xmod"} < set(counting)


def test_positions_by_the_name_that_gpt_2_has_for_them():
    config = AutoConfig.for_model("gpt2", n_positions=POSITIONS, vocab_size=50, n_embd=32, n_layer=1, n_head=2)
    assert longest_input(config.to_dict()) == POSITIONS


def test_relative_positions_have_no_end():
    model = AutoModel.from_config(AutoConfig.for_model("llama", **SIZES, num_key_value_heads=2))
    assert room_of(model) is None


@pytest.mark.parametrize("config", [{}, {"max_position_embeddings": None}, {"max_position_embeddings": -1}])
def test_a_config_may_tell_nothing(config):
    assert longest_input(config) is None
