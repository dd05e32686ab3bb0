"""Texts to learn from: the demo's, without what is broken on purpose, and petitions from a folder of the user's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from making import ROOT

DEMO_TEXT = ROOT / "resources" / "demo" / "text"


@dataclass(frozen=True)
class Titled:
    """A title, what it stands over, and the month it is from (empty where that is not known)."""

    title: str
    content: str
    month: str


def petitions(folder: Path) -> list[Titled]:
    """Return the petitions of a folder of JSON lines (title, content, begin), in the order of their files.

    Raises FileNotFoundError where the folder holds none.
    """
    files = sorted(file for file in folder.rglob("*") if file.name.endswith((".jsonl", ".jsonl.zst")))
    if not files:
        raise FileNotFoundError(f"{folder} holds no .jsonl or .jsonl.zst files of petitions")
    rows = (json.loads(line) for file in files for line in _read(file).decode("utf-8").splitlines() if line.strip())
    return [Titled(row["title"].strip(), row["content"].strip(), row["begin"][:7]) for row in rows]


def demo_titled() -> list[Titled]:
    """Return the first sentence of every text of the demo with what follows it."""
    parted = (text.strip().partition("\n") for text in demo_texts())
    return [Titled(first.strip(), rest.strip(), "") for first, _, rest in parted if first.strip() and rest.strip()]


def _read(file: Path) -> bytes:
    raw = file.read_bytes()
    return zstandard.ZstdDecompressor().stream_reader(raw).read() if file.suffix == ".zst" else raw


def demo_texts(folder: Path = DEMO_TEXT) -> Iterator[str]:
    """Yield the texts of a folder's JSONL and .txt files in a fixed order."""
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".txt":
            yield file.read_text(encoding="utf-8", errors="ignore")
        elif file.suffix in {".jsonl", ".zst"}:
            yield from _texts_of_lines(_read(file))


def _texts_of_lines(raw: bytes) -> Iterator[str]:
    for line in raw.decode("utf-8", errors="ignore").splitlines():
        try:
            record: Any = json.loads(line)
        except json.JSONDecodeError:  # planted
            continue
        if isinstance(record, dict) and isinstance(record.get("text"), str):
            yield record["text"]
