"""The grammar of Korean statutes: 편, 장, 절, 관, 조, 항, 호, 목, 부칙, 별표, and what is only a mention of them.

A part begins with a line, as the Ministry of Government Legislation publishes statutes (article 제1조(목적),
paragraph ①, subparagraph 1., item 가.). In a text whose lines were joined it begins after the end of a sentence.
「제3조에 따라」 within a sentence, or at the start of a line that was wrapped, begins nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

from malgeul.embedding.boundaries import FILLED, Level

_S = r"[ \t\r\u00a0\u3000]*+"
"""White space in a line, taken whole: where two of these meet, no part of it is tried for either."""

_BEGINS = rf"(?:^{_S}|(?<=[가-힣][.:] )|(?<=[>\]] ))"
"""With a line, or in one line after the end of a sentence or a note like <개정 2020. 1. 1.>."""

_CIRCLED = "①-⑳㉑-㉟㊱-㊿"

_TITLE = rf"{_S}[(（][^\n()（）]{{1,80}}(?:[(（][^\n()（）]{{1,40}}[)）][^\n()（）]{{0,40}})?[)）]"

_MENTIONS = (
    "및|또는|내지|와|과|각|중|이하|소정의|등|이나|그리고|같은|제[ ]?[0-9]+[항호조]\\S*"
    "|(?:단서|본문|전단|후단|각[ ]?호|각[ ]?목)(?:[에의을를은는이가과와]\\S*)?"
)
"""Words after 제N조 that go on with a sentence."""

_GONE = rf"(?:부터|{_S}내지|{_S}및){_S}제\d{{1,5}}조(?:의\d{{1,3}})?(?:까지)?{_S}(?:삭제|생략)(?={_S}(?:$|[<\[(]))"
"""After 제N조 that begins several articles which are there no more: 제3조부터 제5조까지 삭제 <2020. 1. 1.>."""

_ITEMS = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초코토포호"
"""Syllables that number items; behind 하 they begin again with another vowel."""

_ARTICLE = rf"제{_S}(?P<number>\d{{1,5}}){_S}조(?:{_S}의{_S}\d{{1,3}})?"

TITLED_ARTICLE = re.compile(rf"{_BEGINS}(?P<heading>{_ARTICLE}{_TITLE})(?=\s|$|[{_CIRCLED}\[<])", re.MULTILINE)
"""제1조(목적): an article with its title."""

_GRAMMAR: tuple[tuple[Level, re.Pattern[str]], ...] = (
    (Level.ARTICLE, TITLED_ARTICLE),
    (
        Level.ARTICLE,  # 제1조 ①, 제1조 이 법은 …, 제1조 삭제; without a title, so only where a line begins
        re.compile(
            rf"^{_S}(?P<heading>{_ARTICLE})"
            rf"(?={_S}$|{_S}[{_CIRCLED}]|{_GONE}|[ \t]+(?!(?:{_MENTIONS})(?:\s|$))[^\s(（])",
            re.MULTILINE,
        ),
    ),
    (Level.PARAGRAPH, re.compile(rf"{_BEGINS}(?P<heading>[{_CIRCLED}])", re.MULTILINE)),
    (
        Level.SUBPARAGRAPH,  # 1. or 1의2., not the 1. 1. of a date
        re.compile(
            rf"{_BEGINS}(?P<heading>\d{{1,3}}(?:의\d{{1,3}})?\.)(?=[ \t]+(?!\d+\.(?!\d))\S|[^\s\d.])", re.MULTILINE
        ),
    ),
    (
        Level.ITEM,
        re.compile(rf"{_BEGINS}(?P<heading>[{_ITEMS}](?:의\d{{1,3}})?\.)(?=[ \t]+\S|[^\s.])", re.MULTILINE),
    ),
    (
        Level.ADDENDA,
        re.compile(rf"^{_S}(?P<heading>부{_S}칙{_S}(?:[<(〈][^\n]{{0,80}}[>)〉])?){_S}$", re.MULTILINE),
    ),
    (
        Level.ANNEX,  # [별표 1의2] 부과기준(제9조 관련), ■ 도로교통법 시행령 [별표 8], [별지 제1호서식]
        re.compile(
            rf"^{_S}(?P<heading>(?:■[^\n\[]{{1,80}})?[\[〔【<]{_S}(?:별{_S}표|별{_S}지|서{_S}식)"
            rf"(?:{_S}제?{_S}\d{{1,3}}{_S}호?(?:{_S}의{_S}\d{{1,3}})?(?:{_S}서식)?)?{_S}[\]〕】>])"
            rf"(?![ \t]*(?:{_MENTIONS})(?:\s|$))(?=(?:[ \t<(][^\n]{{0,120}})?(?<!다\.){_S}$)",
            re.MULTILINE,
        ),
    ),
)

_DIVISIONS = {"편": Level.PART, "장": Level.CHAPTER, "절": Level.SECTION, "관": Level.SUBSECTION}

_DIVISION = re.compile(
    rf"^{_S}(?P<heading>제{_S}\d{{1,4}}{_S}(?P<kind>[편장절관])(?:{_S}의{_S}\d{{1,3}})?"
    rf"(?:[ \t]+[^\s.][^\n]{{0,60}})?){_S}$",
    re.MULTILINE,
)
"""A heading of a line of its own: 제1장 총칙, 제1장의2 보칙."""


def with_statute(text: str, levels: dict[int, Level]) -> dict[int, Level]:
    """Return what begins where in a statute, given what :func:`malgeul.embedding.boundaries.prose_levels` found.

    Nothing begins within a heading or a number, nor right behind it, so that it stays with what it heads.
    """
    parts: dict[int, Level] = {}
    inside: list[tuple[int, int]] = []
    for level, match in _headings(text):
        start, end = match.span("heading")
        parts[start] = level
        following = FILLED.search(text, end)
        inside.append((start, following.start() if following else end))
    levels = {start: _in_statute(level) for start, level in levels.items()} | parts
    inside.sort()
    firsts = [start for start, _ in inside]
    kept = {}
    for start, level in levels.items():
        k = bisect_right(firsts, start - 1) - 1  # the last heading that begins before
        if k < 0 or start > inside[k][1]:
            kept[start] = level
    return kept


def _in_statute(level: Level) -> Level:
    """An empty line between a statute's parts means no more than a line."""
    return Level.LINE if level is Level.PARAGRAPH else level


