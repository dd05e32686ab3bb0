"""What the sentence encoder is asked to tell apart."""

import random

import pytest
import torch
from making.embedding import Matcher, _views, make_model, save
from making.texts import Titled, demo_titled, petitions
from train_tokenizer import save as save_tokenizer
from train_tokenizer import train
from transformers import AutoTokenizer

from malgeul.embedding.recipe import read_recipe

PAIRS = [
    Titled(f"제목 {word}", " ".join(f"{word} 문장 {k}입니다." for k in range(6)), "2019-05")
    for word in ("버스", "학교", "병원", "세금")
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train(iter([pair.title + " " + pair.content for pair in PAIRS]), 200), folder)
    return AutoTokenizer.from_pretrained(str(folder))


def test_a_title_or_a_sentence_is_asked_and_its_text_answers():
    views = {_views(PAIRS[0], random.Random(seed)) for seed in range(200)}
    asked = {question for question, _ in views}
    assert "제목 버스" in asked
    assert any(question.startswith("버스 문장") for question in asked)
    assert any(question in answer for question, answer in views if question != "제목 버스")
    assert any(question not in answer for question, answer in views if question != "제목 버스")


def test_a_step_depends_on_its_number_alone(tokenizer):
    matcher = Matcher(make_model(len(tokenizer), 0), tokenizer).eval()
    one, again, other = (float(matcher.losses(PAIRS, 3, 0, step, None)["loss"].detach()) for step in (1, 1, 2))
    assert one == again != other


def test_vectors_have_length_one_whatever_stands_beside_them(tokenizer):
    matcher = Matcher(make_model(len(tokenizer), 0), tokenizer).eval()
    together = matcher.vectors([pair.content for pair in PAIRS] + ["버스"], 64)
    alone = matcher.vectors(["버스"], 64)
    assert together.norm(dim=1).tolist() == pytest.approx([1] * 5, abs=1e-5)
    assert torch.allclose(together[4], alone[0], atol=1e-5)


def test_what_is_saved_is_what_the_workflow_reads(tokenizer, tmp_path):
    save(make_model(len(tokenizer), 0).half(), tokenizer, tmp_path)
    recipe = read_recipe(tmp_path)
    assert (recipe.pooling, recipe.longest, recipe.normalize) == ("mean", 512, True)


def test_a_folder_without_petitions_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no"):
        petitions(tmp_path)


def test_petitions_have_a_month(tmp_path):
    line = '{"title": " 제목 ", "content": "내용", "begin": "2019-06-03"}\n'
    (tmp_path / "a.jsonl").write_text(line, encoding="utf-8")
    assert petitions(tmp_path) == [Titled("제목", "내용", "2019-06")]


def test_the_projects_own_texts_are_pairs():
    own = demo_titled()
    assert len(own) > 200
    assert all(pair.title and pair.content for pair in own)
