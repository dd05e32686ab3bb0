"""What is measured of a recording while it is converted: levels, clipping, silence, noise, bandwidth, correlation.

All of it is measured block by block on the 16 kHz PCM before channels are mixed, in memory that does not grow with the
length. Sums are integers where the order of addition would show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from malgeul.audio.pcm import FULL_SCALE, RATE, samples_of
from malgeul.audio.true_peak import TruePeak

FRAME = RATE // 50
"""Samples of a frame: 20 ms."""
FLOOR_DBFS, STEP_DB = -100.0, 0.5
"""Frame levels are counted in steps; what is below the floor is digital silence."""
SILENCE_DBFS = -50.0
"""A frame is silent when its loudest channel is below this RMS."""
EMPTY_CHANNEL_DBFS = -80.0
"""A channel below this RMS carries nothing."""

WINDOW = 512
"""Samples of a window of the long-term spectrum (31.25 Hz a bin)."""
EVERY_NTH_WINDOW = 4
"""A quarter of all windows tells the long-term spectrum as well and costs a quarter."""
SMOOTHED_BINS = 5
SPECTRUM_RANGE_DB = 50.0
"""The bandwidth ends where the long-term spectrum has fallen this far below its maximum for good. The noise of a lossy
codec lies deeper."""
LOWEST_HZ = 60.0
NARROWBAND_HZ = 4700.0
"""Telephone speech ends at 4 kHz. Resamplers leave the beginning of its mirror image above, where a call was saved at a
higher rate; the next wider speech there is ends at 5.5 kHz (a rate of 11025 Hz)."""

Spectrum = npt.NDArray[np.float64]
Tracks = npt.NDArray[np.float64]
"""Samples of a block, (channels, frames): float64 adds up their squares without rounding, as far as 500 s."""


def to_dbfs(power: float) -> float:
    """Return a mean square, in units of int16 squared, in dB relative to full scale; -inf for 0."""
    return 10 * math.log10(power / FULL_SCALE**2) if power > 0 else -math.inf


@dataclass
class Meter:
    """Sums over the blocks of one recording."""

    channels: int
    frames: int = 0
    peak: int = 0
    clipped: int = 0
    sums: list[int] = field(default_factory=list)
    energies: list[int] = field(default_factory=list)
    product: int = 0
    true_peaks: list[TruePeak] = field(default_factory=list)
    levels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(int(-FLOOR_DBFS / STEP_DB) + 1, np.int64))
    spectrum: Spectrum = field(default_factory=lambda: np.zeros(WINDOW // 2 + 1))

    def __post_init__(self) -> None:
        self.sums = [0] * self.channels
        self.energies = [0] * self.channels
        self.true_peaks = [TruePeak() for _ in range(self.channels)]

    def add(self, segment: Any) -> None:
        """Take the next block, a pydub segment whose length is a multiple of 20 ms unless it is the last."""
        samples = samples_of(segment)
        self.frames += len(samples)
        self.peak = max(self.peak, int(samples.max()), -int(samples.min()))
        self.clipped += int(np.count_nonzero((samples == FULL_SCALE - 1) | (samples == -FULL_SCALE)))
        tracks: Tracks = np.ascontiguousarray(samples.T, dtype=np.float64)
        for channel, track in enumerate(tracks):
            self.sums[channel] += int(track.sum())
            self.energies[channel] += int(np.einsum("s,s", track, track))
            self.spectrum += _power_spectrum(track)
            self.true_peaks[channel].add(samples[:, channel])
        if self.channels == 2:
            self.product += int(np.einsum("s,s", *tracks))
        self._count_levels(tracks)

    def _count_levels(self, tracks: Tracks) -> None:
        whole = tracks.shape[1] // FRAME * FRAME
        frames = tracks[:, :whole].reshape(len(tracks), -1, FRAME)
        # Without the offset that some sound cards add, which is no sound.
        energies = FRAME * np.einsum("cfs,cfs->cf", frames, frames) - frames.sum(axis=2) ** 2
        loudest = energies.max(axis=0)
        with np.errstate(divide="ignore"):
            dbfs = 10 * np.log10(loudest / (FRAME * FULL_SCALE) ** 2)
        steps = np.floor((np.maximum(dbfs, FLOOR_DBFS) - FLOOR_DBFS) / STEP_DB).astype(np.int64)
        self.levels += np.bincount(steps, minlength=len(self.levels))

    # What the sums say

    @property
    def peak_dbfs(self) -> float | None:
        """Sample peak; None for digital silence."""
        return 20 * math.log10(self.peak / FULL_SCALE) if self.peak else None

    @property
    def true_peak_dbtp(self) -> float | None:
        """True peak; None for digital silence."""
        highest = max(channel.peak for channel in self.true_peaks)
        return 20 * math.log10(highest) if highest else None

    @property
    def clipping_share(self) -> float:
        """Share of the samples that are at full scale."""
        return self.clipped / (self.frames * self.channels)

    @property
    def silence_ratio(self) -> float | None:
        """Share of the 20 ms frames below :data:`SILENCE_DBFS`; None below one frame."""
        n = int(self.levels.sum())
        return int(self.levels[: int((SILENCE_DBFS - FLOOR_DBFS) / STEP_DB)].sum()) / n if n else None

    def level_percentile(self, share: float) -> float:
        """Return the frame level in dBFS below which ``share`` of the frames are, to a step of 0.5 dB."""
        step = int(np.searchsorted(np.cumsum(self.levels), share * self.levels.sum()))
        return FLOOR_DBFS + step * STEP_DB

    @property
    def snr_db(self) -> float | None:
        """Speech level over noise floor: 95th less 10th percentile of frame levels (cf. NIST stnr); None if unknowable.

        Unknowable is a recording of digital silence between its sounds, or without a sound.
        """
        if self.silence_ratio in (None, 1.0):
            return None
        noise = self.level_percentile(0.10)
        return self.level_percentile(0.95) - noise if noise > FLOOR_DBFS else None

    @property
    def bandwidth_hz(self) -> float | None:
        """Frequency above which the long-term spectrum stays 50 dB below its maximum; None for silence."""
        smooth = np.convolve(self.spectrum, np.full(SMOOTHED_BINS, 1 / SMOOTHED_BINS), mode="same")
        lowest = int(LOWEST_HZ * WINDOW / RATE) + 1
        highest = smooth[lowest:].max()
        if self.silence_ratio in (None, 1.0) or highest <= 0:
            return None
        above = np.flatnonzero(smooth[lowest:] >= highest * 10 ** (-SPECTRUM_RANGE_DB / 10))
        return float(above[-1] + lowest) * RATE / WINDOW

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of two channels at lag 0; None for one channel or one that does not move."""
        if self.channels != 2:
            return None
        n = self.frames
        left, right = (n * energy - total**2 for energy, total in zip(self.energies, self.sums, strict=True))
        if not left or not right:
            return None
        return (n * self.product - self.sums[0] * self.sums[1]) / math.sqrt(left) / math.sqrt(right)

    @property
    def channel_dbfs(self) -> list[float]:
        """RMS of every channel, without its offset."""
        n = self.frames
        return [to_dbfs((n * energy - total**2) / n**2) for energy, total in zip(self.energies, self.sums, strict=True)]


def _power_spectrum(track: npt.NDArray[np.float64]) -> Spectrum:
    """Return the sum of the power spectra of every fourth window of 512 samples of a block."""
    whole = len(track) // WINDOW * WINDOW
    windows = track[:whole].reshape(-1, WINDOW)[::EVERY_NTH_WINDOW]
    windows = windows - windows.mean(axis=1, keepdims=True)  # an offset would leak into the frequencies beside it
    shaped = windows.astype(np.float32) * np.hanning(WINDOW).astype(np.float32)
    spectra = np.fft.rfft(shaped)
    power: Spectrum = (spectra.real**2 + spectra.imag**2).sum(axis=0, dtype=np.float64)
    return power


def measure(blocks: Iterable[Any]) -> Meter:
    """Measure a recording given as pydub segments, at least one."""
    meter: Meter | None = None
    for segment in blocks:
        meter = meter or Meter(segment.channels)
        meter.add(segment)
    assert meter is not None, "a recording without samples is not measured"
    return meter
