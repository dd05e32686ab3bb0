"""Durations that headers state, of containers for which ffmpeg estimates one from what is left of a file.

All sizes and times are taken as they stand there: of a file that was cut off, they are those of the whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from io import FileIO

MOST_CHUNKS = 1000
"""A hostile file may have chunks without end."""


def riff_seconds(source: FileIO) -> float | None:
    """Return the duration that a WAV's header states, in seconds.

    None where the header leaves it open, as a recorder that writes to a pipe does: ``data`` then has size 0 or 2**32-1.
    """
    byte_rate = 0
    for name, size, position in _chunks(source, 12, "<4sI", even=True):
        if name == b"data":
            return size / byte_rate if byte_rate and 0 < size < 0xFFFFFFFF else None
        if name == b"fmt " and len(fields := os.pread(source.fileno(), 12, position)) == 12:
            (byte_rate,) = struct.unpack_from("<I", fields, 8)
    return None


def caf_seconds(source: FileIO) -> float | None:
    """Return the duration that the header of a Core Audio file states, in seconds (Apple's specification of CAF 1.0).

    None where its data has no size, as while it is recorded (-1), or packets without a size; those are in a table,
    which ffmpeg reads.
    """
    a_second, a_packet, frames = 0.0, 0, 0
    for name, size, position in _chunks(source, 8, ">4sq"):
        if name == b"desc" and len(fields := os.pread(source.fileno(), 24, position)) == 24:
            a_second, a_packet, frames = struct.unpack(">d8xII", fields)
        if name == b"data":
            known = 0 < a_second < 1e9 and a_packet > 0 and size > 4
            return (size - 4) // a_packet * frames / a_second if known else None
    return None


def asf_seconds(source: FileIO) -> float | None:
    """Return the duration that the header of a WMA states, in seconds (Advanced Systems Format, 3.2: play duration).

    None for a broadcast, whose header was written before there was a duration.
    """
    for name, _, position in _chunks(source, 30, "<16sQ", counts_itself=True):
        if name == _FILE_PROPERTIES and len(fields := os.pread(source.fileno(), 68, position)) == 68:
            play, preroll, flags = struct.unpack("<40xQ8xQI", fields)
            seconds = play / 1e7 - preroll / 1e3
            return None if flags & _BROADCAST or seconds <= 0 else seconds
    return None


_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BROADCAST = 1


def _chunks(
    source: FileIO, position: int, form: str, *, counts_itself: bool = False, even: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, size and place of the content of every chunk from ``position`` on; the heads have a ``form``.

    A size may count the head, too; and chunks may begin at even places only.
    """
    head = struct.calcsize(form)
    for _ in range(MOST_CHUNKS):
        raw = os.pread(source.fileno(), head, position)
        if len(raw) < head:
            return
        name, size = struct.unpack(form, raw)
        yield name, size, position + head
        step = size if counts_itself else head + size
        if step < head or position + step >= 1 << 62:
            return
        position += step + (step % 2 if even else 0)


STATED: dict[str, Callable[[FileIO], float | None]] = {"wav": riff_seconds, "caf": caf_seconds, "asf": asf_seconds}
"""By ffmpeg's name of the container."""
