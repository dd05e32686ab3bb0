"""Fundamental frequency and intensity of a voice, measured on 16 kHz PCM.

F0 is found by autocorrelation as in Boersma, "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound" (IFA Proceedings 17, 1993): the autocorrelation of a Hann-windowed frame
divided by that of the window, its highest peak between 75 and 500 Hz less a small cost per octave, refined by a
parabola. There is no path through the frames, so that single frames may be an octave off; the median and quartiles of
a voice are what is kept. Jitter and shimmer need single glottal cycles: see the module praat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from malgeul.speech.interaction import Interval
from malgeul.speech.windows import FULL_SCALE, RATE, opened_channel

HOP = RATE // 100
"""A frame every 10 ms."""
FRAME = 3 * RATE // 75
"""Three periods of the lowest F0: 40 ms."""
LOWEST_HZ, HIGHEST_HZ = 75.0, 500.0
VOICING = 0.45
"""A frame is voiced when its normalized autocorrelation has a peak this high (Boersma's and Praat's default)."""
SILENCE = 0.03
"""A frame below this share of the channel's peak amplitude is silent (Praat's default)."""
OCTAVE_COST = 0.01
"""Preference for the higher of two candidates, per octave (Praat's default)."""
LEAST_VOICED_FRAMES = 10
"""Quartiles of fewer frames than this (100 ms) say nothing."""
BLOCK_FRAMES = 1000
"""Frames that are worked on at a time (10 s)."""

_TRANSFORM = 1 << (FRAME + int(RATE / LOWEST_HZ)).bit_length()
_LAGS = slice(int(RATE / HIGHEST_HZ) - 1, int(RATE / LOWEST_HZ) + 2)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """The voiced frames of a speaker: F0 in Hz and intensity in dBFS of each; and how many frames were looked at."""

    f0: Floats
    intensity: Floats
    frames: int

    @property
    def measurable(self) -> bool:
        """Whether there are frames enough for quartiles."""
        return len(self.f0) >= LEAST_VOICED_FRAMES

    @property
    def f0_iqr_semitones(self) -> float:
        """Interquartile range of F0 in semitones."""
        low, high = np.quantile(self.f0, (0.25, 0.75))
        return float(12 * np.log2(high / low))

    @property
    def intensity_iqr_db(self) -> float:
        """Interquartile range of intensity in dB."""
        low, high = np.quantile(self.intensity, (0.25, 0.75))
        return float(high - low)


def measure_voice(path: Path, talk: Sequence[Interval]) -> Voice:
    """Measure the frames of a mono 16 kHz WAV whose middle lies within ``talk`` (disjoint intervals in order)."""
    threshold = SILENCE * _peak(path)
    f0: list[Floats] = []
    intensity: list[Floats] = []
    looked_at = 0
    for first, frames in _frames(path):
        frames = frames[_within(talk, first, len(frames))]
        looked_at += len(frames)
        frames = frames - frames.mean(axis=1, keepdims=True)  # an offset of the sound card is no sound
        loud = frames[np.abs(frames).max(axis=1, initial=0) > threshold]
        if len(loud):
            pitch = pitch_of(loud)
            voiced = pitch > 0
            f0.append(pitch[voiced])
            intensity.append(10 * np.log10(np.mean(loud[voiced] ** 2, axis=1)))
    empty = np.empty(0)
    return Voice(np.concatenate([empty, *f0]), np.concatenate([empty, *intensity]), looked_at)


def pitch_of(frames: Floats) -> Floats:
    """Return F0 in Hz of frames of shape (n, FRAME) around 0; 0 where a frame is not voiced."""
    correlation = _normalized_autocorrelation(frames)[:, _LAGS]
    inner = correlation[:, 1:-1]
    lags = np.arange(_LAGS.start + 1, _LAGS.stop - 1)
    is_peak = (inner > correlation[:, :-2]) & (inner >= correlation[:, 2:])
    strength = np.where(is_peak, inner - OCTAVE_COST * np.log2(LOWEST_HZ / RATE * lags), -np.inf)
    best = strength.argmax(axis=1)
    rows = np.arange(len(frames))
    before, at, after = (correlation[rows, best + shift] for shift in range(3))
    curvature = before - 2 * at + after
    shift = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, -1), 0)
    voiced = is_peak[rows, best] & (at >= VOICING)
    return np.where(voiced, RATE / (lags[best] + shift), 0.0)


def _normalized_autocorrelation(frames: Floats) -> Floats:
    """Return Boersma's estimate of the autocorrelation of frames for lags 0, 1, …, 1 at lag 0."""
    window = np.hanning(FRAME)
    return _autocorrelation(frames * window) / _autocorrelation(window[None])


def _autocorrelation(signals: Floats) -> Floats:
    spectra = np.fft.rfft(signals, _TRANSFORM)
    raw = np.fft.irfft(spectra.real**2 + spectra.imag**2)[:, : _LAGS.stop]
    energy = raw[:, :1]
    normalized: Floats = np.divide(raw, energy, out=np.zeros_like(raw), where=energy > 0)
    return normalized


def _within(talk: Sequence[Interval], first: int, n: int) -> npt.NDArray[np.bool_]:
    """Tell of ``n`` frames from number ``first`` on whether their middle lies within ``talk``."""
    middles = (np.arange(first, first + n) * HOP + FRAME / 2) / RATE
    bounds = np.asarray(talk, dtype=np.float64).reshape(-1)
    inside: npt.NDArray[np.bool_] = np.searchsorted(bounds, middles, side="right") % 2 == 1
    return inside


def _blocks(path: Path, frames: int) -> Iterator[Floats]:
    """Yield a WAV in blocks of ``frames`` samples, scaled to [-1, 1]; raises ValueError for another format."""
    with opened_channel(path) as file:
        while data := file.readframes(frames):
            yield np.frombuffer(data, "<i2").astype(np.float64) / FULL_SCALE


def _peak(path: Path) -> float:
    """Return the highest amplitude of a WAV, without an offset."""
    blocks = _blocks(path, BLOCK_FRAMES * HOP)
    return max((float(np.abs(block - block.mean()).max()) for block in blocks), default=0.0)


def _frames(path: Path) -> Iterator[tuple[int, Floats]]:
    """Yield overlapping frames of a WAV, some at a time, with the number of the first of them."""
    rest = np.empty(0)
    first = 0
    for block in _blocks(path, BLOCK_FRAMES * HOP):
        samples = np.concatenate([rest, block])
        if len(samples) >= FRAME:
            frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
            yield first, frames
            first += len(frames)
            rest = samples[len(frames) * HOP :]
        else:
            rest = samples
