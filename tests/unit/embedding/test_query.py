"""A question's vector is the one that the workflow's encoder gives, in whichever way it is computed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from malgeul import ROOT
from malgeul.embedding.encoder import Encoder
from malgeul.embedding.query import (
    BertEncoder,
    OtherModel,
    gelu,
    load_query_encoder,
    map_weights,
)
from malgeul.embedding.query_model import describe_query_model
from malgeul.embedding.recipe import read_recipe
from malgeul.embedding.settings import EmbedSettings
from malgeul.models.devices import Device
from malgeul.models.hub import ModelNotFound

BUNDLED = ROOT / "resources/models/embed-ko-demo"
TEXTS = ["전세 계약을 해지하려면 어떻게 하나요?", "끝", "Seoul 2024", "낱말이 여럿 있는 긴 글 " * 300]


def described(model):
    return describe_query_model(EmbedSettings(model=model).model_dump())


def reference(folder, texts, prompt=""):
    encoder = Encoder(folder, Device("cpu", "x"), 1)
    return np.stack(encoder.encode(encoder.tokenize([prompt + text for text in texts])[0]))


def random_model(folder, kind, pooling="mean", dtype="float32"):
    """Make a small model of random weights with the bundled tokenizer."""
    import torch
    from transformers import AutoModel, BertConfig, ElectraConfig, RobertaConfig, XLMRobertaConfig

    torch.manual_seed(0)
    classes = {"bert": BertConfig, "roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig, "electra": ElectraConfig}
    config = classes[kind](
        vocab_size=8000,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=140,
        initializer_range=0.5,
        type_vocab_size=2,
        pad_token_id=0,
    )
    AutoModel.from_config(config).to(getattr(torch, dtype)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "modules.json"):
        shutil.copy(BUNDLED / name, folder)
    (folder / "1_Pooling").mkdir()
    modes = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
    modes["lasttoken"] = "pooling_mode_lasttoken"
    (folder / "1_Pooling/config.json").write_text(json.dumps({modes[pooling]: True}))
    return folder


def test_the_bundled_model_gives_the_vectors_of_the_workflow():
    encode = load_query_encoder(described(str(BUNDLED)), 1)
    assert isinstance(encode, BertEncoder)
    assert np.allclose([encode(text) for text in TEXTS], reference(BUNDLED, TEXTS), atol=2e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_the_whole_family_and_every_pooling_agree_with_transformers(tmp_path, kind, pooling):
    folder = random_model(tmp_path / "model", kind, pooling)
    encode = load_query_encoder(described(str(folder)), 1)
    assert isinstance(encode, BertEncoder)
    cosines = (np.stack([encode(text) for text in TEXTS]) * reference(folder, TEXTS)).sum(axis=1)
    assert cosines.min() >= 0.99999


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_half_the_size_are_widened_as_torch_widens_them(tmp_path, dtype):
    folder = random_model(tmp_path / "model", "bert", dtype=dtype)
    encode = load_query_encoder(described(str(folder)), 1)
    cosines = (np.stack([encode(text) for text in TEXTS]) * reference(folder, TEXTS)).sum(axis=1)
    assert cosines.min() >= 0.99999


def test_another_architecture_takes_the_encoder_of_the_workflow(tmp_path):
    folder = random_model(tmp_path / "model", "electra")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "물음: "}}))
    encode = load_query_encoder(described(str(folder)), 1)
    assert not isinstance(encode, BertEncoder)
    (folder / "config_sentence_transformers.json").unlink()
    assert np.allclose(np.stack([encode(t) for t in TEXTS[:3]]), reference(folder, TEXTS[:3], "물음: "), atol=1e-5)


def test_the_query_prompt_of_the_model_is_put_before_the_question(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: ", "document": "passage: "}})
    )
    about = described(str(folder))
    assert about["query_prompt"] == "query: "
    encode = load_query_encoder(about, 1)
    plain = reference(BUNDLED, ["서울"], "query: ")
    assert np.allclose(encode("서울"), plain[0], atol=2e-6)
    assert not np.allclose(encode("서울"), reference(BUNDLED, ["서울"])[0], atol=1e-3)


@pytest.mark.parametrize(
    ("config", "prompt"),
    [
        (None, ""),
        ({}, ""),
        ({"prompts": {}}, ""),
        ({"prompts": {"s": "S: "}, "default_prompt_name": "s"}, "S: "),
        ({"prompts": {"s": "S: ", "query": "Q: "}, "default_prompt_name": "s"}, "Q: "),
    ],
)
def test_a_prompt_is_read_as_sentence_transformers_reads_it(tmp_path, config, prompt):
    if config is not None:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    assert read_recipe(tmp_path).query_prompt == prompt


def test_a_model_that_was_trained_further_is_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    about = described(str(folder))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-200_000:] = bytes(b ^ 1 for b in weights[-200_000:])
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(OtherModel, match="has changed since the vectors were made"):
        load_query_encoder(about, 1)


def test_a_readme_beside_a_model_changes_nothing(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    about = described(str(folder))
    (folder / "README.md").write_text("other")
    load_query_encoder(about, 1)


def test_a_model_that_is_gone_is_named(tmp_path):
    about = {**described(str(BUNDLED)), "model": str(tmp_path / "gone")}
    with pytest.raises(ModelNotFound, match="gone"):
        load_query_encoder(about, 1)


def test_gelu_is_that_of_erf():
    from math import erf, sqrt

    values = np.linspace(-8, 8, 2001, dtype=np.float32)
    expected = [x * (1 + erf(x / sqrt(2))) / 2 for x in values.tolist()]
    assert np.allclose(gelu(values), expected, atol=1e-6)


def test_weights_of_an_unknown_type_are_named(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match="F8_E4M3"):
        map_weights(tmp_path)


def test_a_question_imports_neither_torch_nor_transformers():
    program = (
        "import sys; from malgeul.embedding.query import load_query_encoder\n"
        f"load_query_encoder({described(str(BUNDLED))!r}, 1)('서울')\n"
        "print([name for name in ('torch', 'transformers', 'pandas') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_vectors_of_questions_are_shortened_as_those_of_texts_are(tmp_path):
    about = {**described(str(BUNDLED)), "dimensions": 64}
    (whole,) = reference(BUNDLED, ["서울"])
    cut = whole[:64] / np.linalg.norm(whole[:64])
    assert np.allclose(load_query_encoder(about, 1)("서울"), cut, atol=2e-6)
