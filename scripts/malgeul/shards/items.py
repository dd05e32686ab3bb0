"""What a stage has finished, whichever shard it was in when it was computed: items by key, and whole files.

A recording that is renamed, or whose bucket splits, is in another shard of the next run. Where it came from has
forgotten it by then, or not yet, as the order of jobs will have it; what is here stays until a run is through, and then
what no ledger of the stage names goes (:func:`forget_items`): what was removed from the input is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from malgeul.shards.files import link_or_copy, remove, sha256_of

SUFFIX = ".items"
"""Of the folder beside those of a stage's shards, whose names have no dot."""


class FinishedItems:
    """JSON values by key, each in a file of its own: ``<first two digits of the key>/<key>.<sha256 of the file>``.

    Any number of jobs may read and write at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, value: Any) -> None:
        """Keep a value in place of what the key had. A file that a crash leaves half written is not taken for one."""
        data = json.dumps(value, ensure_ascii=False, sort_keys=True).encode("utf-8")
        place = self._folder_of(key) / f"{key}.{hashlib.sha256(data).hexdigest()}"
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        fresh.write_bytes(data)
        fresh.replace(place)
        for other in self._files_of(key):
            if other != place:
                other.unlink(missing_ok=True)

    def get(self, key: str) -> Any | None:
        """Return the value of a key; None where there is none, or its bytes are no longer what they were."""
        for file in self._files_of(key):
            try:
                data = file.read_bytes()
            except FileNotFoundError:  # another job has put the same key
                continue
            if hashlib.sha256(data).hexdigest() == file.name.rpartition(".")[2]:
                return json.loads(data)
        return None

    def _folder_of(self, key: str) -> Path:
        return self.folder / key[:2]

    def _files_of(self, key: str) -> list[Path]:
        return sorted(self._folder_of(key).glob(f"{key}.*"))


class FinishedFiles:
    """Outputs of shards that hold many items each, named by their sha256: ``<its first two digits>/<sha256>``.

    They are links, which cost no space until a shard's output is another one. None is ever written again, and any
    number of jobs may put, list and read them at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, file: Path) -> str:
        """Keep a file that is whole, whatever becomes of it at its own place, and return its sha256."""
        digest = sha256_of(file)
        place = self.folder / digest[:2] / digest
        fresh = place.with_name(f".{digest}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        link_or_copy(file, fresh)
        fresh.replace(place)
        fresh.unlink(missing_ok=True)  # two links of one file stay two: rename(2) does nothing then
        return digest

    def paths(self) -> list[Path]:
        """Return where the files are, in the order of their names; another job may remove one at any time."""
        return sorted(file for key, file in entries(self.folder) if key)


def is_intact(file: BufferedReader, path: Path) -> bool:
    """Tell whether a finished file, opened from ``path``, has the bytes that it was put with."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest() == path.name


def entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the key of everything in a folder of items and its file.

    What a killed job has left half written has the key "" (empty).
    """
    for file in folder.glob("*/*"):
        yield file.name.partition(".")[0], file


def items_folder(results: Path, stage: str) -> Path:
    """Return where the finished items of a stage are."""
    return results / "kept" / f"{stage}{SUFFIX}"


def forget_items(results: Path, named: dict[str, set[str]]) -> int:
    """Remove what no ledger of its stage names (``named``: keys of items and sha256 of files); return how many."""
    removed = 0
    for folder in (results / "kept").glob(f"*{SUFFIX}"):
        known = named.get(folder.name.removesuffix(SUFFIX), set())
        for key, file in entries(folder):
            if key not in known:
                remove(file)
                removed += 1
    return removed
