"""Names and texts of others, shown whatever is in them."""

from __future__ import annotations

import re

from malgeul.shards.names import nfc

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control characters, invisible ones, those that turn the direction of writing, and bytes that are no text."""


def visible_text(text: str) -> str:
    """Return a text composed, with characters that hide or reorder it, or that a terminal obeys, spelled out."""
    return _UNSEEN.sub(_spelled, nfc(text))


def visible_line(text: str) -> str:
    """Return a text in one line: white space of any kind and length is a space."""
    return visible_text(" ".join(text.split()))


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
