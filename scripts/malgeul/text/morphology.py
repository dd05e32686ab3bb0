"""Kiwi's analysis of documents: one pass that serves the filter and the mentions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from malgeul.models.kiwi import KiwiReader, Segment
from malgeul.text.words import STOPWORDS, WORD_MEASURES, Words

PREDICATE_TAGS = frozenset({"EF", "EC", "ETM", "ETN"})
"""Endings: a text with sentences has them, a list of names and keywords has not."""

PROPER_NOUN = "NNP"
PRONOUN = "NP"
SHORTEST_MENTION = 2

TAG_MEASURES = ("stopwords", "predicates", "proper_nouns", "pronouns")
"""How many different stop words occur, by their dictionary form; the shares of endings and of proper nouns in all
morphemes; how many pronouns there are."""

MORPHEME_MEASURES = (*TAG_MEASURES, *WORD_MEASURES)
"""Measures that need the morphemes."""


@dataclass(frozen=True)
class Analysis:
    """What is kept of a document's morphemes. ``mentions`` are rows of :data:`malgeul.shards.tables.MENTIONS`."""

    n_morphemes: int
    measured: dict[str, float | None]
    mentions: list[dict[str, Any]]


def summarize(text: str, pieces: Sequence[Segment], tokens: Sequence[Any], measures: Sequence[str]) -> Analysis:
    """Sum up the tokens of a document's segments. A mention is the surface in the text, not a dictionary form."""
    stopwords: set[str] = set()
    mentions: list[dict[str, Any]] = []
    n_morphemes = endings = names = pronouns = 0
    for piece, found in zip(pieces, tokens, strict=True):
        n_morphemes += len(found)
        for token in found:
            tag = token.tag
            if tag in PREDICATE_TAGS:
                endings += 1
            if tag == PRONOUN:
                pronouns += 1
            if token.form in STOPWORDS:
                stopwords.add(token.form)
            if tag == PROPER_NOUN:
                names += 1
                if token.len >= SHORTEST_MENTION:
                    start = piece.start + token.start
                    end = start + token.len
                    mentions.append({"surface": text[start:end], "start": start, "end": end, "tag": tag})
    measured: dict[str, float | None] = {
        "stopwords": float(len(stopwords)),
        "predicates": endings / n_morphemes if n_morphemes else None,
        "proper_nouns": names / n_morphemes if n_morphemes else None,
        "pronouns": float(pronouns),
    }
    if asked := [name for name in measures if name in WORD_MEASURES]:
        words = Words(text, surfaces(pieces, tokens))
        measured |= {name: WORD_MEASURES[name](words) for name in asked}
    return Analysis(n_morphemes, measured, mentions)


def surfaces(pieces: Sequence[Segment], tokens: Sequence[Any]) -> list[str]:
    """Return the morphemes as they stand in the text, without those that are only part of a syllable or space."""
    found = (
        piece.text[token.start : token.start + token.len].strip()
        for piece, of_piece in zip(pieces, tokens, strict=True)
        for token in of_piece
    )
    return [word for word in found if word]


class MorphemeAnalyzer(KiwiReader[Analysis]):
    """Texts to what is kept of their morphemes.

    ``measures`` names what of :data:`MORPHEME_MEASURES` is asked for; what only needs tags is always there.
    """

    def __init__(self, threads: int, measures: Sequence[str] = ()) -> None:
        super().__init__(threads)
        self.measures = measures

    def ask(self, texts: str | Iterable[str]) -> Any:
        """Return the tokens of a text, or an iterator of them."""
        return self.kiwi.tokenize(texts)

    def summarize(self, text: str, pieces: Sequence[Segment], answers: Sequence[Any]) -> Analysis:
        """Sum up the tokens of a document's segments."""
        return summarize(text, pieces, answers, self.measures)
