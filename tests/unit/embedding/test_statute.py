"""The parts of statutes begin where the grammar says; what only mentions them begins nothing."""

from time import process_time

import pytest

from malgeul.embedding.boundaries import Level, prose_levels
from malgeul.embedding.statute import is_statute, with_statute

CONSTITUTION = """제1장 총강
제1조 ①대한민국은 민주공화국이다.
②대한민국의 주권은 국민에게 있다.
제2장 국민의 권리와 의무
제10조 모든 국민은 인간으로서의 존엄과 가치를 가진다."""


def parts(text):
    """Return the parts of a statute: the level and the first word of what begins."""
    levels = with_statute(text, prose_levels(text, []))
    return [(level.name, text[start:].split()[0]) for start, level in sorted(levels.items()) if level < Level.LINE]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("제1편 총칙", "PART"),
        ("제3장 벌칙 <개정 2020. 1. 1.>", "CHAPTER"),
        ("제2장의2 전자 문서", "CHAPTER"),
        ("  제1절 통칙", "SECTION"),
        ("제2관 신고", "SUBSECTION"),
        ("제3조(적용 범위) 이 법은 모두에게 적용한다.", "ARTICLE"),
        ("제3조의2(「민법」의 준용(準用)) ① 「민법」을 준용한다.", "ARTICLE"),
        ("제 12 조 (목적) 이 규정은 목적을 정한다.", "ARTICLE"),
        ("제5조 삭제 <2019. 3. 5.>", "ARTICLE"),
        ("제6조", "ARTICLE"),
        ("제7조 이 법은 공포한 날부터 시행한다.", "ARTICLE"),
        ("③ 그 밖의 사항은 따로 정한다.", "PARAGRAPH"),
        ("㉑ 스물한째 항이다.", "PARAGRAPH"),
        ("1. 사람", "SUBPARAGRAPH"),
        ("  1의2. 법인", "SUBPARAGRAPH"),
        ("2. 18세 미만인 사람", "SUBPARAGRAPH"),
        ("3. 3.5톤 이상인 차", "SUBPARAGRAPH"),
        ("제8조부터 제10조의2까지 삭제 <2010. 1. 1.>", "ARTICLE"),
        ("제11조 내지 제13조 생략", "ARTICLE"),
        ("    가. 국가", "ITEM"),
        ("거. 열다섯째 것", "ITEM"),
        ("부칙", "ADDENDA"),
        ("부      칙 <제12345호, 2020. 1. 1.>", "ADDENDA"),
        ("[별표] 수수료(제5조 관련)", "ANNEX"),
        ("[별표1의2] <개정 2020. 1. 1.>", "ANNEX"),
        ("■ 도로교통법 시행령 [별표 8] <개정 2021. 5. 11.>", "ANNEX"),
        ("【별지 제1호의2서식】", "ANNEX"),
        ("[별지 제3호서식] 신고서(앞쪽)", "ANNEX"),
    ],
)
def test_a_part_begins_with_its_line(line, level):
    assert dict(reversed(part) for part in parts(f"앞 문장이다.\n{line}\r\n뒤 문장"))[line.split()[0]] == level


@pytest.mark.parametrize(
    "line",
    [
        "제3조에 따라 신고하여야 한다.",
        "제3조 및 제4조에 따라 신고한다.",
        "제3조 제1항의 신고를 말한다.",
        "제3조 본문에 따라 신고한다.",
        "제3조 각호의 어느 하나에 해당하는 자",
        "제3조부터 제5조까지의 규정에 따른 신고",
        "제3조 각 호의 어느 하나에 해당하는 자",
        "제3조(정의)에 따른 기록",
        "제3장의 규정에 따른다.",
        "제2절 및 제3절은 적용하지 아니하는 것으로 한다.",
        "제2절 및 제3절은 적용하지 아니하며,",
        "1.5배를 넘지 아니한다.",
        "1. 1. 시행한다.",
        "2024. 1. 1. 공포하였다.",
        "가격은 따로 정한다.",
        "부칙에 따른다.",
        "[별표 1]에 따른 기준을 말한다.",
        "[별표 1] 및 [별표 2]의 기준",
        "[별표 1]에 따른 기준",
        "[별지 제1호서식]을 낸다.",
    ],
)
def test_a_mention_begins_nothing_where_its_line_was_wrapped(line):
    assert parts(f"앞 문장이 끝나지 않고\n{line}") == []


@pytest.mark.parametrize("mention", ["제3조에 따라", "제3조(정의)에 따라", "제2항 제1호의", "별표 1. 의", "① 및 ②의"])
def test_a_mention_within_a_sentence_begins_nothing(mention):
    assert parts(f"신고는 {mention} 한다.") == []


def test_parts_begin_behind_sentences_where_lines_were_joined():
    text = "제2조(정의) ① 뜻은 다음과 같다. 1. 사람 2. 법인을 말한다. 3. 단체 ② 밖의 것은 정한다. 제3조(범위) 모두이다."
    assert parts(text) == [
        ("ARTICLE", "제2조(정의)"),
        ("SUBPARAGRAPH", "1."),
        ("SUBPARAGRAPH", "3."),
        ("ARTICLE", "제3조(범위)"),
    ]


def test_a_heading_and_what_it_heads_begin_once():
    assert parts(CONSTITUTION) == [
        ("CHAPTER", "제1장"),
        ("PARAGRAPH", "②대한민국의"),
        ("CHAPTER", "제2장"),
    ]


def test_sentences_begin_neither_in_a_heading_nor_behind_a_number():
    text = "제1조(목적. 그리고 뜻) 이 법은 좋다.\n1. 사람을 말한다. 그 밖에 없다."
    sentences = [text.index("그리고"), text.index("사람"), text.index("그 밖에")]
    levels = with_statute(text, prose_levels(text, sentences))
    assert [text[start:].split()[0] for start in sorted(levels)] == ["제1조(목적.", "1.", "그"]


ARTICLES = "\n".join(f"제{number}조(제목 {number}) 이 조는 {number}째이다." for number in range(1, 6))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ARTICLES, True),
        (
            f"해안쓰레기 관리에 관한 법률\n[시행 2020. 1.]\n제1장 총칙\n{ARTICLES}\n부칙\n제1조(시행일) 곧 시행한다.",
            True,
        ),
        ("\n".join(ARTICLES.splitlines()[:3]), True),
        ("\n".join(ARTICLES.splitlines()[:2]), False),  # too few articles
        (ARTICLES.replace("제3조", "제2조의2"), True),  # an article that was put in between
        (f"{'법원은 다음과 같이 판단한다. ' * 60}\n{ARTICLES}", False),  # a judgment that quotes
        (ARTICLES + "\n그러나 이는 옳지 않다." * 1000, False),  # articles are its least part
        ("\n".join(reversed(ARTICLES.splitlines())), False),
        (ARTICLES.replace("(", " ").replace(")", ""), False),  # mentions have no titles
        (ARTICLES.replace("\n", " "), False),
        ("", False),
    ],
)
def test_only_what_begins_with_articles_and_consists_of_them_is_taken_for_a_statute(text, expected):
    assert is_statute(text) is expected


@pytest.mark.parametrize("begins", ["[별표", "[별지 제1호", "부칙", "제1조", "제1장"])
def test_white_space_without_end_costs_no_more_than_its_length(begins):
    started = process_time()
    assert with_statute(f"{begins}{' ' * 50_000}x", {}) in ({}, {0: Level.ARTICLE}, {0: Level.CHAPTER})
    assert process_time() - started < 2
