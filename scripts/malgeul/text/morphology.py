"""Kiwi's analysis of documents: one pass that serves the filter and the mentions.

Kiwi runs its own threads over an iterable and returns results in order, so that they are the same for any number of
threads. What it is given is cut beforehand: runs of more than about 8,192 characters without a space have aborted the
process, and the time of one analysis grows with the square of its length (0.3 million characters take 16 s).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from malgeul.shards.faults import Fault, is_transient
from malgeul.text.words import STOPWORDS, WORD_MEASURES, Words

SEGMENT_CHARACTERS = 4000
"""A longer text is analysed in segments, cut at a line's end, else at a space, else (no space at all) anywhere."""

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


@dataclass(frozen=True)
class Segment:
    """A piece of a document that is analysed by itself: where it starts, and its text."""

    start: int
    text: str


def segments(text: str, limit: int = SEGMENT_CHARACTERS) -> list[Segment]:
    """Cut a text into pieces of at most ``limit`` characters; joined, they are the text."""
    pieces: list[Segment] = []
    start = 0
    while len(text) - start > limit:
        end = start + limit
        cut = text.rfind("\n", start, end)
        if cut <= start:
            cut = text.rfind(" ", start, end)
        end = cut + 1 if cut > start else end
        pieces.append(Segment(start, text[start:end]))
        start = end
    return [*pieces, Segment(start, text[start:])]


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


class SourceFailed(Exception):
    """The iterable of texts raised ``error``: kept apart from what the analysis raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class MorphemeAnalyzer:
    """Kiwi with as many threads of its own as were granted. The model is loaded when the first text comes.

    ``measures`` names what of :data:`MORPHEME_MEASURES` is asked for; what only needs tags is always there.
    """

    def __init__(self, threads: int, measures: Sequence[str] = ()) -> None:
        self.threads, self.measures = threads, measures

    @cached_property
    def kiwi(self) -> Any:
        """The loaded model (about 2 s and 0.5 GB)."""
        from kiwipiepy import Kiwi

        return Kiwi(num_workers=self.threads)

    def analyze(self, texts: Iterable[str]) -> Iterator[Analysis | Fault]:
        """Yield an analysis per text, in order; a fault for a text on which Kiwi raises. An empty text costs nothing.

        Texts are pulled some 16 per thread ahead. When Kiwi raises, it drops a text and goes on, which would shift all
        later results; so its answers are given up there, and the texts under way are analysed one by one.
        """
        source = iter(texts)
        waiting: deque[tuple[str, list[Segment]]] = deque()
        while True:
            try:
                yield from self._together(source, waiting)
            except SourceFailed as failure:
                raise failure.error from None
            except Exception as error:
                if is_transient(error) or not waiting:
                    raise
            if not waiting:
                return
            while waiting:
                yield self._alone(*waiting.popleft())

    def _together(self, source: Iterator[str], waiting: deque[tuple[str, list[Segment]]]) -> Iterator[Analysis]:
        """Yield analyses while Kiwi answers; ``waiting`` holds the texts that it was given and has not answered."""

        def feed() -> Iterator[str]:
            while True:
                try:
                    text = next(source)
                except StopIteration:
                    return
                except Exception as error:
                    raise SourceFailed(error) from error
                pieces = segments(text)
                waiting.append((text, pieces))
                for piece in pieces:
                    yield piece.text

        tokens: list[Any] = []
        for answer in self.kiwi.tokenize(feed()):
            tokens.append(answer)
            text, pieces = waiting[0]
            if len(tokens) == len(pieces):
                analysis = summarize(text, pieces, tokens, self.measures)
                waiting.popleft()
                tokens = []
                yield analysis

    def _alone(self, text: str, pieces: list[Segment]) -> Analysis | Fault:
        try:
            tokens = [self.kiwi.tokenize(piece.text) for piece in pieces]
            return summarize(text, pieces, tokens, self.measures)
        except Exception as error:  # whatever it is, it is this document's and is recorded as such
            if is_transient(error):
                raise
            return Fault("UNTOKENIZABLE", f"{type(error).__name__}: {error}", "analysed by itself")
