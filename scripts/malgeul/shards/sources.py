"""Reading the files that go in: opened by their raw path, known by their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import Any

from malgeul.shards.faults import NOT_READ, Fault, ItemFault
from malgeul.shards.files import StatKey
from malgeul.shards.inputs import InputFile, Twin, look_at
from malgeul.shards.names import content_id, printable

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


def digests_of(
    files: Iterable[InputFile], content_of: Callable[[InputFile], Content | Fault] = content_of
) -> list[str]:
    """Return the sha256 of every file, or the class of what is wrong with it."""
    contents = map(content_of, files)
    return [content.kind if isinstance(content, Fault) else content.sha256 for content in contents]


class Sources:
    """The user's files of a job: as the plan saw them, as they are, and what they hold.

    ``twins`` are files of lower shards that are compared with them. All are hashed when the first is asked for, on as
    many threads as the job has, and no second time: what a finished shard is known by is what it was made of.
    """

    def __init__(self, files: Sequence[InputFile], twins: Sequence[Twin] = (), threads: int = 1) -> None:
        self.files, self.twins = files, twins
        self._planned = list(dict.fromkeys([*files, *(twin.file for twin in twins)]))
        self._threads = threads
        self._contents: dict[InputFile, Content | Fault] = {}
        self._found = self._are_as_planned()

    @classmethod
    def from_params(cls, params: Mapping[str, Any], threads: int) -> Sources:
        """Read what a rule says of a shard's files; most rules have none."""
        files = [InputFile(**file) for file in params.get("files", ())]
        return cls(files, list(map(Twin.from_json, params.get("twins", ()))), threads)

    def content_of(self, file: InputFile) -> Content | Fault:
        """Return what a file holds, or what is wrong with it by the plan or when it was read."""
        if not self._contents:
            with ThreadPoolExecutor(self._threads) as pool:
                self._contents = dict(zip(self._planned, pool.map(content_of, self._planned), strict=True))
        return self._contents[file]

    def digests_of(self, files: Iterable[InputFile]) -> list[str]:
        """Return the sha256 of every file, or the class of what is wrong with it."""
        return digests_of(files, self.content_of)

    def were_as_planned(self, faults: Iterable[Mapping[str, Any]]) -> bool:
        """Tell whether the files are as the plan saw them, were so at first, and whenever one of them was opened.

        ``faults`` are those of the job's ledger.
        """
        known = {name for file in self._planned if file.problem for name in (printable(file.path), file.shown)}
        missed = {fault["item"] for fault in faults if fault["class"] in NOT_READ} - known
        unread = (
            isinstance(content, Fault) and content.kind in NOT_READ and not file.problem
            for file, content in self._contents.items()
        )
        return self._found and self._are_as_planned() and not missed and not any(unread)

    def _are_as_planned(self) -> bool:
        # one with a problem is not opened, whatever became of it: a plan that does not find it so has another state
        return all(look_at(file.path, file.name) == file for file in self._planned if not file.problem)
