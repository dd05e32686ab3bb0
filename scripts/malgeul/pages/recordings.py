"""A list of recordings as pages show it, from rows of conversation/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ["id", "name", "seconds", "voices", "evidence", "trust", "quality"]
"""Of conversation/, what an entry is made of."""


def entry_of(row: Mapping[str, Any], page: str) -> dict[str, Any]:
    """Return what a list shows of a recording; ``page`` is where its page is, seen from the list."""
    return {
        "id": row["id"],
        "name": row["name"],
        "page": page,
        "seconds": row["seconds"],
        "missing": row["quality"]["missing_seconds"],
        "speakers": sum(voice["speaker"] is not None for voice in row["voices"]),
        "segments": row["trust"]["segments"],
        "doubtful": row["trust"]["flagged_segments"],
        "spans": len(row["evidence"]),
    }
