"""Tokenizers as the dataset needs them: pieces with their places in the text, a mask, the special pieces around."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from malgeul.models.loading import folder_of, identity
from malgeul.models.tokenizers import FastTokenizer, load_fast_tokenizer

Ids = npt.NDArray[np.int32]
"""Ids of pieces, (n,)."""

ANY_TEXT = "말"


@dataclass(frozen=True)
class Pieces:
    """A document in pieces: their ids, and of each the characters [start, end) of the text, without space before."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)


class PieceTokenizer:
    """A tokenizer; ``before`` and ``after`` are the special pieces around a sequence.

    ``after`` is at least the token that ends a text, which tokenizers of causal models do not add by themselves.
    Raises ValueError when there is none.
    """

    def __init__(self, tokenizer: FastTokenizer) -> None:
        # A document may write [MASK] or </s>, as an article about models does; that is text of it, no mask and no end.
        tokenizer.backend.encode_special_tokens = True
        self._tokenizer = tokenizer
        bare, whole = tokenizer.ids(ANY_TEXT, special=False), tokenizer.ids(ANY_TEXT)
        at = next(k for k in range(len(whole)) if whole[k : k + len(bare)] == bare)
        before, after = whole[:at], whole[at + len(bare) :]
        if not after and tokenizer.end_id is not None:
            after = [tokenizer.end_id]
        if not after:
            raise ValueError("the tokenizer has no token that ends a text (eos_token or sep_token)")
        self.before, self.after = np.array(before, np.int32), np.array(after, np.int32)

    @property
    def mask_id(self) -> int:
        """Id of the mask token; raises ValueError when there is none."""
        if self._tokenizer.mask_id is None:
            raise ValueError("the tokenizer has no mask token, which samples of masked mentions need")
        return self._tokenizer.mask_id

    def room(self, sequence_length: int) -> int:
        """Return how many pieces of a text a sequence of this length holds beside the special ones."""
        return sequence_length - len(self.before) - len(self.after)

    def pieces(self, text: str) -> Pieces:
        """Return the pieces of a text without special tokens."""
        encoded = self._tokenizer.backend.encode(text, add_special_tokens=False)
        return Pieces(encoded.ids, [_without_space(text, *span) for span in encoded.offsets])

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of the pieces of texts, without special tokens; on all threads that were granted."""
        encoded = self._tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False)
        # array() takes a list of integers in a third of the time that NumPy needs.
        return [np.frombuffer(array("i", one.ids), np.int32) for one in encoded]


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span of a piece without the white space before it, which byte-level BPE and SentencePiece take in."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def load_tokenizer(settings: dict[str, Any]) -> PieceTokenizer:
    """Load the tokenizer that ``settings`` (a TokenizeSettings as data) names."""
    return PieceTokenizer(load_fast_tokenizer(folder_of(settings["tokenizer"], settings["revision"], "tokenizer")))


def tokenizer_identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what names the tokenizer's content: the digest of a folder, or the commit of a hub id."""
    return identity(settings["tokenizer"], settings["revision"], "tokenizer")
