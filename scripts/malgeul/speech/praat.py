"""Jitter, shimmer and harmonicity of a voice, by Praat's own algorithms, where its package is installed.

They are measures of single glottal cycles, which Praat (Boersma and Weenink, praat.org) finds by cross-correlation; the
package praat-parselmouth (GPL) holds Praat and is no requirement of the project. The parameters are those that Praat's
manual gives as standard: "Sound: To Pitch (cc)...", "PointProcess: Get jitter (local)...", "PointProcess & Sound: Get
shimmer (local)...", "Sound: To Harmonicity (cc)...". The floor and ceiling of F0 are those of the module acoustics.

What is measured is running speech. The norms that clinics know are of sustained vowels recorded in silence, and codecs
and telephones alter single cycles: a figure says how this sound is, and can be compared with sounds of its kind alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import parselmouth
    from parselmouth.praat import call
except ImportError:
    parselmouth = call = None

from malgeul.speech.acoustics import HIGHEST_HZ, LOWEST_HZ, OCTAVE_COST, SILENCE, VOICING
from malgeul.speech.interaction import Interval, length
from malgeul.speech.windows import RATE, read_audio

PACKAGE = "praat-parselmouth"
"""The distribution whose presence and version decide the result."""

STRETCHES, STRETCH_SECONDS = 24, 5.0
"""Of a voice that talks for longer than these together (two minutes), so many stretches evenly spread over its talk are
measured: Praat holds a sound as a whole, and a mean over some 10,000 cycles changes little with more of them."""
SEAM_SECONDS = 0.1
"""Silence between stretches. It is longer than the longest period, so that no cycle is compared across it."""
LEAST_CYCLES = 100
"""A mean over fewer glottal cycles than this (a second of a low voice) says nothing."""

STEP_SECONDS = 0.01
CANDIDATES, OCTAVE_JUMP_COST, VOICED_UNVOICED_COST = 15, 0.35, 0.14
"""To Pitch (cc); very accurate: no."""
SHORTEST_PERIOD, LONGEST_PERIOD, PERIOD_FACTOR, AMPLITUDE_FACTOR = 0.0001, 0.02, 1.3, 1.6
"""Jitter and shimmer: two cycles that differ by more than these factors are no neighbours of one voiced stretch."""
QUIET, PERIODS_PER_WINDOW = 0.1, 1.0
"""To Harmonicity (cc)."""
NO_HARMONICITY = -200.0
"""What Praat gives for a silent frame."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cycles:
    """Of the glottal cycles of a voice: how many were compared, and None in the other fields where they are too few.

    ``jitter`` is the mean difference of neighbouring periods over the mean period, ``shimmer`` the mean difference of
    their amplitudes over the mean amplitude (both "local", as shares), ``harmonicity_db`` the mean ratio of harmonics
    to noise of voiced frames in dB.
    """

    count: int = 0
    jitter: float | None = None
    shimmer: float | None = None
    harmonicity_db: float | None = None


def is_installed() -> bool:
    """Tell whether Praat's package is installed."""
    return parselmouth is not None


def measure_cycles(path: Path, talk: Sequence[Interval]) -> Cycles | None:
    """Measure a mono 16 kHz WAV where its voice talks (disjoint intervals in order); None without Praat's package."""
    if not is_installed():
        return None
    samples = _sampled(path, stretches_of(talk))
    if len(samples) < 3 * RATE / LOWEST_HZ:  # Praat looks at three periods of the lowest F0
        return Cycles()
    sound = parselmouth.Sound(samples, RATE)
    pitch = call(
        sound, "To Pitch (cc)", STEP_SECONDS, LOWEST_HZ, CANDIDATES, "no", SILENCE, VOICING, OCTAVE_COST,
        OCTAVE_JUMP_COST, VOICED_UNVOICED_COST, HIGHEST_HZ,
    )  # fmt: skip
    pulses = call([sound, pitch], "To PointProcess (cc)")
    limits = (0, 0, SHORTEST_PERIOD, LONGEST_PERIOD, PERIOD_FACTOR)
    count = int(call(pulses, "Get number of periods", *limits))
    if count < LEAST_CYCLES:
        return Cycles(count)
    return Cycles(
        count,
        _known(call(pulses, "Get jitter (local)", *limits)),
        _known(call([sound, pulses], "Get shimmer (local)", *limits, AMPLITUDE_FACTOR)),
        _harmonicity(sound, pitch),
    )


def stretches_of(talk: Sequence[Interval]) -> list[Interval]:
    """Return what of ``talk`` is measured: all of it, or stretches that begin at equal distances along the talk."""
    total = length(talk)
    if total <= STRETCHES * STRETCH_SECONDS:
        return list(talk)
    found: list[Interval] = []
    before = 0.0  # talk up to the interval
    for start, end in talk:
        after = before + end - start
        for number in range(STRETCHES):
            begins = number * total / STRETCHES
            first, last = max(begins, before), min(begins + STRETCH_SECONDS, after)
            if first < last:
                found.append((start + first - before, start + last - before))
        before = after
    return found


def _sampled(path: Path, stretches: Sequence[Interval]) -> Floats:
    """Return the stretches of a WAV one after the other, with silence between them."""
    seam = np.zeros(round(SEAM_SECONDS * RATE))
    parts = [part for start, end in stretches for part in (seam, read_audio(path, start, end).astype(np.float64))]
    return np.concatenate([np.empty(0), *parts[1:]])


def _harmonicity(sound: Any, pitch: Any) -> float | None:
    """Return the mean harmonicity in dB of the frames that the pitch holds to be voiced."""
    harmonicity = call(sound, "To Harmonicity (cc)", STEP_SECONDS, LOWEST_HZ, QUIET, PERIODS_PER_WINDOW)
    values = harmonicity.values[0]
    hertz = pitch.selected_array["frequency"]
    nearest = np.round((harmonicity.xs() - pitch.x1) / pitch.dx).astype(int).clip(0, len(hertz) - 1)
    voiced = values[(hertz[nearest] > 0) & (values > NO_HARMONICITY)]
    return float(voiced.mean()) if len(voiced) else None


def _known(value: float) -> float | None:
    """Return a figure of Praat's, None where it is undefined."""
    return None if np.isnan(value) else float(value)
