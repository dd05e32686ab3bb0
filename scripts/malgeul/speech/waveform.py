"""The envelope of a waveform: the lowest and the highest sample of every column of a picture."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from malgeul.speech.windows import RATE, opened_channel

SAMPLES_AT_ONCE = 1 << 19
"""Samples that are read at a time, so that hours take no more memory than a minute (but for a column that holds more).
"""

Envelope = npt.NDArray[np.int16]
"""Shape (columns, 2): lowest and highest sample."""


def envelope_of(path: Path, column_seconds: float) -> Envelope:
    """Return the envelope of a mono 16 kHz WAV in columns of so many seconds; the last one may be cut short.

    Raises ValueError for another format and for columns that are shorter than a sample.
    """
    width = column_seconds * RATE
    if width < 1:
        raise ValueError(f"a column of {column_seconds} s is shorter than a sample")
    with opened_channel(path) as file:
        samples = file.getnframes()
        columns = ceil(samples / width)
        bounds = np.unique(np.minimum(np.round(np.arange(columns + 1) * width).astype(np.int64), samples))
        at_once = max(1, int(SAMPLES_AT_ONCE / width))
        parts = [np.empty((0, 2), np.int16)]
        for first in range(0, len(bounds) - 1, at_once):
            block = bounds[first : first + at_once + 1]
            read = np.frombuffer(file.readframes(int(block[-1] - block[0])), "<i2")
            starts = block[:-1] - block[0]
            if len(read) <= starts[-1]:
                raise ValueError(f"{path} holds fewer samples than its header says")
            parts.append(np.stack([np.minimum.reduceat(read, starts), np.maximum.reduceat(read, starts)], axis=1))
    return np.concatenate(parts)
