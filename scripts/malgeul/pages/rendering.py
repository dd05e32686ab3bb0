"""Templates in which everything is escaped, and names and texts that are shown whatever is in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from malgeul.pages import quantities
from malgeul.shards.names import nfc

SHARED = Path(__file__).parent / "templates"

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control characters, invisible ones, those that turn the direction of writing, and bytes that are no text."""


def visible(value: Any) -> Any:
    """Return what is shown for a value: text composed, with characters that hide or reorder it spelled out."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNSEEN.sub(_spelled, nfc(value))


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def templates(folder: Path) -> Environment:
    """Return the templates of a wing's folder and the shared ones: all is escaped, a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("number", "amount", "amounts", "duration", "clock", "megabytes", "share", "energy", "brief")
    environment.filters |= {name: getattr(quantities, name) for name in names}
    return environment
