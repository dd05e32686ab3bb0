"""Frames of AMR files, whose decoder for pauses takes whatever stands where one begins."""

from __future__ import annotations

import os
from io import FileIO

_BYTES = {
    b"#!AMR\n": {**dict(enumerate((12, 13, 15, 17, 19, 20, 26, 31, 5))), 15: 0},
    b"#!AMR-WB\n": {**dict(enumerate((17, 23, 32, 36, 40, 46, 50, 58, 60, 5))), 14: 0, 15: 0},
}
"""By what a file begins with, the bytes of a frame behind its first, by its type: speech, noise in a pause, and nothing
(3GPP TS 26.101 and 26.201)."""

_ALWAYS_ZERO = 0x83
"""Bits of a frame's first byte (RFC 4867, section 5.3)."""


def has_damaged_frame(source: FileIO) -> bool:
    """Tell whether a frame of an AMR file begins as none may.

    False for other containers: they state how long a frame is, and the decoder complains where it is not.
    """
    head = os.pread(source.fileno(), max(map(len, _BYTES)), 0)
    magic = next((magic for magic in _BYTES if head.startswith(magic)), None)
    if magic is None:
        return False
    sizes, position = _BYTES[magic], len(magic)
    while block := os.pread(source.fileno(), 1 << 20, position):
        at = 0
        while at < len(block):
            size = sizes.get(block[at] >> 3 & 0xF)
            if size is None or block[at] & _ALWAYS_ZERO:
                return True
            at += 1 + size
        position += at
    return False
