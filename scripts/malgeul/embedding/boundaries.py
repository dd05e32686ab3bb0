"""Where a text may be cut, and how good a place each is."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from enum import IntEnum


class Level(IntEnum):
    """What begins at a place, the strongest first. Names of a statute's parts are those of its official translations.

    A paragraph is a statute's 항, and what stands between empty lines in other texts.
    """

    ADDENDA = 1  # 부칙
    ANNEX = 2  # 별표, 별지
    PART = 3  # 편
    CHAPTER = 4  # 장
    SECTION = 5  # 절
    SUBSECTION = 6  # 관
    ARTICLE = 7  # 조
    PARAGRAPH = 8  # 항
    SUBPARAGRAPH = 9  # 호
    ITEM = 10  # 목
    LINE = 11  # a sentence that begins a line
    SENTENCE = 12
    CLAUSE = 13  # after a comma, or a line that goes on with a sentence
    WORD = 14
    CHARACTER = 15


LINE_BREAK = re.compile(r"(?:\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])\s*")
"""The end of a line with all white space that follows."""

_ONE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")

FILLED = re.compile(r"\S")


class Boundaries:
    """The places at which sentences and stronger parts begin, in the order of the text.

    ``starts[k]`` is the first character of what begins there, ``ends[k]`` the end of what stands before it without the
    white space between, ``levels[k]`` what begins. The text's first character that is not white space is among them.
    """

    def __init__(self, text: str, levels: dict[int, Level]) -> None:
        self.starts = sorted(levels)
        self.levels = [levels[start] for start in self.starts]
        self.ends: list[int] = []
        after = 0
        for start in self.starts:  # white space is looked at once, however many boundaries there are
            self.ends.append(after + len(text[after:start].rstrip()))
            after = start

    def level_at(self, start: int) -> Level | None:
        """Return what begins at a place, None where it is no boundary."""
        k = bisect_left(self.starts, start)
        return self.levels[k] if k < len(self.starts) and self.starts[k] == start else None

    def strongest_end(self, low: int, high: int) -> int | None:
        """Return the last of the best places to end a chunk in [low, high]; None where no sentence ends there."""
        first, stop = bisect_left(self.ends, low), bisect_right(self.ends, high)
        best = min(range(first, stop), key=lambda k: (self.levels[k], -k), default=None)
        return None if best is None or self.levels[best] > Level.SENTENCE else self.ends[best]

    def nearest_end(self, low: int, high: int, wanted: tuple[int, int]) -> int | None:
        """Return the end of a sentence in [low, high] nearest to the range ``wanted``; None if none is there."""
        first, stop = bisect_left(self.ends, low), bisect_right(self.ends, high)
        sentences = (k for k in range(first, stop) if self.levels[k] <= Level.SENTENCE)
        best = min(sentences, key=lambda k: (max(wanted[0] - self.ends[k], self.ends[k] - wanted[1]), k), default=None)
        return None if best is None else self.ends[best]

    def strongest_start(self, low: int, high: int) -> int | None:
        """Return the first of the best places to begin in [low, high]; None where no sentence begins there."""
        first, stop = bisect_left(self.starts, low), bisect_right(self.starts, high)
        best = min(range(first, stop), key=lambda k: (self.levels[k], k), default=None)
        return None if best is None or self.levels[best] > Level.SENTENCE else self.starts[best]


def prose_levels(text: str, sentences: Iterable[int]) -> dict[int, Level]:
    """Return what begins where: sentences at the given places, lines, and paragraphs after empty lines."""
    levels = dict.fromkeys(sentences, Level.SENTENCE)
    for match in LINE_BREAK.finditer(text):
        start = match.end()
        if start == len(text):
            break
        if len(_ONE_BREAK.findall(match[0])) > 1:
            levels[start] = Level.PARAGRAPH
        else:
            levels[start] = Level.LINE if start in levels else Level.CLAUSE
    if first := FILLED.search(text):
        levels[first.start()] = Level.PARAGRAPH
    return levels
