"""What is spoken: numbers as Koreans say them, and an evaluation that training never sees."""

import itertools
import re

import pytest
from making import ROOT
from making.numbers import digit_by_digit, native, sino
from making.sentences import Grammar, clauses, dialogue_turns, distinct, held_out, letters_of, speakable

AMOUNTS = {
    0: "영", 7: "칠", 10: "십", 11: "십일", 92: "구십이", 100: "백", 4_200: "사천이백", 10_000: "만", 50_000: "오만",
    5_000_000: "오백만", 42_000: "사만 이천", 110_000: "십일만", 123_456_789: "일억 이천삼백사십오만 육천칠백팔십구",
}  # fmt: skip
COUNTS = {1: "한", 3: "세", 12: "열두", 20: "스무", 21: "스물한", 99: "아흔아홉"}


@pytest.mark.parametrize(("number", "spoken"), AMOUNTS.items())
def test_amounts_are_sino_korean(number, spoken):
    assert sino(number) == spoken


@pytest.mark.parametrize(("number", "spoken"), COUNTS.items())
def test_what_is_counted_is_native_korean(number, spoken):
    assert native(number) == spoken


def test_digits_are_read_one_by_one():
    assert digit_by_digit("010-1234") == "공일공 일이삼사"


def test_every_sentence_can_be_read_as_it_is_written():
    for sentence in itertools.islice(Grammar().sentences(3), 3000):
        assert re.fullmatch(r"[가-힣 .,?!]+", sentence), sentence


def test_the_same_seed_gives_the_same_sentences():
    one, other = (list(itertools.islice(Grammar().sentences(5), 50)) for _ in range(2))
    assert one == other != list(itertools.islice(Grammar().sentences(6), 50))


def test_training_and_evaluation_share_no_sentence_whatever_the_seeds():
    training = distinct(Grammar(), 1, 1500, evaluation=False)
    evaluation = distinct(Grammar(), 2, 40, evaluation=True, without=["다치신 분은 없으시고요? 바로 출동하겠습니다."])
    assert not {letters_of(one) for one in training} & {letters_of(one) for one in evaluation}
    assert all(held_out(one) for one in evaluation)
    assert not any(held_out(one) for one in training)


def test_what_training_takes_from_elsewhere_is_left_out_of_the_evaluation():
    first = distinct(Grammar(), 2, 5, evaluation=True)
    assert first[2] not in distinct(Grammar(), 2, 5, evaluation=True, without=[first[2].replace(" ", "")])


def test_dialogues_give_turns_and_their_sentences():
    turns = dialogue_turns(ROOT / "resources" / "demo" / "dialogues.yaml")
    assert "한 달만 더 볼게요." not in turns
    assert "네, 한빛은행 상담원 김민지입니다. 무엇을 도와드릴까요?" in turns
    assert "무엇을 도와드릴까요?" in turns


def test_only_sentences_without_digits_and_letters_are_spoken():
    text = "오늘은 비가 많이 옵니다. 값은 3만 원입니다. KTX를 탔습니다. 짧다.\n내일은 날이 갠다고 합니다."
    assert speakable(iter([text])) == ["오늘은 비가 많이 옵니다.", "내일은 날이 갠다고 합니다."]


def test_clauses_are_what_stands_between_commas():
    assert clauses("네, 한 달 전에 끝났는데, 아직 안 받았어요.") == ["한 달 전에 끝났는데,", "아직 안 받았어요."]
