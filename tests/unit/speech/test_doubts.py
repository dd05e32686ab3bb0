"""What is doubtful about a text is said by name, and ordinary talk is not doubted."""

import pytest

from malgeul import ROOT
from malgeul.speech.doubts import KNOWN_PHRASE, doubts, flag_known_phrases, read_phrases
from malgeul.speech.facts import FLAGS

PHRASES = read_phrases([ROOT / "resources/known_phrases.txt"])


@pytest.mark.parametrize(
    ("text", "seconds", "avg_logprob", "no_speech_prob", "flags"),
    [
        ("네, 알겠습니다. 내일 오전에 다시 전화드릴게요.", 3.0, -0.2, 0.01, []),
        ("네 네 네, 그럼요.", 1.5, -0.2, 0.01, []),
        ("가나다라마바사 " * 20, 60, -0.2, 0.01, ["looping", "repetitive"]),
        ("아아아아아아", 2.0, None, None, ["looping"]),
        ("1 1 1 1 1 1", 2.0, None, None, ["looping"]),
        ("5,000,000원을 1588-8888, 010-0000-0000으로 보내 주세요", 5.0, -0.2, 0.01, []),
        ("고객님께서 문의하신 내용을 확인해 보겠습니다", 0.5, -0.2, 0.01, ["fast"]),
        ("안녕하\ufffd니까", 2.0, -0.2, 0.01, ["broken"]),
        ("음", 1.0, -1.7, 0.8, ["no_speech", "unlikely"]),
    ],
)
def test_doubts_have_names(text, seconds, avg_logprob, no_speech_prob, flags):
    assert doubts(text, seconds, avg_logprob, no_speech_prob) == flags
    assert set(flags) <= set(FLAGS), "the page says what they mean"


def test_a_segment_is_a_known_phrase_when_it_is_nothing_else():
    said = ["시청해 주셔서 감사합니다!", "시청해 주셔서 감사하다고 전해 주세요"]
    segments = [{"text": text, "flags": ["unlikely", "known_phrase"]} for text in said]
    flag_known_phrases(segments, PHRASES)
    assert [segment["flags"] for segment in segments] == [["known_phrase", "unlikely"], ["unlikely"]]
    assert KNOWN_PHRASE in FLAGS


def test_the_file_of_phrases_has_comments_and_is_compared_by_letters(tmp_path):
    file = tmp_path / "phrases.txt"
    file.write_text("# nothing\n...\nMBC 뉴스, 이덕영입니다.  # a reporter\n\n", "utf-8")
    assert read_phrases([file]) == {"mbc뉴스이덕영입니다"}
