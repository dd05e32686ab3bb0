"""What is measured of a recording: loudness, levels, clipping, silence, noise, bandwidth, correlation.

All of it is measured block by block on the 16 kHz PCM before channels are mixed, in memory that does not grow with the
length (but for loudness and the levels of frames: 11 MB a day). Sums are integers where the order of addition would
show.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from malgeul.audio.loudness import KWeighted, integrated_lufs
from malgeul.audio.pcm import FULL_SCALE, RATE, samples_of
from malgeul.audio.true_peak import WINDOW as PEAK_WINDOW
from malgeul.audio.true_peak import Between, Track

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
CLIPPED = FULL_SCALE - 1
"""The amplitude from which on a sample is at full scale: programs that scale by 32767 never write -32768."""
LARGEST = {"pcm_mulaw": 32124, "pcm_alaw": 32256}
"""The largest amplitude of telephone codecs (ITU-T G.711), which is below that of 16 bits: by ffmpeg's name."""

NARROWBAND_HZ = 4700.0
"""Telephone speech ends at 4 kHz. Resamplers leave the beginning of its mirror image above, where a call was saved at a
higher rate; the next wider speech there is ends at 5.5 kHz (a rate of 11025 Hz)."""

Floats = npt.NDArray[np.float64]
Spectrum = Floats
_SHAPE = np.hanning(WINDOW).astype(np.float32)


def to_dbfs(power: float) -> float:
    """Return a mean square, in units of int16 squared, in dB relative to full scale; -inf for 0."""
    return 10 * math.log10(power / FULL_SCALE**2) if power > 0 else -math.inf


