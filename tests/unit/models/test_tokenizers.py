"""The tokenizer without transformers gives the pieces that transformers gives."""

import json

import pytest
from tokenizers import Tokenizer, models

from malgeul import ROOT
from malgeul.models.tokenizers import load_fast_tokenizer

TEXTS = ["", "한글", "서울에서 만난 김민수는 2024년에 떠났다.", "mixed 텍스트 ㅋㅋㅋ 😀", "가" * 5000]


@pytest.mark.parametrize("name", ["tokenizer-ko-demo", "embed-ko-demo"])
def test_pieces_equal_those_of_transformers(name):
    from transformers import AutoTokenizer

    folder = ROOT / "resources/models" / name
    ours, theirs = load_fast_tokenizer(folder), AutoTokenizer.from_pretrained(str(folder))
    for text in TEXTS:
        assert ours.ids(text) == theirs(text)["input_ids"]
        assert ours.ids(text, special=False) == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.mask_id == theirs.mask_token_id


@pytest.mark.parametrize(
    ("config", "end"),
    [({"eos_token": "</s>", "sep_token": "[SEP]"}, 1), ({"sep_token": {"content": "[SEP]"}}, 0), ({}, None)],
)
def test_a_text_ends_with_the_token_for_it_else_with_the_one_that_parts_texts(tmp_path, config, end):
    Tokenizer(models.WordLevel({"[SEP]": 0, "</s>": 1}, unk_token="[SEP]")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_fast_tokenizer(tmp_path).end_id == end
