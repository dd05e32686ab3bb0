"""Sequences hold every stretch of every document once, in rows no longer than asked and well filled."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from malgeul.dataset import sequences
from malgeul.dataset.samples import SAMPLES
from malgeul.dataset.sequences import COLUMNS, Packer, stretches_of
from malgeul.dataset.tokenizer import PieceTokenizer
from malgeul.models.tokenizers import FastTokenizer
from unit.dataset.conftest import SENTENCES
from unit.dataset.test_samples import CHOICE

LENGTH = 24


@pytest.fixture
def documents():
    texts = {"긴글": " ".join(SENTENCES * 5), "짧은글": SENTENCES[0], "끝": SENTENCES[1]}
    return [{"id": name, "text": text, "source": "web", "mentions": []} for name, text in texts.items()]


def make(documents, tokenizer, packed):
    capacity = LENGTH - len(tokenizer.before) - len(tokenizer.after)
    choice = replace(CHOICE, capacity=capacity)
    packer = Packer(tokenizer, capacity, packed)
    rows = []
    for document in documents:
        samples = list(stretches_of(document, tokenizer, choice, Counter()))
        [ids] = tokenizer.ids([document["text"]])
        for sample in samples:
            rows += packer.add(sample, ids)
    return [*rows, *packer.flush()]


def stretches(documents, tokenizer):
    choice = replace(CHOICE, capacity=LENGTH - len(tokenizer.before) - len(tokenizer.after))
    for document in documents:
        ids = tokenizer.pieces(document["text"]).ids
        for sample in stretches_of(document, tokenizer, choice, Counter()):
            yield document["id"], tuple(ids[sample["window_first"] : sample["window_last"]])


@pytest.mark.parametrize("open_rows", [1, 2, 64])
@pytest.mark.parametrize("packed", [True, False])
def test_every_stretch_of_every_document_is_there_once(documents, tokenizer, packed, open_rows, monkeypatch):
    monkeypatch.setattr(sequences, "OPEN_ROWS", open_rows)
    rows = make(documents, tokenizer, packed)
    found = Counter()
    for _, row in rows:
        assert set(row) == set(COLUMNS)
        assert len(row["input_ids"]) <= LENGTH
        ends = [*(start - len(tokenizer.after) for start in row["doc_starts"][1:]), len(row["input_ids"]) - 1]
        for doc_id, start, end in zip(row["doc_ids"], row["doc_starts"], ends, strict=True):
            found[doc_id, tuple(row["input_ids"][start:end].tolist())] += 1
            assert row["input_ids"][end : end + 1] == tokenizer.after
    assert found == Counter(stretches(documents, tokenizer))
    assert len({row_id for row_id, _ in rows}) == len(rows)


def test_a_stretch_goes_into_the_fullest_row_that_has_room(tokenizer):
    packer = Packer(tokenizer, 10, packed=True)
    rows = []
    for name, length in (("a", 6), ("b", 8), ("c", 4), ("d", 1), ("e", 3), ("f", 1)):
        sample = {"sample_id": name, "doc_id": name, "source": "web", "window_first": 0, "window_last": length}
        rows += packer.add(sample, np.zeros(length, np.int32))
    assert len(tokenizer.after) == 1
    assert [row["doc_ids"] for _, row in [*rows, *packer.flush()]] == [["a", "e"], ["b", "d"], ["c", "f"]]


def test_of_more_rows_than_may_wait_the_fullest_is_closed(tokenizer, monkeypatch):
    monkeypatch.setattr(sequences, "OPEN_ROWS", 2)
    packer = Packer(tokenizer, 10, packed=True)
    closed = []
    for name, length in (("a", 6), ("b", 8), ("c", 7)):
        sample = {"sample_id": name, "doc_id": name, "source": "web", "window_first": 0, "window_last": length}
        closed.append([row_id for row_id, _ in packer.add(sample, np.zeros(length, np.int32))])
    assert closed == [[], [], ["b"]]


def test_packing_shares_rows_and_a_row_by_document_has_one(documents, tokenizer):
    packed, single = make(documents, tokenizer, True), make(documents, tokenizer, False)
    assert all(len(row["doc_ids"]) == 1 for _, row in single)
    assert len(packed) < len(single)
    assert any(len(set(row["doc_ids"])) > 1 for _, row in packed)


def test_a_sample_is_a_row_of_the_samples_table_with_its_place(documents, tokenizer):
    for document in documents:
        counts = Counter()
        samples = list(stretches_of(document, tokenizer, replace(CHOICE, capacity=20), counts))
        assert counts == {"windows": len(samples), "pieces": len(tokenizer.pieces(document["text"]))}
        assert all(set(sample) == set(SAMPLES.names) for sample in samples)
        places = [(sample["masked_start"], sample["masked_end"]) for sample in samples]
        assert places == sorted(places)
        assert places[0][0] == 0
        assert places[-1][1] == len(document["text"])


def test_a_tokenizer_of_a_causal_model_ends_texts_with_its_own_token():
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "말": 2, "글": 3, "?": 4}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    causal = PieceTokenizer(FastTokenizer(backend, mask_token=None, end_token="</s>"))
    assert (causal.before.tolist(), causal.after.tolist()) == ([], [1])
    with pytest.raises(ValueError, match="no mask token"):
        _ = causal.mask_id
    with pytest.raises(ValueError, match="no token that ends a text"):
        PieceTokenizer(FastTokenizer(backend, mask_token=None))
    documents = [
        {"id": name, "text": text, "source": "web", "mentions": []} for name, text in (("a", "말 글"), ("b", "글"))
    ]
    [(_, row)] = make(documents, causal, packed=True)
    assert (row["input_ids"].tolist(), row["doc_starts"]) == ([2, 3, 1, 3, 1], [0, 3])
