"""Finished items of a stage by their key, whichever shard they were in when they were computed.

A recording that is renamed, or whose bucket splits, is in another shard of the next run. Where it came from has
forgotten it by then, or not yet, as the order of jobs will have it; what is here stays until a run is through, and then
what no ledger of the stage names goes (:func:`forget_items`): what was removed from the input is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from malgeul.shards.files import remove

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

    def entries(self) -> Iterator[tuple[str, Path]]:
        """Yield every key and its file; what a killed job has left half written has the key "" (empty)."""
        for file in self.folder.glob("*/*"):
            yield file.name.partition(".")[0], file

    def _folder_of(self, key: str) -> Path:
        return self.folder / key[:2]

    def _files_of(self, key: str) -> list[Path]:
        return sorted(self._folder_of(key).glob(f"{key}.*"))


def items_folder(results: Path, stage: str) -> Path:
    """Return where the finished items of a stage are."""
    return results / "kept" / f"{stage}{SUFFIX}"


def forget_items(results: Path, named: dict[str, set[str]]) -> int:
    """Remove the items whose keys no ledger of their stage names (``named``, by stage); return how many."""
    removed = 0
    for folder in (results / "kept").glob(f"*{SUFFIX}"):
        known = named.get(folder.name.removesuffix(SUFFIX), set())
        for key, file in FinishedItems(folder).entries():
            if key not in known:
                remove(file)
                removed += 1
    return removed
