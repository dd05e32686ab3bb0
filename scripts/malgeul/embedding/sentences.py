"""Where sentences begin: by Kiwi, which knows Korean endings, or by punctuation alone.

``python -m malgeul.embedding.sentences THREADS`` is the process that Kiwi runs in; SentenceProcess starts it.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from malgeul.embedding.boundaries import LINE_BREAK
from malgeul.models.kiwi import KiwiReader, Segment
from malgeul.models.kiwi_process import KiwiProcess, serve

_END = re.compile(r"(?:(?<!\d)\.|[?!…])[\"'”’」』)\]]*\s+")
"""The end of a sentence with the white space behind it. Behind a digit a full stop ends a date or a list's number."""

_LOOK_BACK = 100
"""Characters before a segment in which the end of a sentence is looked for."""


_SYLLABLE = "[가나다라마바사아자차카타파하]"

_NUMBER = re.compile(
    rf"""(?:^|[.?!…]["'”’」』)\]]*[ \t]+)[ \t]*
    (?P<number>{_SYLLABLE}[.)]|\({_SYLLABLE}\)|\(?\d{{1,3}}\)|[①-⑳]|[IVXⅠ-Ⅻ]{{1,4}}\.|[A-Za-z][.)])[ \t]*\Z""",
    re.MULTILINE | re.VERBOSE,
)
"""What numbers a sentence: 나. 1) (가) ① at the start of a line or behind a sentence, and nothing else before it."""

_NUMBER_CHARACTERS = 16
"""Characters before a sentence in which its number is looked for."""

_BRACKET = re.compile(r"[(（)）\n]")

_BRACKETED_CHARACTERS = 300
"""Characters of a pair of brackets, at most, within which no sentence begins."""


def punctuation_starts(text: str) -> list[int]:
    """Return where sentences begin, by punctuation and line ends."""
    found = {match.end() for pattern in (_END, LINE_BREAK) for match in pattern.finditer(text)}
    first = len(text) - len(text.lstrip())
    return whole_sentences(text, {first, *found} - {len(text)})


def whole_sentences(text: str, starts: Iterable[int]) -> list[int]:
    """Return where sentences begin with their numbers, none of them within brackets.

    「나. 쟁점은 다음과 같다.」 begins with 나; in 「법인(그 지점을 포함한다. 이하 같다)이」 none does.
    """
    brackets = _brackets(text)
    opened = [start for start, _ in brackets]

    def is_within(start: int) -> bool:
        k = bisect_left(opened, start) - 1
        if k < 0 or start > brackets[k][1]:
            return False
        # right behind a bracket that closes within a sentence a word goes on: (이하 같다)이
        return start < brackets[k][1] or text[start - 2] not in ".?!…"

    return sorted({_with_number(text, start) for start in starts if not is_within(start)})


def _with_number(text: str, start: int) -> int:
    found = _NUMBER.search(text, max(0, start - _NUMBER_CHARACTERS), start)
    return found.start("number") if found else start


def _brackets(text: str) -> list[tuple[int, int]]:
    """Return where round brackets open and where they end, the outermost pairs of each line."""
    pairs, opened = [], []
    for match in _BRACKET.finditer(text):
        if match[0] in "(（":
            opened.append(match.start())
        elif match[0] == "\n":
            opened.clear()
        elif opened:
            start = opened.pop()
            if not opened and match.end() - start <= _BRACKETED_CHARACTERS:
                pairs.append((start, match.end()))
    return pairs


class SentenceSplitter(KiwiReader[list[int]]):
    """Texts to the places where Kiwi's sentences begin. None is a white space."""

    def ask(self, texts: str | Iterable[str]) -> Any:
        """Return the sentences of a text, or an iterator of such lists."""
        return self.kiwi.split_into_sents(texts, return_sub_sents=False)

    def summarize(self, text: str, pieces: Sequence[Segment], answers: Sequence[Any]) -> list[int]:
        """Return the starts of all sentences of a document; where a segment was cut within one, none begins."""
        starts = []
        for piece, sentences in zip(pieces, answers, strict=True):
            for number, sentence in enumerate(sentences):
                start = piece.start + sentence.start
                if (number or not piece.start or _ended_before(text, start)) and not text[start].isspace():
                    starts.append(start)
        return whole_sentences(text, starts)


def _ended_before(text: str, start: int) -> bool:
    """Tell whether a line or a sentence ends before a place."""
    before = text[max(0, start - _LOOK_BACK) : start]
    return bool(LINE_BREAK.search(before[len(before.rstrip()) :])) or any(
        match.end() == len(before) for match in _END.finditer(before)
    )


class SentenceProcess(KiwiProcess[list[int]]):
    """Like :class:`SentenceSplitter`, but no text can take the job's own process down. A context manager."""

    def __init__(self, threads: int) -> None:
        super().__init__("malgeul.embedding.sentences", threads)

    def decode(self, fields: Any) -> list[int]:
        """Return the starts as they came."""
        return list(fields)


if __name__ == "__main__":
    serve(SentenceSplitter(int(sys.argv[1])), list, sys.stdin.buffer, sys.stdout.buffer)
