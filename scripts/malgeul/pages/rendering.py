"""Templates in which everything is escaped, and names and texts that are shown whatever is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from malgeul.pages import quantities
from malgeul.pages.visible import visible_text

SHARED = Path(__file__).parent / "templates"


def visible(value: Any) -> Any:
    """Return what is shown for a value: of text what :func:`visible_text` makes of it."""
    return visible_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


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
