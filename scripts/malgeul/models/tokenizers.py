"""Fast tokenizers without transformers, whose import costs seconds that a job which only counts pieces can save."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FastTokenizer:
    """A tokenizer of the ``tokenizers`` library that neither pads nor truncates, and tokens that it may not have."""

    backend: Any
    mask_token: str | None
    end_token: str | None = None

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token."""
        return None if self.mask_token is None else self.backend.token_to_id(self.mask_token)

    @property
    def end_id(self) -> int | None:
        """Id of the token that ends a text."""
        return None if self.end_token is None else self.backend.token_to_id(self.end_token)

    def ids(self, text: str, *, special: bool = True) -> list[int]:
        """Return the ids of a text's pieces, with the special ones around it unless told otherwise."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=special).ids
        return ids


def load_fast_tokenizer(folder: Path) -> FastTokenizer:
    """Load the tokenizer of a model's folder.

    Where it has no tokenizer.json, transformers converts what it has; raises ValueError where that gives no fast one.
    """
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        from transformers import AutoTokenizer

        backend = backend_of(AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False), folder)
    backend.no_padding()
    backend.no_truncation()
    end = _special(folder, "eos_token") or _special(folder, "sep_token")
    return FastTokenizer(backend, _special(folder, "mask_token"), end)


def backend_of(tokenizer: Any, folder: Path) -> Any:
    """Return what a tokenizer of transformers runs on; raises ValueError where it is no fast one."""
    if not tokenizer.is_fast:
        raise ValueError(f"{folder} has a slow tokenizer, which gives no offsets; a tokenizer.json is needed")
    return tokenizer.backend_tokenizer


def _special(folder: Path, which: str) -> str | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if file.is_file():
            token = json.loads(file.read_text(encoding="utf-8")).get(which)
            if token:
                return str(token["content"] if isinstance(token, dict) else token)
    return None
