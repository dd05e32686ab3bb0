"""Journals: finished items of a shard, recorded at once, so that a killed job goes on where it was.

A journal is a folder outside every declared output (Snakemake empties those of a failed job): ``journal.jsonl`` with a
line per finished item and ``blobs.bin`` with their bytes. Both are only appended to, and both have checksums. An item's
key is made of its content and everything else its result depends on, so an entry that is found may be used, whoever
wrote it.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYNC_SECONDS = 1.0
"""At most this much work is lost when the machine loses power; a killed process loses none."""


@dataclass(frozen=True)
class Entry:
    """One finished item: its record, and where its bytes lie."""

    record: dict[str, Any]
    offset: int
    length: int


class Journal:
    """The finished items of one shard, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._blobs = (folder / "blobs.bin").open("a+b")
        self._entries: dict[str, Entry] = {}
        self._lines = (folder / "journal.jsonl").open("a+b")
        self._recover()
        self._synced = time.monotonic()

    def _recover(self) -> None:
        """Read the entries that are whole; cut off what a kill left half written."""
        self._lines.seek(0)
        good = 0
        blobs_used = 0
        for line in self._lines:
            try:
                body, checksum = line.rstrip(b"\n").rsplit(b"\t", 1)
                if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(body):
                    break
                entry = json.loads(body)
            except ValueError:
                break
            if self._checksum(entry) != entry["crc"]:
                break
            self._entries[entry["key"]] = Entry(entry["record"], entry["offset"], entry["length"])
            blobs_used = max(blobs_used, entry["offset"] + entry["length"])
            good += len(line)
        self._lines.truncate(good)
        self._blobs.truncate(blobs_used)

    def _checksum(self, entry: dict[str, Any]) -> int:
        self._blobs.seek(entry["offset"])
        return zlib.crc32(self._blobs.read(entry["length"]))

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def record(self, key: str) -> dict[str, Any]:
        """Return the record of a finished item; raises KeyError."""
        return self._entries[key].record

    def blob(self, key: str) -> bytes:
        """Return the bytes of a finished item; raises KeyError."""
        entry = self._entries[key]
        self._blobs.seek(entry.offset)
        return self._blobs.read(entry.length)

    def offset(self, key: str) -> int:
        """Return where the bytes of a finished item begin among those of all; raises KeyError."""
        return self._entries[key].offset

    def read(self, offset: int, length: int) -> bytes:
        """Return a part of the bytes of all finished items, for those that are too many to hold."""
        self._blobs.seek(offset)
        return self._blobs.read(length)

    def put(self, key: str, record: dict[str, Any] | None = None, blob: bytes = b"") -> None:
        """Record an item as finished. The bytes are on their way to disk before the line that names them."""
        offset = self._blobs.seek(0, os.SEEK_END)
        self._blobs.write(blob)
        self._blobs.flush()
        entry = {"key": key, "record": record or {}, "offset": offset, "length": len(blob), "crc": zlib.crc32(blob)}
        body = json.dumps(entry, ensure_ascii=True, sort_keys=True).encode()
        self._lines.write(body + b"\t%08x\n" % zlib.crc32(body))
        self._lines.flush()
        self._entries[key] = Entry(entry["record"], offset, len(blob))  # type: ignore[arg-type]
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._blobs.fileno())
            os.fsync(self._lines.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        """Close the files; the entries stay on disk."""
        self._blobs.close()
        self._lines.close()
