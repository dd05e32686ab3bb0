"""Every measure is what its name says."""

import pytest

from malgeul.text.measures import TEXT_MEASURES
from unit.text.conftest import PROSE

CASES = [
    ("characters", "가 나", 3),
    ("hangul", "가나 ab", 0.5),
    ("hangul", "ㅋㅋ 漢字", 0.5),
    ("hangul", " \n", None),
    ("hangul", "ﾤﾢ \u1112\u119e\u11ab x", 5 / 6),
    ("hangul", "가\u3164\u3164\u1160", 0.25),
    ("symbols", "가_!나 ", 0.4),
    ("symbols", "", None),
    ("replacement_characters", "가\ufffd나\ufffd", 0.5),
    ("sentence_ends", "왔다. 갔다! 왜? 음…", 3),
    ("sentence_ends", "왔다． 갔다！ 왜？ 봤다。", 4),
    ("plain_sentence_ends", "왔다. 갔다! 왜？", 2),
    ("repeated_lines", "가나\n다라\n가나\n 가나", 4 / 12),
    ("top_2gram", "가 나 다 가 나", 6 / 9),
    ("top_2gram", "가 나 다 라", 0),
    ("top_3gram", "가 나 다 가 나 다", 10 / 11),
    ("top_4gram", "가 나 다", 0),
    ("repeated_characters", "ㅋㅋㅋㅋㅋ좋다아아아", 0.5),
    ("repeated_characters", "가     나", 0),
    ("bullet_lines", "- 가\n• 나\n\n다\n* 라", 0.75),
    ("bullet_lines", "- 가 나 다", None),
    ("ellipsis_lines", "가...\n나…\n다\n라", 0.5),
    ("ellipsis_lines", "이 글은 한 줄이다...", None),
    ("spam_words", "카지노 먹튀 없는 온라인카지노", 3),
    ("repeated_line_count", "가나\n다라\n\n가나", 1 / 3),
    ("repeated_line_characters", "가나\n다라마\n\n가나", 2 / 7),
    ("repeated_line_characters", "\n\n", None),
    ("punctuated_lines", "왔다.\n갔다\n\n왜？\n음…", 0.5),
    ("plain_bullet_lines", "- 가", 1),
    ("plain_bullet_lines", "* 가\n\n • 나\n다", 0.25),
    ("plain_ellipsis_lines", "가... \n나\n", 0.5),
    ("spam_words", "이웃집 토토로를 보았다", 0),
    ("spam_words", "카지노 " * 3 + "가" * 988, 3),
    ("spam_words", "카지노 " * 3 + "가" * 5988, 0.5),
]


@pytest.mark.parametrize(("measure", "text", "value"), CASES)
def test_a_measure_is_what_it_says(measure, text, value):
    assert TEXT_MEASURES[measure](text) == (value if value is None else pytest.approx(value))


def test_every_measure_has_a_case():
    assert {measure for measure, _, _ in CASES} == set(TEXT_MEASURES)


def test_hostile_text_is_measured_in_linear_time():
    # A rule that looked back over the text at every character would take hours here.
    for text in (" " * 300_000 + "x", "가" * 300_000, "가 " * 150_000, "\n" * 300_000, "-\n" * 150_000, PROSE * 1000):
        for measure in TEXT_MEASURES.values():
            measure(text)
