"""Fast tokenizers by hub id or folder, as what the dataset needs of them: pieces with their places in the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgeul.models.loading import identity
from malgeul.models.local import resolve


@dataclass(frozen=True)
class Pieces:
    """A document in pieces: their ids, and of each the characters [start, end) of the text."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)


class PieceTokenizer:
    """A fast tokenizer without padding or truncation."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise ValueError("the tokenizer gives no offsets: it needs a fast one (tokenizer.json)")
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask token, which samples of masked mentions need")
        self._tokenizer = tokenizer
        self.mask_id: int = tokenizer.mask_token_id
        # What the tokenizer puts around a single sequence, found by asking it.
        empty: list[int] = tokenizer("", add_special_tokens=True)["input_ids"]
        marked: list[int] = tokenizer(tokenizer.mask_token, add_special_tokens=True)["input_ids"]
        at = marked.index(self.mask_id)
        self.before, self.after = marked[:at], marked[at + 1 :]
        assert self.before + self.after == empty

    def pieces(self, text: str) -> Pieces:
        """Return the pieces of a text without special tokens."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return Pieces(encoded["input_ids"], encoded["offset_mapping"])


def load_tokenizer(settings: dict[str, Any], root: str) -> PieceTokenizer:
    """Load the tokenizer that ``settings`` (a TokenizeSettings as data) names; paths may lie beside the Snakefile."""
    from transformers import AutoTokenizer

    place = resolve(settings["tokenizer"], Path(root))
    revision = None if place else settings["revision"]
    name = str(place or settings["tokenizer"])
    return PieceTokenizer(AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False))


def tokenizer_identity(settings: dict[str, Any], root: str) -> dict[str, Any]:
    """Return what names the tokenizer's content: the digest of a folder, or the commit of a hub id."""
    return identity(settings["tokenizer"], settings["revision"], Path(root))
