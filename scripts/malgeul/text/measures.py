"""What can be measured of a text without analysing its morphemes; None where there is nothing to measure.

The definitions of repetition are those of Rae et al. 2021 (Gopher, table A1) as datatrove computes them, over the words
between spaces; the forerunner's shares of Hangul and symbols are its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

_NOT_HANGUL = re.compile(r"[^가-힣ㄱ-ㅣㅥ-ㆎ\u1100-\u115e\u1161-\u11ff\ua960-\ua97c\ud7b0-\ud7fb\uffa1-\uffdc]+")
"""All but syllables and jamo, half-width and old ones among them; fillers, which show nothing, are none."""

_LETTERS_DIGITS_SPACES = re.compile(r"[^\W_]+|\s+")
_SPACES = re.compile(r"\s+")
_SENTENCE_ENDS = re.compile(r"[.?!。．｡？！]")
_PLAIN_SENTENCE_ENDS = re.compile(r"[.?!]")
_RUNS = re.compile(r"(\S)\1{4,}")
_BULLETS = re.compile(r"[-*+•‣⁃◦·ㆍ∙▪▫■□●○◆◇▶▷►※☞★☆✔✓➤➔]")
_SENTENCE_MARKS = (".", "?", "!", "。", "．", "｡", "？", "！", "‼", "⁇", "⁈", "⁉", "؟", "।", "॥")
"""What ends a sentence in the scripts that Korean text mixes with."""

SPAM_WORDS = (
    "카지노",
    "바카라",
    "토토(?!로)",  # a name in films and novels
    "먹튀",
    "꽁머니",
    "슬롯머신",
    "파워볼",
    "홀덤",
    "사설배팅",
    "사설베팅",
    "도박사이트",
    "성인용품",
    "출장안마",
    "출장마사지",
    "조건만남",
    "비아그라",
    "시알리스",
)
"""Words of gambling, sex and pill advertisements, as regular expressions."""

_SPAM = re.compile("|".join(SPAM_WORDS))

SPAM_CHARACTERS = 1000
"""Advertisements name their trade in every line: three such words are one of these, and nothing in twenty pages."""


FEWEST_LINES = 3
"""Of fewer lines there is no share: text from forms and HTML often comes as one line, which may begin with a dash."""

Measured = float | None


def _share(part: int, whole: int) -> Measured:
    return part / whole if whole else None


def count_characters(text: str) -> Measured:
    """Return the number of characters."""
    return len(text)


def hangul_share(text: str) -> Measured:
    """Return the share of Hangul (syllables and jamo) in the characters that are no white space."""
    return _share(len(_NOT_HANGUL.sub("", text)), len(_SPACES.sub("", text)))


def symbol_share(text: str) -> Measured:
    """Return the share of characters that are neither letter, digit nor white space."""
    return _share(len(_LETTERS_DIGITS_SPACES.sub("", text)), len(text))


def replacement_characters_share(text: str) -> Measured:
    """Return the share of U+FFFD, which stands where a program could not read bytes: what was there is lost."""
    return _share(text.count("\ufffd"), len(text))


def count_sentence_ends(text: str) -> Measured:
    """Return how many of ``. ? !`` there are, full-width ones and the ideographic full stop among them."""
    return len(_SENTENCE_ENDS.findall(text))


def count_plain_sentence_ends(text: str) -> Measured:
    """Return how many of ``. ? !`` there are in ASCII (the forerunner's rule)."""
    return len(_PLAIN_SENTENCE_ENDS.findall(text))


def repeated_lines_share(text: str) -> Measured:
    """Return the share of the text's characters that stand in lines seen before in it."""
    return _share(_repeated_characters(map(str.strip, text.split("\n"))), len(text))


def _repeated_characters(lines: Iterable[str]) -> int:
    """Return the characters of the lines that were seen before."""
    seen: set[str] = set()
    repeated = 0
    for line in lines:
        if line in seen:
            repeated += len(line)
        seen.add(line)
    return repeated


def top_ngram_share(text: str, n: int) -> Measured:
    """Return the characters that the most frequent n-gram of words covers, over those of the text; 0 if none recurs.

    The first of equally frequent n-grams counts. Occurrences that overlap count each, so that the value may exceed 1.
    """
    words = text.split()
    grams = Counter(zip(*(words[k:] for k in range(n)), strict=False))
    if not grams:
        return 0.0
    gram, count = grams.most_common(1)[0]
    return len(" ".join(gram)) * count / len(text) if count > 1 else 0.0


def repeated_characters_share(text: str) -> Measured:
    """Return the share of characters in runs of five or more equal ones (white space aside)."""
    return _share(sum(len(run.group()) for run in _RUNS.finditer(text)), len(text))


def bullet_lines_share(text: str) -> Measured:
    """Return the share of lines that begin with a bullet; empty lines do not count."""
    return _lines_share(text, lambda line: bool(_BULLETS.match(line)))


def ellipsis_lines_share(text: str) -> Measured:
    """Return the share of lines that end in an ellipsis; empty lines do not count."""
    return _lines_share(text, lambda line: line.endswith(("...", "…")))


def _lines_share(text: str, fits: Callable[[str], bool]) -> Measured:
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    return _share(sum(map(fits, lines)), len(lines)) if len(lines) >= FEWEST_LINES else None


def repeated_line_count_share(text: str) -> Measured:
    """Return the share of lines that were seen before; runs of line breaks part lines (datatrove's dup_line_frac)."""
    lines = re.split("\n+", text)
    return _share(len(lines) - len(set(lines)), len(lines))


def repeated_line_characters_share(text: str) -> Measured:
    """Return the share of characters, line breaks aside, in lines seen before (datatrove's char_dup_ratio)."""
    return _share(_repeated_characters(_filled_lines(text)), len(text.replace("\n", "")))


def punctuated_lines_share(text: str) -> Measured:
    """Return the share of lines, empty ones aside, that end as a sentence does (datatrove's line_punct_ratio)."""
    lines = _filled_lines(text)
    return _share(sum(line.endswith(_SENTENCE_MARKS) for line in lines), len(lines))


def plain_bullet_lines_share(text: str) -> Measured:
    """Return the share of lines that begin with • or - (Gopher's rule, which has no least number of lines)."""
    lines = text.splitlines()
    return _share(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines))