def _headings(text: str) -> list[tuple[Level, re.Match[str]]]:
    found = [(level, match) for level, pattern in _GRAMMAR for match in pattern.finditer(text)]
    found += [
        (_DIVISIONS[match["kind"]], match)
        for match in _DIVISION.finditer(text)
        if not match["heading"].rstrip().endswith((".", ","))  # a sentence that was wrapped
    ]
    return found


ARTICLES = 3
"""Articles with titles that a text must have to be taken for a statute."""

ARTICLE_CHARACTERS = 2000
"""Characters an article of such a text has on average at most."""

PREAMBLE_CHARACTERS = 500
"""Characters that may stand before its first article: the name, the promulgation, a chapter's heading."""


def is_statute(text: str) -> bool:
    """Tell whether a text plainly is a statute (or a contract or by-law, which have the same form).

    It must begin with articles and consist of them: three with titles, each at the start of a line, their numbers
    rising (again from one in addenda), the first near the start, none much longer than articles are. A judgment that
    quotes a statute does not begin with it, and news that name articles have no titles behind them.
    """
    starts, numbers = [], []
    for match in TITLED_ARTICLE.finditer(text):
        line = text.rfind("\n", 0, match.start("heading")) + 1
        if not text[line : match.start("heading")].strip():
            starts.append(match.start("heading"))
            numbers.append(int(match["number"]))
    if len(starts) < ARTICLES or len(text[: starts[0]].strip()) > PREAMBLE_CHARACTERS:
        return False
    rising = all(before <= after or after == 1 for before, after in pairwise(numbers))
    return rising and (len(text) - starts[0]) / len(starts) <= ARTICLE_CHARACTERS
