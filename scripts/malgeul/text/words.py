"""What FineWeb-2 measures of a document's words, which for Korean are Kiwi's morphemes; None where there is no word.

The definitions are those of datatrove's Gopher and FineWeb filters (Rae et al. 2021, table A1; Penedo et al. 2024), so
that its thresholds mean the same here. N-grams are counted as numbers, an n-gram a number: no string is built for one.
Only where datatrove joins repeated 5- to 10-grams without spaces, so that 강남|서 and 강|남서 are one, are they two
here: of 476 petitions 3 have another share by that, and none another verdict.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
import numpy.typing as npt

from malgeul.text.measures import Measured

Numbers = npt.NDArray[np.int64]

# fmt: off
STOPWORDS = frozenset({
    "의", "다", "이", "는", "에", "을", "한", "년", "하", "은", "를",
    "했", "고", "에서", "가", "있", "으로", "인", "월", "로", "되",
})
# fmt: on
"""FineWeb-2's stop words for Korean, as morphemes."""


@lru_cache(1 << 16)
def _has_letter(word: str) -> bool:
    return any(character.isalpha() for character in word)


@lru_cache(1 << 16)
def _is_symbols(word: str) -> bool:
    """Return whether a word is nothing but punctuation, symbols and control characters."""
    return all(unicodedata.category(character)[0] in "PSC" for character in word)


@dataclass(frozen=True)
class Words:
    """The words of a text, as they stand in it."""

    text: str
    words: Sequence[str]

    @cached_property
    def _known(self) -> dict[str, int]:
        """The different words, each with a number, in the order of the numbers."""
        return {word: number for number, word in enumerate(dict.fromkeys(self.words))}

    @cached_property
    def numbers(self) -> Numbers:
        """A number for each word, the same for the same word."""
        return np.fromiter(map(self._known.__getitem__, self.words), np.int64, len(self.words))

    @cached_property
    def _counts(self) -> Sequence[tuple[str, int]]:
        """The different words and how often each occurs."""
        return list(zip(self._known, np.bincount(self.numbers).tolist(), strict=True)) if self.words else []

    @cached_property
    def _ends(self) -> Numbers:
        lengths = np.fromiter(map(len, self._known), np.int64, len(self._known))
        return np.concatenate([[0], np.cumsum(lengths[self.numbers])])

    @cached_property
    def _known_grams(self) -> dict[int, Numbers]:
        return {1: self.numbers}

    def grams(self, n: int) -> Numbers:
        """Return a number below their count for every n-gram, the same for the same words."""
        if n not in self._known_grams:
            pairs = self.grams(n - 1)[:-1] * np.int64(len(self.words)) + self.numbers[n - 1 :]
            self._known_grams[n] = np.unique(pairs, return_inverse=True)[1].reshape(-1)
        return self._known_grams[n]

    def top_share(self, n: int) -> Measured:
        """Return the characters of the most frequent n-gram, spaces included, times its count, over the text's.

        Of equally frequent ones the first counts, also where none occurs twice.
        """
        if not self.text or len(self.words) < n:
            return None
        grams = self.grams(n)
        counts = np.bincount(grams)
        at = int(np.argmax(counts[grams] == counts.max()))
        length = int(self._ends[at + n] - self._ends[at]) + n - 1
        return length * int(counts.max()) / len(self.text)

    def repeated_share(self, n: int) -> Measured:
        """Return the characters in n-grams seen before, over the text's; repeated ones are not counted overlapping."""
        if not self.text:
            return None
        if len(self.words) < n:
            return 0.0
        grams = self.grams(n)
        places = np.flatnonzero(np.bincount(grams)[grams] > 1)  # the others are seen once, whatever is skipped
        seen: set[int] = set()
        repeated = after = 0
        for at, gram in zip(places.tolist(), grams[places].tolist(), strict=True):
            if at < after:
                continue
            if gram in seen:
                after = at + n
                repeated += int(self._ends[after] - self._ends[at])
            else:
                seen.add(gram)
        return repeated / len(self.text)

    @cached_property
    def _no_symbols(self) -> list[tuple[str, int]]:
        return [(word, n) for word, n in self._counts if not _is_symbols(word)]

    def count(self) -> Measured:
        """Return how many words there are that are no mere symbols."""
        return sum(n for _, n in self._no_symbols)

    def mean_length(self) -> Measured:
        """Return the characters of a word on average, mere symbols aside."""
        count = self.count()
        return sum(len(word) * n for word, n in self._no_symbols) / count if count else None

    def per_word(self, *marks: str) -> Measured:
        """Return how often the marks occur in the text, over its words."""
        return sum(map(self.text.count, marks)) / len(self.words) if self.words else None

    def letters_share(self) -> Measured:
        """Return the share of words with at least one letter."""
        return sum(n for word, n in self._counts if _has_letter(word)) / len(self.words) if self.words else None

    def stopwords(self) -> Measured:
        """Return how many different stop words occur, as they are written."""
        return len(STOPWORDS & self._known.keys())


WORD_MEASURES: dict[str, Callable[[Words], Measured]] = {
    **{f"word_top_{n}gram": partial(Words.top_share, n=n) for n in (2, 3, 4)},
    **{f"word_repeated_{n}grams": partial(Words.repeated_share, n=n) for n in range(5, 11)},
    "line_breaks_per_word": lambda words: words.per_word("\n"),
    "words": Words.count,
    "word_length": Words.mean_length,
    "hashes_per_word": lambda words: words.per_word("#"),
    "ellipses_per_word": lambda words: words.per_word("...", "…"),
    "words_with_letters": Words.letters_share,
    "written_stopwords": Words.stopwords,
}
"""Measures by name."""
