"""Speech windows: where a channel is silent, and where it can be cut into windows that a model hears at once."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 16_000
FRAME = 320
"""Samples of a level frame: 20 ms."""

SILENCE_DBFS = -50.0
"""A frame under this level holds no speech."""

LONGEST_SECONDS = 30.0
"""What OpenAI's Whisper hears at once."""

SEARCH_SECONDS = 8.0
SEARCH_SHARE = 0.75
"""How far before the end of a window its quietest place is looked for: so long, but only in this share of it."""

BLOCK = 60 * RATE
"""Samples that are measured at once."""

Audio = npt.NDArray[np.float32]
Levels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A stretch of one channel of one recording, in seconds from the recording's start."""

    recording: str
    channel: int
    stem: str
    start: float
    end: float


def read_audio(file: Path, start: float = 0.0, end: float | None = None) -> Audio:
    """Return the samples of a 16 kHz mono PCM file, or of [start, end) seconds of it, as float32 in -1..1."""
    with wave.open(str(file), "rb") as audio:
        first = round(start * RATE)
        last = audio.getnframes() if end is None else round(end * RATE)
        audio.setpos(first)
        raw = audio.readframes(last - first)
    samples: npt.NDArray[np.int16] = np.frombuffer(raw, dtype="<i2")
    return samples.astype(np.float32) / np.float32(32768)


def levels(file: Path) -> Levels:
    """Return the level of every 20 ms frame of a 16 kHz mono PCM file in dB of full scale, shape (frames,).

    Read by the minute, so that a recording of many hours takes no more memory than a short one.
    """
    parts = [np.empty(0, np.float32)]
    with wave.open(str(file), "rb") as audio:
        while raw := audio.readframes(BLOCK):
            samples: npt.NDArray[np.int16] = np.frombuffer(raw, dtype="<i2")
            whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) / 32768.0
            power = np.einsum("fs,fs->f", whole, whole) / FRAME
            parts.append((10 * np.log10(np.maximum(power, 1e-12))).astype(np.float32))
    return np.concatenate(parts)


def cut(
    recording: str, channel: int, stem: str, level: Levels, longest_seconds: float = LONGEST_SECONDS
) -> list[Window]:
    """Cut a channel of these levels into windows of at most ``longest_seconds``, at its quietest places.

    Silence gives no window. Silence at the ends of a window is left out up to a fifth of a second, so that every window
    holds sound.
    """
    loud = np.flatnonzero(level > SILENCE_DBFS)
    if not len(loud):
        return []
    per_second = RATE // FRAME
    longest = int(longest_seconds * per_second)
    search = int(min(SEARCH_SECONDS, SEARCH_SHARE * longest_seconds) * per_second)
    margin = per_second // 5
    quiet = _smoothed(level)
    windows: list[Window] = []
    border = 0  # what lies before it is in a window already
    while len(later := loud[loud >= border]):
        first = max(int(later[0]) - margin, border)
        last = min(first + longest, len(level))
        if last < len(level):
            last += int(np.argmin(quiet[last - search : last])) - search
        end = min(int(later[later < last][-1]) + 1 + margin, last)
        windows.append(Window(recording, channel, stem, first / per_second, end / per_second))
        border = last
    return windows


def _smoothed(level: Levels, frames: int = 15) -> Levels:
    """Return the mean level over 0.3 s around every frame: a gap between words, not between syllables."""
    kernel = np.ones(frames, dtype=np.float32) / frames
    return np.convolve(level, kernel, mode="same").astype(np.float32)
