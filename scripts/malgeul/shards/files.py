"""Files that appear whole or not at all, and the proof that they are still what was written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HIDDEN = ".snakemake_timestamp"
"""Snakemake writes this into every directory it takes as an output; it is no output of ours."""


@dataclass(frozen=True)
class StatKey:
    """What tells cheaply that a file is the one that was recorded: size in bytes, modification time in ns, inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> StatKey:
        """Read the stat key of ``path``; raises FileNotFoundError."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex (about 1.4 GB/s); an OSError of the device names the file, too."""
    with path.open("rb") as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            error.filename = str(path)
            raise


def digest_of(value: Any) -> str:
    """Return the sha256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def sync_file(path: Path) -> None:
    """Force a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a whole folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


HALF_WRITTEN = ".*.part"
"""What :func:`beside` returns, as a pattern."""


def beside(path: Path) -> Path:
    """Return the place beside ``path`` where it is written before it is renamed."""
    return path.with_name(f".{path.name}.part")


def files_under(path: Path) -> Iterator[Path]:
    """Yield the files of an output: itself, or everything below it in sorted order."""
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.is_file() and p.name != HIDDEN)
    elif path.exists():
        yield path


def publish(staged: Path, final: Path) -> None:
    """Move a finished file or folder to its place: fsync everything, rename, fsync the parent."""
    for file in files_under(staged):
        sync_file(file)
    if staged.is_dir():
        sync_file(staged)
        remove(final)  # rename cannot replace a folder that Snakemake has made beforehand
    staged.replace(final)
    sync_file(final.parent)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place to write to; it becomes ``path`` when the block ends without an error and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = beside(path)
    remove(staged)
    try:
        yield staged
    except BaseException:
        remove(staged)
        raise
    publish(staged, path)


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON, whole or not at all, with sorted keys.

    It is UTF-8 whatever is in it: bytes of a path that are none become the escapes by which JSON has half a surrogate.
    """
    with written_whole(path) as staged:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent)
        staged.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source`` by a hard link, or a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
