"""What the conversion says of a shard's recordings: names, channels and measures, a JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.jsonl"


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of recordings/<shard>/manifest.jsonl by recording id, in the order of the ids."""
    with (folder / MANIFEST).open(encoding="utf-8", newline="\n") as lines:  # a tag may hold other ends of lines
        return {row["id"]: row for row in map(json.loads, lines)}
