"""Finding input files: regular files by path, never a loop twice, what is left out counted."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from malgeul.shards.buckets import Item
from malgeul.shards.faults import Fault
from malgeul.shards.names import nfc, printable, stable_hash


@dataclass(frozen=True)
class InputFile(Item):
    """A file that goes in: name (NFC, relative to its source), size, raw path, and why it cannot be opened, if so.

    A job learns of it by parameter: an input that is deleted before its job starts would end the job for all of the
    shard's files, and Snakemake does not take every name. ``size``, ``modified`` (ns since 1970) and ``problem`` tell
    that it has changed; what it holds is the job's to read.
    """

    path: str
    problem: str | None = None
    modified: int | None = None

    @property
    def shown(self) -> str:
        """The name for a reader: valid Unicode whatever the bytes of the path are."""
        return printable(self.name)

    @property
    def fault(self) -> Fault | None:
        """What the plan knows to be wrong with the file (``CLASS: reason``)."""
        if self.problem is None:
            return None
        kind, _, reason = self.problem.partition(": ")
        return Fault(kind, reason)


@dataclass(frozen=True)
class Twin:
    """A file of a lower shard that may have the same bytes as one of this shard."""

    file: InputFile
    shard: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Twin:
        """Read what ``asdict`` made of it."""
        return cls(InputFile(**value["file"]), value["shard"])


@dataclass
class Found:
    """The files of a source, and how many others lay beside them, by suffix; a hidden folder counts as one file."""

    files: list[InputFile] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def find_files(place: Path, suffixes: Iterable[str] | None) -> Found:
    """List the files of a file, folder or glob; ``suffixes`` (lower case, no dot) limit what a folder gives.

    Raises FileNotFoundError when nothing is there and PermissionError for a folder that cannot be listed. A link is
    followed once; a pipe, socket, device or dangling link with a fitting name is listed with its problem, so that it is
    accounted for.
    """
    pattern = str(place)
    if place.is_dir():
        return _search([place], place, suffixes)
    if place.exists() or not glob.has_magic(pattern):
        if not os.path.lexists(place):
            raise FileNotFoundError(f"{place} does not exist")
        return Found([_input_file(place, place.parent)])
    head, slash, _ = pattern[: min(pattern.find(c) for c in "*?[" if c in pattern)].rpartition("/")
    base = Path(head + slash)
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - takes a whole pattern
    if not matches:
        raise FileNotFoundError(f"no file matches {pattern}")
    files = [match for match in matches if not match.is_dir()]
    found = _search([match for match in matches if match.is_dir()], base, suffixes, apart=files)
    found.files[:0] = [_input_file(file, base) for file in files]
    if closed := _closed_folders(place):
        found.ignored["(unreadable)"] = len(closed)
    return found


def _closed_folders(pattern: Path) -> set[str]:
    """Return the folders that a glob passes over in silence, since they may not be listed or entered."""
    steps = [(str(step.parent), step.name) for step in (pattern, *pattern.parents) if glob.has_magic(str(step))]
    return {
        folder
        for above, name in steps
        for folder in glob.glob(f"{above}/", recursive=True)  # noqa: PTH207 - takes a whole pattern
        if not os.access(folder, os.X_OK | (os.R_OK if glob.has_magic(name) else 0))
    }


def _search(folders: Iterable[Path], base: Path, suffixes: Iterable[str] | None, apart: Iterable[Path] = ()) -> Found:
    """List what is in folders, which may lie in one another; ``apart`` are files that need not be looked at."""
    wanted = None if suffixes is None else {suffix.lower().lstrip(".") for suffix in suffixes}
    found, visited, known = Found(), set[tuple[int, int]](), set(apart)
    for file in (file for folder in folders for file in _walk(folder, visited)):
        if file in known:
            continue
        suffix = file.suffix.lower().lstrip(".")
        if file.name.startswith("."):
            found.ignored["(hidden)"] += 1
        elif wanted is None or any(file.name.lower().endswith(f".{ending}") for ending in wanted):
            found.files.append(_input_file(file, base))
        else:
            found.ignored[suffix or "(none)"] += 1
    return found


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        listing = sorted(entries, key=lambda entry: entry.name)
    for entry in listing:
        if not entry.name.startswith(".") and _is_folder(entry):
            yield from _walk(folder / entry.name, visited)
        else:
            yield folder / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself
            return False
        raise


def _input_file(file: Path, base: Path) -> InputFile:
    return look_at(str(file), nfc(str(file.relative_to(base))))


def look_at(path: str, name: str) -> InputFile:
    """Return what a file is like now; it is not opened. ``name`` is its own, relative to its source.

    The time of its last change of status (ctime) is no part of it: backups that link files change it every night.
    """
    try:
        status = Path(path).stat()
    except OSError as error:
        return InputFile(name, 0, path, f"NOT_A_FILE: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return InputFile(name, 0, path, "NOT_A_FILE: neither a file nor a folder")
    if not os.access(path, os.R_OK):
        return InputFile(name, status.st_size, path, "UNREADABLE: no permission to read")
    return InputFile(name, status.st_size, path, modified=status.st_mtime_ns)


SAMPLES, SAMPLE_BYTES = 16, 512


def sketch(file: InputFile) -> int:
    """Return a hash of samples spread over a file: cheap, the same for equal files, almost never for different ones."""
    parts: list[bytes] = []
    with Path(file.path).open("rb") as stream:
        for k in range(SAMPLES):
            stream.seek(k * max(file.size - SAMPLE_BYTES, 0) // (SAMPLES - 1))
            parts.append(stream.read(SAMPLE_BYTES))
    return stable_hash(b"".join(parts).hex())


def locate(path: str, root: Path) -> Path:
    """Return where a path of the config lies: as it is, or beside the Snakefile (``root``) when nothing is there."""
    given = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises where there is no such user
    if given.is_absolute() or given.exists():
        return given
    beside_snakefile = root / given
    return beside_snakefile if beside_snakefile.exists() else given
