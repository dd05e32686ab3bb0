"""Documents to chunks: whole sentences and paragraphs where they fit, never over the limits, nothing left out.

What holds for every document and every strategy: each character that is not white space lies in a chunk,
``text[start:end]`` is the chunk, none is empty or longer than asked, in characters and in tokens as the model is fed
them; chunks begin and end further and further on, and share no more with the one before than was asked.

A chunk ends at the strongest boundary between the smallest and the largest size (a statute's article before its
paragraph, a paragraph before a sentence), the last of those that are equal. Where no sentence ends there, the nearest
end of one that leaves both sides half of the smallest size is taken; then a comma, a space, a character. The time is
linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from malgeul.embedding.boundaries import FILLED, Boundaries, Level
from malgeul.embedding.sizes import Size
from malgeul.embedding.tokens import CharacterPlaces, TextTokenizer, TokenPlaces
from malgeul.shards.faults import ItemFault

WHOLE = "document"
"""Level of a chunk that is all of its document."""

CHARACTERS_PER_TOKEN = 8
"""A chunk of n tokens has at most 8 n characters: a word that is unknown to the tokenizer is one token however long."""

_CLAUSE = re.compile(r"[,，、;；](?=\s)|(?=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")

_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")

_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""Regional indicators: two of them are a flag."""

_FLAGS = 1024
"""Flags in a row are told apart as far back as so many letters, so that the time stays linear."""

_LONGEST_CLUSTER = 32
"""Characters that are kept together at most: an emoji of many parts, a letter with its marks."""


@dataclass(frozen=True)
class Chunk:
    """The characters [start, end) of a document, of which the first ``overlap`` are in the chunk before.

    ``tokens`` is what the model is fed, ``level`` what begins where its own part does (:class:`Level` in lower case),
    ``size`` the category of its size, ``query_type`` what that was chosen for.
    """

    start: int
    end: int
    tokens: int
    overlap: int
    level: str
    size: str
    query_type: str | None


class Text:
    """A document's text with its tokens, to be cut in one size or several."""

    def __init__(self, text: str, tokenizer: TextTokenizer) -> None:
        self.text, self.tokenizer = text, tokenizer
        self.stop = len(text.rstrip())
        self.start = self.stop - len(text[: self.stop].lstrip())
        self.places = TokenPlaces(tokenizer.starts(text), self.stop)

    def is_one_chunk(self, size: Size) -> bool:
        """Tell whether the whole text is within the limits of a size, or there is none."""
        return self.start == self.stop or (
            self.stop <= self.furthest(self.start, size)
            and self.tokenizer.count(self.text[self.start : self.stop]) <= self.most_tokens(size)
        )

    def most_tokens(self, size: Size) -> int:
        """Return how many tokens a chunk may have, prompt and special tokens counted."""
        return min(size.longest, self.tokenizer.longest) if size.unit == "tokens" else self.tokenizer.longest

    def furthest(self, start: int, size: Size) -> int:
        """Return the last place where a chunk may end, as far as places tell."""
        most = self.most_tokens(size)
        characters = size.longest if size.unit == "chars" else CHARACTERS_PER_TOKEN * most
        return min(start + characters, self.places.forward(start, most - self.tokenizer.frame), self.stop)


def chunks_of(text: Text, boundaries: Boundaries, size: Size) -> Iterator[Chunk]:
    """Yield the chunks of a text in one size.

    Raises ItemFault (UNCHUNKABLE) where a single character has more tokens than the model takes.
    """
    if text.start < text.stop:
        yield from _Cutter(text, boundaries, size).chunks()


