"""Tokenizers as the dataset needs them: pieces with their places in the text, a mask, the special pieces around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from malgeul.models.loading import folder_of, identity
from malgeul.models.tokenizers import FastTokenizer, load_fast_tokenizer


@dataclass(frozen=True)
class Pieces:
    """A document in pieces: their ids, and of each the characters [start, end) of the text."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)


class PieceTokenizer:
    """A tokenizer with a mask token; ``before`` and ``after`` are the special pieces around a sequence."""

    def __init__(self, tokenizer: FastTokenizer) -> None:
        if tokenizer.mask_id is None or tokenizer.mask_token is None:
            raise ValueError("the tokenizer has no mask token, which samples of masked mentions need")
        self._tokenizer = tokenizer
        self.mask_id = tokenizer.mask_id
        marked = tokenizer.ids(tokenizer.mask_token)
        at = marked.index(self.mask_id)
        self.before, self.after = marked[:at], marked[at + 1 :]

    def pieces(self, text: str) -> Pieces:
        """Return the pieces of a text without special tokens."""
        encoded = self._tokenizer.backend.encode(text, add_special_tokens=False)
        return Pieces(encoded.ids, encoded.offsets)


def load_tokenizer(settings: dict[str, Any]) -> PieceTokenizer:
    """Load the tokenizer that ``settings`` (a TokenizeSettings as data) names."""
    return PieceTokenizer(load_fast_tokenizer(folder_of(settings["tokenizer"], settings["revision"])))


def tokenizer_identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what names the tokenizer's content: the digest of a folder, or the commit of a hub id."""
    return identity(settings["tokenizer"], settings["revision"])
