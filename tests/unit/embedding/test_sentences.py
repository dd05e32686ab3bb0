"""Sentences begin where Kiwi says, or punctuation; a text on which Kiwi fails costs nobody else anything."""

import sys

import pytest
from hypothesis import given, settings

from malgeul.embedding.sentences import SentenceProcess, SentenceSplitter, punctuation_starts
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
