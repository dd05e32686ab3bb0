"""Lines that many documents share: menus, notices of copyright, calls to subscribe (boilerplate)."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from malgeul.shards.names import nfc

SHORTEST_LINE = 8
"""Shorter lines, in characters, are never looked at: they repeat by chance."""

BOILERPLATE = pa.schema(
    [
        pa.field("line", pa.uint64(), nullable=False),  # its key
        pa.field("text", pa.string(), nullable=False),  # personal numbers replaced where documents have them replaced
        pa.field("documents", pa.int64(), nullable=False),  # that have it, duplicates not counted
        pa.field("first", pa.string(), nullable=False),  # source/id of the first of them
    ]
)
"""Lines of many documents, the most frequent first."""


def line_key(line: str) -> int | None:
    """Return a number that is equal for lines that differ only in white space and Unicode composition.

    None for a line under SHORTEST_LINE. It has 64 bits: among 100 million lines two different ones share it with a
    probability of 3 in 10,000.
    """
    import xxhash

    plain = " ".join(nfc(line).split())
    return xxhash.xxh3_64_intdigest(plain.encode()) if len(plain) >= SHORTEST_LINE else None


def line_keys(text: str) -> list[int]:
    """Return the keys of a text's lines, each once, in their order."""
    keys = (line_key(line) for line in text.split("\n"))
    return list(dict.fromkeys(key for key in keys if key is not None))


def without_lines(text: str, keys: Collection[int]) -> tuple[str, int]:
    """Return the text without the lines that have one of the keys, and how many they were."""
    lines = text.split("\n")
    kept = [line for line in lines if line_key(line) not in keys]
    return "\n".join(kept).strip("\n") if len(kept) < len(lines) else text, len(lines) - len(kept)