class _Cutter:
    """Cuts one text in one size. ``own`` is where that part of a chunk begins which the one before has not."""

    def __init__(self, text: Text, boundaries: Boundaries, size: Size) -> None:
        self.whole, self.text, self.stop = text, text.text, text.stop
        self.boundaries, self.size = boundaries, size
        self.most_tokens = text.most_tokens(size)
        self.ruler = text.places if size.unit == "tokens" else CharacterPlaces(text.stop)

    def chunks(self) -> Iterator[Chunk]:
        start = own = self.whole.start
        before = start
        while True:
            found = self._end(start, own)
            if found is None:  # what is shared leaves no room for anything else
                start = own
                continue
            end, tokens = found
            level = WHOLE if (start, end) == (self.whole.start, self.stop) else self._level(own).name.lower()
            shared = max(0, before - start)
            yield Chunk(start, end, tokens, shared, level, self.size.category, self.size.query_type)
            if end == self.stop:
                return
            before, own = end, self._filled(end)
            start = self._shared_start(start, end) or own

    def _level(self, own: int) -> Level:
        level = self.boundaries.level_at(own)
        return level or (Level.WORD if self.text[own - 1].isspace() else Level.CHARACTER)

    def _filled(self, place: int) -> int:
        found = FILLED.search(self.text, place)
        assert found is not None  # place lies before the text's last character
        return found.start()

    # Where a chunk ends

    def _end(self, start: int, own: int) -> tuple[int, int] | None:
        """Return the end of a chunk and its tokens, None where only less than it shares would fit."""
        limit = self.whole.furthest(start, self.size)
        step = 1
        while limit > own:
            end = self.stop if self.stop <= limit else self._choose(start, own, limit)
            tokens = self.whole.tokenizer.count(self.text[start:end])
            if tokens <= self.most_tokens:
                return end, tokens
            # The tokens of a piece are not always those that begin in it: less, and ever faster so.
            limit = min(end - 1, self.whole.places.back(end, (tokens - self.most_tokens) * step))
            if limit <= own < end - 1:
                limit = (own + end) // 2
            step *= 2
        if start < own:
            return None
        raise ItemFault("UNCHUNKABLE", f"the character at {start} alone is over {self.most_tokens} tokens")

    def _choose(self, start: int, own: int, limit: int) -> int:
        """Return where to end a chunk: behind ``own``, at ``limit`` at most, before the text's end."""
        ahead = self.ruler.forward(start, self.size.shortest) - start
        behind = self.stop - self.ruler.back(self.stop, self.size.shortest)
        if ahead >= limit - start:  # the model takes less than the smallest size
            ahead = behind = (limit - start) // 2
        least, most = start + ahead, min(limit, self.stop - behind)
        low, high = max(start + ahead // 2, own + 1), min(limit, self.stop - behind // 2)
        if most < least:  # there is not enough for two of the smallest size: about half each
            least, most = most, least
        least = max(least, own + 1)
        most = max(least, min(most, limit))
        return (
            self.boundaries.strongest_end(least, most)
            or self.boundaries.nearest_end(low, high, (least, most))
            or self._last_clause(least, most)
            or self._last_word(least, most)
            or self._trimmed(self._between_clusters(most, least))
        )

    def _last_clause(self, least: int, most: int) -> int | None:
        ends = [match.end() for match in _CLAUSE.finditer(self.text, least - 1, most + 1)]
        return self._trimmed(ends[-1]) if ends and least <= ends[-1] else None

    def _last_word(self, least: int, most: int) -> int | None:
        for place in range(most, least - 1, -1):
            if self.text[place].isspace():
                return self._trimmed(place)
        return None

    def _between_clusters(self, place: int, low: int) -> int:
        """Return the last place up to ``place`` that parts no letter from its marks and no emoji from its parts."""
        for at in range(place, max(low, place - _LONGEST_CLUSTER) - 1, -1):
            if not _goes_on(self.text, at):
                return at
        return place

    def _trimmed(self, end: int) -> int:
        while self.text[end - 1].isspace():
            end -= 1
        return end

    # Where the next one begins

    def _shared_start(self, start: int, end: int) -> int | None:
        """Return where a chunk begins that shares its beginning with the chunk [start, end), None for no sharing.

        At least half of what is asked is shared: from the strongest boundary in reach, else from a word, else from a
        character.
        """
        asked = self.size.shared(self.ruler.between(start, end))
        low = max(self.ruler.back(end, asked), start + 1)
        while asked and low < end:
            high = min(max(low, self.ruler.back(end, asked // 2)), end - 1)
            place = self.boundaries.strongest_start(low, high) or self._first_word(low, high) or self._cluster(low, end)
            if place >= end:
                return None
            if self.size.unit == "chars" or self.whole.tokenizer.count_bare(self.text[place:end]) <= asked:
                return place
            low = max(place + 1, (low + end) // 2)  # by itself it has more tokens than begin there
        return None

    def _first_word(self, low: int, high: int) -> int | None:
        for place in range(low, high + 1):
            if self.text[place - 1].isspace() and not self.text[place].isspace():
                return place
        return None

    def _cluster(self, place: int, end: int) -> int:
        """Return the first place from ``place`` on where a character stands that goes on with none before."""
        while place < end and (self.text[place].isspace() or _goes_on(self.text, place)):
            place += 1
        return place


def _goes_on(text: str, place: int) -> bool:
    """Tell whether the character at a place belongs to the one before it."""
    character = text[place]
    return (
        character in _JOINERS
        or text[place - 1] == "\u200d"
        or unicodedata.category(character) in {"Mn", "Mc", "Me"}
        or "\u1160" <= character <= "\u11ff"  # vowels and finals of decomposed syllables
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags, of flags such as that of Scotland
        or (character in _FLAG_LETTERS and _flag_letters_before(text, place) % 2 == 1)
    )


def _flag_letters_before(text: str, place: int) -> int:
    before = text[max(0, place - _FLAGS) : place]
    return len(before) - len(before.rstrip(_FLAG_LETTERS))