def plain_ellipsis_lines_share(text: str) -> Measured:
    """Return the share of lines that end in an ellipsis (Gopher's rule, which has no least number of lines)."""
    lines = text.splitlines()
    return _share(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines))


def _filled_lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def count_spam_words(text: str) -> Measured:
    """Return how often a word of :data:`SPAM_WORDS` occurs, in a text of over :data:`SPAM_CHARACTERS` in so many."""
    return len(_SPAM.findall(text)) * SPAM_CHARACTERS / max(SPAM_CHARACTERS, len(text))


TEXT_MEASURES: dict[str, Callable[[str], Measured]] = {
    "characters": count_characters,
    "hangul": hangul_share,
    "symbols": symbol_share,
    "replacement_characters": replacement_characters_share,
    "sentence_ends": count_sentence_ends,
    "repeated_lines": repeated_lines_share,
    "top_2gram": partial(top_ngram_share, n=2),
    "top_3gram": partial(top_ngram_share, n=3),
    "top_4gram": partial(top_ngram_share, n=4),
    "repeated_characters": repeated_characters_share,
    "bullet_lines": bullet_lines_share,
    "ellipsis_lines": ellipsis_lines_share,
    "spam_words": count_spam_words,
    "repeated_line_count": repeated_line_count_share,
    "repeated_line_characters": repeated_line_characters_share,
    "punctuated_lines": punctuated_lines_share,
    "plain_bullet_lines": plain_bullet_lines_share,
    "plain_ellipsis_lines": plain_ellipsis_lines_share,
    "plain_sentence_ends": count_plain_sentence_ends,
}
"""Measures by name."""
