"""Vectors are those of the model's own recipe, whatever the batches."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul import ROOT
from malgeul.embedding.encoder import Encoder, plan_batches, read_recipe
from malgeul.models.devices import Device
from malgeul.models.memory import Batcher, DoesNotFit

BUNDLED = ROOT / "resources/models/embed-ko-demo"
TEXTS = ["짧은 글", "조금 더 긴 글이며 낱말이 여럿 있다", "서울에서 열린 회의", "끝"]


@pytest.fixture(scope="module")
def encoder():
    return Encoder(BUNDLED, Device("cpu", "x"), 1)


def encode(encoder, texts):
    return np.stack(encoder.encode(encoder.tokenize(texts)[0]))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_equal_plain_transformers(tmp_path, pooling):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    modes = {"pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_cls_token": pooling == "cls"}
    (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
    tokenizer, model = (
        AutoTokenizer.from_pretrained(str(folder)),
        AutoModel.from_pretrained(str(folder), dtype="float32").eval(),
    )
    expected = []
    for text in TEXTS:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vector = hidden.mean(0) if pooling == "mean" else hidden[0]
        expected.append((vector / vector.norm()).numpy())
    found = encode(Encoder(folder, Device("cpu", "x"), 1), TEXTS)
    cosines = (found * np.stack(expected)).sum(1)
    assert cosines.min() >= 0.9999
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_text_has_the_same_vector_in_any_batch(encoder):
    together = encode(encoder, TEXTS)
    alone = np.concatenate([encode(encoder, [text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)


def test_tokens_over_the_limit_are_cut_and_counted(encoder):
    long = "가나다 " * 2000
    ids, cut = encoder.tokenize([long, "짧다"])
    assert len(ids[0]) == encoder.recipe.longest == 512
    assert cut > 1000


@pytest.mark.parametrize("most", [0, 1, 2])
def test_out_of_memory_splits_the_batch_and_costs_only_what_does_not_fit_alone(encoder, monkeypatch, most):
    def limited(batch):
        if len(batch) > most:
            raise encoder._torch.OutOfMemoryError
        return [np.array([len(ids)], np.float32) for ids in batch]

    monkeypatch.setattr(encoder, "_batches", Batcher(limited, "text"))
    ids = encoder.tokenize(TEXTS)[0]
    found = encoder.encode(ids)
    if most == 0:
        assert all(isinstance(outcome, DoesNotFit) for outcome in found)
    else:
        assert [int(vector[0]) for vector in found] == [len(each) for each in ids]


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 4096))
def test_batches_hold_every_text_once_within_the_budget_and_longest_first(lengths, budget):
    batches = plan_batches(lengths, budget)
    assert sorted(k for batch in batches for k in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[k] for k in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
    firsts = [lengths[batch[0]] for batch in batches]
    assert firsts == sorted(firsts, reverse=True)


def test_an_unknown_module_is_refused(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "model")
    modules = json.loads((BUNDLED / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "model/modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="has a module Dense"):
        read_recipe(tmp_path / "model")
