"""Which files of a shard are recordings, and which are the same recording once more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from malgeul.shards.faults import Fault
from malgeul.shards.inputs import InputFile, Twin
from malgeul.shards.sources import Content, content_of

Reading = Callable[[InputFile], Content | Fault]


@dataclass(frozen=True)
class Recording:
    """A recording of this shard: its bytes, the file that stands for it, and the files that are the same bytes."""

    content: Content
    file: InputFile
    aliases: tuple[InputFile, ...] = ()

    @property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of its bytes."""
        return self.content.id


@dataclass(frozen=True)
class Copy:
    """A file whose recording belongs to a lower shard."""

    file: InputFile
    id: str
    shard: str


@dataclass
class Intake:
    """The files of a shard, each in one list."""

    recordings: list[Recording] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    faults: list[tuple[InputFile, Fault]] = field(default_factory=list)


def take_in(files: Iterable[InputFile], twins: Sequence[Twin] = (), content_of: Reading = content_of) -> Intake:
    """Sort files by what they hold into recordings, copies of what a lower shard has, and faults.

    ``twins`` are files of lower shards that may hold the same bytes. Of equal files the first by
    name is the recording. Recordings come in the order of their ids, whatever the order of ``files``.
    """
    ordered = sorted(files, key=lambda file: (file.name, file.path))
    lower = _lower_shards(twins, content_of)
    intake = Intake()
    same: dict[str, list[tuple[InputFile, Content]]] = defaultdict(list)
    for file in ordered:
        content = content_of(file)
        if isinstance(content, Fault):
            intake.faults.append((file, content))
        elif content.sha256 in lower:
            intake.copies.append(Copy(file, content.id, lower[content.sha256]))
        else:
            same[content.sha256].append((file, content))
    for equal in same.values():
        (first, content), *others = equal
        intake.recordings.append(Recording(content, first, tuple(file for file, _ in others)))
    intake.recordings.sort(key=lambda recording: recording.id)
    return intake


def _lower_shards(twins: Sequence[Twin], content_of: Reading) -> dict[str, str]:
    """Return the lowest shard of every content among ``twins``; one that cannot be read is nobody's twin."""
    shards: dict[str, str] = {}
    for twin in twins:
        content = content_of(twin.file)
        if isinstance(content, Content):
            shards[content.sha256] = min(twin.shard, shards.get(content.sha256, twin.shard))
    return shards
