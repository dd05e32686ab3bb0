"""True peak: how far the wave rises between its samples, by four times oversampling (ITU-R BS.1770-5, annex 2).

At a sample it is the sample.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from malgeul.audio.pcm import FULL_SCALE

Track = npt.NDArray[np.int16]
"""Samples of one channel."""

OVERSAMPLED = 4
REACH = 6
"""Samples on either side that a point between two samples depends on."""
STEP = 256
"""Samples of a window."""
_WINDOW = STEP + 2 * REACH - 1


def _taps() -> npt.NDArray[np.float64]:
    """Return the interpolating low-pass filter: a sinc in a Hamming window, whose gain at frequency 0 is OVERSAMPLED.

    Made here, and applied by numpy: to import scipy.signal takes longer than to convert a call.
    """
    reach = REACH * OVERSAMPLED
    taps = np.sinc(np.arange(-reach, reach + 1) / OVERSAMPLED) * np.hamming(2 * reach + 1)
    scaled: npt.NDArray[np.float64] = taps * (OVERSAMPLED / taps.sum())
    return scaled


_TAPS = _taps()
_MOST = max(float(np.abs(_TAPS[phase::OVERSAMPLED]).sum()) for phase in range(OVERSAMPLED))
"""How many times its largest sample a wave can rise between samples: quieter windows need not be looked at."""


class TruePeak:
    """The highest amplitude of one channel, given block by block."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._rest: Track = np.zeros(REACH, np.int16)

    def add(self, track: Track) -> None:
        """Take the next samples."""
        self._peak = max(self._peak, float(_highest(track[None]).max()))
        samples = np.concatenate([self._rest, track])
        count = max(0, (len(samples) - _WINDOW) // STEP + 1)
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::STEP]
            loud = windows[_highest(windows) * _MOST > self._peak]
            if len(loud):
                self._peak = max(self._peak, _highest_between(loud))
        self._rest = samples[count * STEP :]

    @property
    def peak(self) -> float:
        """The peak, relative to full scale; more than 1 where the wave goes beyond it between samples."""
        ended = copy.copy(self)
        ended.add(np.zeros(_WINDOW, np.int16))
        return ended._peak / FULL_SCALE


def _highest(rows: Track) -> npt.NDArray[np.int32]:
    """Return the highest amplitude of every row."""
    highest: npt.NDArray[np.int32] = np.maximum(rows.max(axis=1), -rows.min(axis=1).astype(np.int32))
    return highest


def _highest_between(windows: Track) -> float:
    """Return the highest amplitude of the windows between two samples."""
    flat = windows.astype(np.float64).ravel()  # all in one go: what runs from a window into the next one is left out
    highest = 0.0
    for place in range(1, OVERSAMPLED):
        between = np.convolve(flat, _TAPS[place::OVERSAMPLED])[: len(flat)]
        inside = between.reshape(windows.shape)[:, 2 * REACH - 1 :]
        highest = max(highest, float(inside.max()), -float(inside.min()))
    return highest