@dataclass
class Channel:
    """Sums over the blocks of one channel."""

    sum: int = 0
    energy: int = 0
    peak: int = 0
    clipped: int = 0
    spectrum: Spectrum = field(default_factory=lambda: np.zeros(WINDOW // 2 + 1))
    between: Between = field(default_factory=Between)
    weighted: KWeighted = field(default_factory=KWeighted)

    def add(self, track: Track, floats: Floats, clipped: int) -> Floats:
        """Take the next samples, as they are and as float64; return the energies of their frames without an offset.

        Samples of the amplitude ``clipped`` are at full scale.

        float64 adds up the squares of samples without rounding, as far as 500 s.
        """
        highest, lowest = int(track.max()), int(track.min())
        self.peak = max(self.peak, highest, -lowest)
        if highest >= clipped or lowest <= -clipped:
            self.clipped += int(np.count_nonzero((track >= clipped) | (track <= -clipped)))
        self.spectrum += _power_spectrum(floats)
        frames = floats[: len(floats) // FRAME * FRAME].reshape(-1, FRAME)
        sums, energies = frames.sum(axis=1), np.einsum("fs,fs->f", frames, frames)
        rest = floats[frames.size :]
        self.sum += int(sums.sum() + rest.sum())
        self.energy += int(energies.sum() + (rest**2).sum())
        # Without the offset that some sound cards add, which is no sound.
        without: Floats = FRAME * energies - sums**2
        return without


@dataclass
class Meter:
    """Sums over the blocks of one recording of one or two channels."""

    channels: int
    full_scale: int = CLIPPED
    frames: int = 0
    product: int = 0
    level_sums: list[int] = field(default_factory=lambda: [0] * 5)
    levels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(int(-FLOOR_DBFS / STEP_DB) + 1, np.int64))
    _different: list[Channel] = field(default_factory=lambda: [Channel()])
    _between: float = 0.0
    _hops: list[Floats] = field(default_factory=list)
    _steps: list[npt.NDArray[np.uint8]] = field(default_factory=list)

    def add(self, segment: Any) -> None:
        """Take the next block, a pydub segment whose length is a multiple of 20 ms unless it is the last."""
        samples = samples_of(segment)
        self.frames += len(samples)
        tracks = self._different_of(np.ascontiguousarray(samples.T))
        floats = tracks.astype(np.float64)
        channels = list(zip(self._different, tracks, floats, strict=True))
        energies = [channel.add(track, same, self.full_scale) for channel, track, same in channels]
        self._count_levels(np.max(energies, axis=0))
        if self.channels == 2:
            self.product += int(np.einsum("s,s", floats[0], floats[-1]))
            self._add_levels(energies[0], energies[-1])
        for channel, track, _ in channels:
            self._between = channel.between.highest(track, max(self._between, channel.peak))
        loud: Any = sum(channel.weighted.energies(track) for channel, track, _ in channels)
        self._hops.append(loud * (self.channels / len(channels)))

    def _different_of(self, tracks: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """Return the tracks that are measured: one, as long as both channels have been the same all along."""
        if len(self._different) < self.channels:
            if np.array_equal(tracks[0], tracks[1]):
                return tracks[:1]
            self._different.append(copy.deepcopy(self._different[0]))
        return tracks

    def _count_levels(self, energies: Floats) -> None:
        with np.errstate(divide="ignore"):
            dbfs = 10 * np.log10(energies / (FRAME * FULL_SCALE) ** 2)
        steps = np.floor((np.maximum(dbfs, FLOOR_DBFS) - FLOOR_DBFS) / STEP_DB).astype(np.int64)
        self.levels += np.bincount(steps, minlength=len(self.levels))
        self._steps.append(steps.astype(np.uint8))

    def _add_levels(self, left: Floats, right: Floats) -> None:
        """Add up the RMS of the frames of two channels, in sixteenths of a step of 16 bits: sums, squares, products."""
        a, b = (np.round(np.sqrt(np.maximum(one, 0)) * (16 / FRAME)).astype(np.int64) for one in (left, right))
        found = (a.sum(), b.sum(), a @ a, b @ b, a @ b)
        self.level_sums = [known + int(more) for known, more in zip(self.level_sums, found, strict=True)]

    def _each(self) -> list[Channel]:
        """Return the sums of every channel: those of one, where both have been the same."""
        return [self._different[min(n, len(self._different) - 1)] for n in range(self.channels)]

    # What the sums say

    @property
    def sums(self) -> list[int]:
        """Of the samples of every channel."""
        return [channel.sum for channel in self._each()]

    @property
    def energies(self) -> list[int]:
        """Of every channel: the sums of the squares of its samples."""
        return [channel.energy for channel in self._each()]

    @property
    def peak(self) -> int:
        """The highest amplitude of a sample."""
        return max(channel.peak for channel in self._different)

    @property
    def clipped(self) -> int:
        """How many samples of all channels are at full scale."""
        return sum(channel.clipped for channel in self._each())

    @property
    def loudness_lufs(self) -> float | None:
        """Integrated loudness (EBU R128); None for what is quieter than its gate or shorter than its 400 ms."""
        return integrated_lufs(np.concatenate([np.zeros(0), *self._hops]))

    @property
    def peak_dbfs(self) -> float | None:
        """Sample peak; None for digital silence."""
        return 20 * math.log10(self.peak / FULL_SCALE) if self.peak else None

    @property
    def true_peak_dbtp(self) -> float | None:
        """True peak; None for digital silence."""
        highest = max(self._between, self.peak)
        for channel in self._different:
            highest = copy.copy(channel.between).highest(np.zeros(PEAK_WINDOW, np.int16), highest)
        return 20 * math.log10(highest / FULL_SCALE) if highest else None

    @property
    def clipping_share(self) -> float:
        """Share of the samples that are at full scale.

        Of another rate than 16 kHz it is about half of those that were: the resampler ripples where a wave is cut off.
        """
        return self.clipped / (self.frames * self.channels)

    @property
    def silence_ratio(self) -> float | None:
        """Share of the 20 ms frames below :data:`SILENCE_DBFS`; None below one frame."""
        n = int(self.levels.sum())
        return int(self.levels[: int((SILENCE_DBFS - FLOOR_DBFS) / STEP_DB)].sum()) / n if n else None

    def snr_db(self, spoken: Iterable[tuple[float, float]] = ()) -> float | None:
        """Speech level over noise floor (cf. NIST stnr); None if unknowable.

        The level of speech is the 95th percentile of the frames of what is ``spoken`` (seconds), however little that
        is; of all frames where nobody speaks. The noise floor is the 10th percentile of all. Unknowable is a recording
        of digital silence between its sounds, or without a sound.
        """
        if self.silence_ratio in (None, 1.0):
            return None
        noise = _percentile(self.levels, 0.10)
        return _percentile(self._levels_within(spoken), 0.95) - noise if noise > FLOOR_DBFS else None

    def _levels_within(self, spoken: Iterable[tuple[float, float]]) -> npt.NDArray[np.int64]:
        """Count the levels of the frames whose middle lies within spans of seconds; of all where none does."""
        steps = np.concatenate(self._steps)
        inside = np.zeros(len(steps), bool)
        for start, end in spoken:
            first, after = (round(seconds * RATE / FRAME) for seconds in (start, end))
            inside[first:after] = True
        return np.bincount(steps[inside], minlength=len(self.levels)) if inside.any() else self.levels

    @property
    def bandwidth_hz(self) -> float | None:
        """Frequency above which the long-term spectrum stays 50 dB below its maximum; None for silence."""
        spectrum = np.sum([channel.spectrum for channel in self._each()], axis=0)
        smooth = np.convolve(spectrum, np.full(SMOOTHED_BINS, 1 / SMOOTHED_BINS), mode="same")
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
        return _pearson(self.frames, self.sums, self.energies, self.product)

    @property
    def level_correlation(self) -> float | None:
        """Pearson's correlation of the RMS of two channels' frames; None for one channel or one of a constant level.

        Speakers with a channel each take turns: it is low. Microphones of one room hear everybody, at different times
        and with different echoes: their samples hardly correlate, their levels do.
        """
        if self.channels != 2:
            return None
        *sums, left, right, product = self.level_sums
        return _pearson(int(self.levels.sum()), sums, [left, right], product)

    @property
    def channel_dbfs(self) -> list[float]:
        """RMS of every channel, without its offset."""
        n = self.frames
        return [to_dbfs((n * energy - total**2) / n**2) for energy, total in zip(self.energies, self.sums, strict=True)]


def _pearson(n: int, sums: Sequence[int], squares: Sequence[int], product: int) -> float | None:
    """Return Pearson's correlation of n pairs by their sums, the sums of their squares and that of their products."""
    left, right = (n * square - total**2 for square, total in zip(squares, sums, strict=True))
    if not left or not right:
        return None
    return (n * product - sums[0] * sums[1]) / math.sqrt(left) / math.sqrt(right)


def _percentile(levels: npt.NDArray[np.int64], share: float) -> float:
    """Return the level in dBFS below which ``share`` of counted frames are, to a step of 0.5 dB."""
    step = int(np.searchsorted(np.cumsum(levels), share * levels.sum()))
    return FLOOR_DBFS + step * STEP_DB


def _power_spectrum(track: Floats) -> Spectrum:
    """Return the sum of the power spectra of every fourth window of 512 samples of a block."""
    whole = len(track) // WINDOW * WINDOW
    windows = track[:whole].reshape(-1, WINDOW)[::EVERY_NTH_WINDOW]
    windows = windows - windows.mean(axis=1, keepdims=True)  # an offset would leak into the frequencies beside it
    spectra = np.fft.rfft(windows.astype(np.float32) * _SHAPE)
    power: Spectrum = (spectra.real**2 + spectra.imag**2).sum(axis=0, dtype=np.float64)
    return power


def measure(blocks: Iterable[Any], full_scale: int = CLIPPED) -> Meter:
    """Measure a recording given as pydub segments, at least one; ``full_scale`` is its largest possible amplitude."""
    meter: Meter | None = None
    for segment in blocks:
        meter = meter or Meter(segment.channels, full_scale)
        meter.add(segment)
    assert meter is not None, "a recording without samples is not measured"
    return meter
