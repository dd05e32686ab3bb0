"""Sentences begin where Kiwi says, or punctuation; a text on which Kiwi fails costs nobody else anything."""

import sys

import pytest
from hypothesis import given, settings

from malgeul.embedding.sentences import SentenceProcess, SentenceSplitter, punctuation_starts, whole_sentences
from malgeul.models.kiwi import SEGMENT_CHARACTERS, segments
from malgeul.shards.faults import Fault
from unit.embedding.conftest import load_kiwi
from unit.embedding.test_chunk import DOCUMENTS

TEXT = "오늘은 비가 왔다 내일은 맑다고 한다. 그러나 “정말?” 하고 물었다."


def split(texts, threads=1):
    return list(SentenceSplitter(threads).analyze(texts))


def sentences(text, starts):
    return [text[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=False)]


@pytest.fixture(autouse=True)
def _one_kiwi(one_kiwi):
    """Load Kiwi once."""


def test_kiwi_knows_endings_that_no_full_stop_marks():
    assert sentences(TEXT, split([TEXT])[0])[:2] == ["오늘은 비가 왔다", "내일은 맑다고 한다."]
    assert sentences(TEXT, punctuation_starts(TEXT))[0] == "오늘은 비가 왔다 내일은 맑다고 한다."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("하나다. 둘이다!  셋인가?” 넷", ["하나다.", "둘이다!", "셋인가?”", "넷"]),
        ("2024. 1. 1. 시행한다. 끝", ["2024. 1. 1. 시행한다.", "끝"]),
        ("1. 사과\n2. 배\r\n\n감", ["1. 사과", "2. 배", "감"]),
        ("  앞에 빈칸. 뒤 ", ["앞에 빈칸.", "뒤"]),
        ("....... 말줄임…", [".......", "말줄임…"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_by_punctuation(text, expected):
    assert sentences(text, punctuation_starts(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "법인(그 지점을 포함한다. 이하 같다)이 신고한다. 끝이다.",
            ["법인(그 지점을 포함한다. 이하 같다)이 신고한다.", "끝이다."],
        ),
        (
            "구법(2018. 10. 16. 법률(제15791호)로 바뀌기 전의 것이다. 이하 구법이라 한다) 제10조에 따른다. 끝이다.",
            [
                "구법(2018. 10. 16. 법률(제15791호)로 바뀌기 전의 것이다. 이하 구법이라 한다) 제10조에 따른다.",
                "끝이다.",
            ],
        ),
        ("그는 갔다(늦었다). 나는 남았다.", ["그는 갔다(늦었다).", "나는 남았다."]),
        ("열린 채(로 끝난다. 다음이다.", ["열린 채(로 끝난다.", "다음이다."]),
    ],
)
@pytest.mark.parametrize("starts_of", [lambda text: split([text])[0], punctuation_starts], ids=["kiwi", "punctuation"])
def test_no_sentence_begins_within_brackets(text, expected, starts_of):
    assert sentences(text, starts_of(text)) == expected


def test_brackets_that_hold_a_lot_are_no_sentence():
    assert len(punctuation_starts(f"길다({'아주 길다. ' * 60}) 끝이다.")) > 50


@pytest.mark.parametrize("starts_of", [lambda text: split([text])[0], punctuation_starts], ids=["kiwi", "punctuation"])
@pytest.mark.parametrize("number", ["나.", "나)", "2)", "②", "II.", "b."])
def test_a_sentence_begins_with_its_number(number, starts_of):
    text = f"1. 사건의 개요는 다음과 같다.\n{number} 원고는 임차인이다. {number} 피고는 임대인이다. 끝났다."
    found = sentences(text, starts_of(text))
    assert found[-3:] == [f"{number} 원고는 임차인이다.", f"{number} 피고는 임대인이다.", "끝났다."]


@pytest.mark.parametrize("number", ["(나)", "(2)"])
def test_a_number_in_brackets_is_a_sentences_own(number):
    text = f"개요이다. {number} 원고이다."
    assert whole_sentences(text, [0, text.index("원고")]) == [0, text.index(number)]


def test_what_looks_like_a_number_within_a_sentence_is_none():
    text = "그는 제1항 나. 목에 따라 갔다. 그러하 다. 끝"
    assert sentences(text, punctuation_starts(text))[0] == "그는 제1항 나."


def test_a_sentence_that_a_segment_was_cut_in_begins_once():
    text = "그는 아침에 일어나서 밥을 먹고 길을 나서며 " * 400 + "잤다. 끝이다."
    assert len(text) > 2 * SEGMENT_CHARACTERS
    (starts,) = split([text])
    assert not {piece.start for piece in segments(text)[1:]} & set(starts)
    assert text.index("끝이다") in starts
    lines = text.replace("나서며 ", "나섰다\n")
    (starts,) = split([lines])
    assert {piece.start for piece in segments(lines)} <= set(starts)  # cut at a line's end, where a sentence ends too


@settings(max_examples=60)
@given(text=DOCUMENTS)
def test_sentences_begin_within_the_text_in_order_and_never_with_a_space(text):
    (starts,) = split([text])
    assert starts == sorted(set(starts))
    assert all(0 <= start < len(text) and not text[start].isspace() for start in starts)


def test_the_number_of_threads_changes_nothing():
    texts = [f"{TEXT} {number}번째다 끝났다" for number in range(40)]
    assert split(texts, 2) == split(texts, 1)


def test_the_real_process_answers_as_the_splitter_does(monkeypatch):
    monkeypatch.undo()
    texts = [TEXT * number for number in range(4)]
    with SentenceProcess(1) as process:
        found = list(process.analyze(texts))
        assert list(process.analyze(texts)) == found  # it goes on, batch after batch
    monkeypatch.setattr(SentenceSplitter, "kiwi", load_kiwi(1))
    assert found == split(texts)


CHILD = """
import os, signal, sys
from malgeul.models.kiwi_process import serve

class Fragile:
    def analyze(self, texts):
        for text in texts:
            if "죽음" in text:
                os.kill(os.getpid(), signal.SIGABRT)
            yield [0]

serve(Fragile(), list, sys.stdin.buffer, sys.stdout.buffer)
"""


def test_a_text_that_kills_kiwi_is_alone_with_its_fault(monkeypatch):
    monkeypatch.undo()
    with SentenceProcess(1) as process:
        process.command = [sys.executable, "-c", CHILD]
        first, crash, last = process.analyze(["가", "죽음", "나"])
    assert (first, last) == ([0], [0])
    assert isinstance(crash, Fault)
    assert crash.kind == "CRASHES_ANALYZER"
