"""Reading the files that go in: opened by their raw path, known by their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO

from malgeul.shards.faults import Fault, ItemFault
from malgeul.shards.files import StatKey
from malgeul.shards.inputs import InputFile
from malgeul.shards.names import content_id

NO_FILE = frozenset({errno.ENXIO, errno.ELOOP})
"""What opening a socket, or a link that leads to itself, gives."""


@dataclass(frozen=True)
class Content:
    """A file's bytes: their sha256 in hex, and the stat key under which they were read."""

    sha256: str
    stat: StatKey

    @property
    def id(self) -> str:
        """The recording's id."""
        return content_id(self.sha256)


@contextmanager
def opened(path: str) -> Iterator[FileIO]:
    """Open a file for reading; raises ItemFault when it is gone, unreadable or no regular file.

    A pipe is not waited for: what a path is, is asked of the open file, so that it cannot change in between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise ItemFault("VANISHED", "no such file any more", "open") from None
    except PermissionError as error:
        raise ItemFault("UNREADABLE", error.strerror or "no permission", "open") from None
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise ItemFault("NOT_A_FILE", error.strerror or "no file", "open") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ItemFault("NOT_A_FILE", "neither a file nor a link to one", "open")
    with FileIO(descriptor, "rb") as file:
        yield file


def stat_key(file: FileIO) -> StatKey:
    """Return the stat key of an open file."""
    status = os.fstat(file.fileno())
    return StatKey(status.st_size, status.st_mtime_ns, status.st_ino)


def read_content(path: str) -> Content:
    """Hash a file; raises ItemFault as :func:`opened` does, EMPTY for a file without bytes, OSError of the device."""
    with opened(path) as file:
        before = stat_key(file)
        if not before.size:
            raise ItemFault("EMPTY", "0 bytes", "open")
        return Content(hashlib.file_digest(file, "sha256").hexdigest(), before)


def content_of(file: InputFile) -> Content | Fault:
    """Return a file's content, or what is wrong with it by the plan or now."""
    if file.fault:
        return file.fault
    try:
        return read_content(file.path)
    except ItemFault as error:
        return error.fault


def digests_of(files: Iterable[InputFile]) -> list[str]:
    """Return the sha256 of every file, or the class of what is wrong with it."""
    contents = map(content_of, files)
    return [content.kind if isinstance(content, Fault) else content.sha256 for content in contents]
