"""True peak: how far the wave rises between its samples, by four times oversampling (ITU-R BS.1770-5, annex 2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Track = npt.NDArray[np.int16]
"""Samples of one channel."""

OVERSAMPLED = 4
REACH = 6
"""Samples on either side that a point between two samples depends on."""
STEP = 64
"""Points after so many samples are looked at together."""
WINDOW = STEP + 2 * REACH - 1
"""Samples that these points depend on."""


def _taps() -> npt.NDArray[np.float32]:
    """Return what every sample that a point depends on is multiplied by: a row for each of the three points.

    A low pass at a quarter of the new rate's half, a sinc in a Hamming window, which leaves a constant as it is.
    """
    at = np.arange(-REACH * OVERSAMPLED, REACH * OVERSAMPLED + 1)
    response = np.sinc(at / OVERSAMPLED) * np.hamming(len(at))
    response *= OVERSAMPLED / response.sum()
    # A point lies so many quarters after the sixth of its twelve samples: the first of them takes the last taps.
    last = len(at) - 1 - OVERSAMPLED
    points = [response[last + quarter :: -OVERSAMPLED][: 2 * REACH] for quarter in range(1, OVERSAMPLED)]
    return np.array(points, np.float32)


_TAPS = _taps()
_MOST = float(np.abs(_TAPS).sum(axis=1).max())
"""How many times its largest sample a wave can rise between samples: quieter windows need not be looked at."""


class Between:
    """What lies between the samples of one channel, given block by block."""

    def __init__(self) -> None:
        self._rest: Track = np.zeros(2 * REACH - 1, np.int16)  # a wave rises before its first sample, too

    def highest(self, track: Track, known: float) -> float:
        """Return the highest amplitude between the next samples, or ``known`` where that is no less."""
        samples = np.concatenate([self._rest, track])
        count = max(0, (len(samples) - WINDOW) // STEP + 1)
        self._rest = samples[count * STEP :]
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
            rises = _highest(windows) * _MOST
            for least in (rises.max(), 0.0):  # the loudest first: few others can rise above what is found there
                known = max(known, _highest_between(windows[(rises >= least) & (rises > known)]))
        return known


def _highest_between(windows: Track) -> float:
    samples = windows.astype(np.float32)
    highest = 0.0
    for taps in _TAPS:
        # No matrix product: its last digit may hang on how many windows there are, and so on the blocks.
        points = samples[:, :STEP] * taps[0]
        for at in range(1, len(taps)):
            points += samples[:, at : at + STEP] * taps[at]
        highest = max(highest, float(points.max(initial=0)), -float(points.min(initial=0)))
    return highest


def _highest(rows: Track) -> npt.NDArray[np.int32]:
    """Return the highest amplitude of every row."""
    highest: npt.NDArray[np.int32] = np.maximum(rows.max(axis=1), -rows.min(axis=1).astype(np.int32))
    return highest
