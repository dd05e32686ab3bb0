"""Tokens as the embedding model will count them: how many a text has, and where in it they begin."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from malgeul.embedding.recipe import Recipe, read_recipe
from malgeul.models.kiwi import segments
from malgeul.models.loading import folder_of
from malgeul.models.tokenizers import FastTokenizer, load_fast_tokenizer

BLOCK_CHARACTERS = 1 << 16
"""A longer text is tokenized in blocks to find where tokens begin: some tokenizers take more than linear time."""

LEAST_ROOM = 32
"""Tokens that must be left for the text, so that any single character of it fits."""


class TextTokenizer:
    """A model's tokenizer as chunking needs it. ``longest`` is how many tokens the model takes, all of them counted.

    Raises ValueError when the model's prompt leaves hardly any room for text.
    """

    def __init__(self, tokenizer: FastTokenizer, recipe: Recipe) -> None:
        self._tokenizer, self._prompt = tokenizer, recipe.prompt
        self.longest = recipe.longest
        self.frame = self.count("")
        if self.longest - self.frame < LEAST_ROOM:
            raise ValueError(
                f"the model takes {self.longest} tokens, of which its prompt and special tokens are {self.frame}: "
                f"too few are left for text (at least {LEAST_ROOM})"
            )

    def count(self, text: str) -> int:
        """Return the number of tokens that the model is fed for a text: with its prompt and special tokens."""
        return len(self._tokenizer.ids(self._prompt + text))

    def count_bare(self, text: str) -> int:
        """Return the number of tokens of a text by itself."""
        return len(self._tokenizer.ids(text, special=False))

    def starts(self, text: str) -> list[int]:
        """Return where the tokens of a text begin, in order.

        A piece of the text may have a few more or less than begin in it, or even many (a word that is unknown as a
        whole is one token, parts of it may be many): what begins where is for planning, :meth:`count` decides.
        """
        blocks = segments(text, BLOCK_CHARACTERS)
        encoded = self._tokenizer.backend.encode_batch([block.text for block in blocks], add_special_tokens=False)
        return [
            block.start + start
            for block, encoding in zip(blocks, encoded, strict=True)
            for start, end in encoding.offsets
            if end > start
        ]


class TokenPlaces:
    """Distances in tokens within one text, by where its tokens begin."""

    def __init__(self, starts: Sequence[int], stop: int) -> None:
        self._starts, self._stop = starts, stop

    def forward(self, place: int, tokens: int) -> int:
        """Return the place that is ``tokens`` behind another, at most the text's end."""
        k = bisect_left(self._starts, place) + tokens
        return min(self._starts[k], self._stop) if k < len(self._starts) else self._stop

    def back(self, place: int, tokens: int) -> int:
        """Return the place that is ``tokens`` before another, at least 0."""
        if not tokens:
            return place
        k = bisect_left(self._starts, place) - tokens
        return self._starts[k] if k > 0 else 0

    def between(self, start: int, end: int) -> int:
        """Return how many tokens begin in [start, end)."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)


class CharacterPlaces:
    """Distances in characters within one text."""

    def __init__(self, stop: int) -> None:
        self._stop = stop

    def forward(self, place: int, characters: int) -> int:
        """Return the place that is ``characters`` behind another, at most the text's end."""
        return min(place + characters, self._stop)

    def back(self, place: int, characters: int) -> int:
        """Return the place that is ``characters`` before another, at least 0."""
        return max(place - characters, 0)

    def between(self, start: int, end: int) -> int:
        """Return how many characters [start, end) has."""
        return end - start


def load_text_tokenizer(settings: dict[str, Any]) -> TextTokenizer:
    """Load the tokenizer of the embedding model that ``settings`` (model, revision, prompt) names."""
    folder = folder_of(settings["model"], settings["revision"])
    return TextTokenizer(load_fast_tokenizer(folder), read_recipe(folder, settings["prompt"]))
