"""Training windows: clips placed on a timeline of eight seconds with true times, disturbed as telephone lines are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from making.speaking import RATE, Clips

SECONDS = 8
Sound = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Said:
    """What is said in [start, end) seconds of a window."""

    start: float
    end: float
    text: str


def draw_window(clips: Clips, rng: np.random.Generator, silent: float = 0.02) -> tuple[Sound, list[Said]]:
    """Return a window of clips with pauses between, shape (SECONDS * RATE,), and what is said when.

    The share ``silent`` has only noise. Most are filled as far as whole clips fit; some hold one clip, as a call's end
    does.
    """
    sound = np.zeros(SECONDS * RATE, np.float32)
    said: list[Said] = []
    if rng.random() < silent:
        return sound, said
    at = rng.uniform(0.0, 0.35)
    only_one = rng.random() < 0.25
    for _attempt in range(6):
        index = int(rng.integers(len(clips)))
        clip = clips[index]
        seconds = clip.frames / RATE
        if at + seconds > SECONDS - 0.05:
            continue
        first = round(at * RATE)
        # Speakers are not equally loud.
        sound[first : first + clip.frames] += clips.sound(index) * np.float32(10 ** (rng.uniform(-8, 0) / 20))
        said.append(Said(at, at + seconds, clip.text))
        if only_one:
            break
        at += seconds + 0.2 + rng.exponential(0.35)
    return sound, said


def disturb(sound: Sound, rng: np.random.Generator) -> Sound:
    """Return the window with noise, a telephone's band and another level, each by chance."""
    spoken = bool(sound.any())
    level = float(np.sqrt(np.mean(sound[sound != 0] ** 2))) if spoken else 0.05
    if rng.random() < 0.6:
        noise = _coloured_noise(len(sound), rng)
        sound = sound + noise * np.float32(level * 10 ** (-rng.uniform(8, 40) / 20))
    if rng.random() < 0.25:
        sound = _band(sound, rng.uniform(80, 320), rng.uniform(3000, 3700))
    peak = float(np.abs(sound).max())
    if peak > 0:
        lowest = -22 if spoken else -60  # a line on which nobody speaks may hiss softly
        sound = sound * np.float32(10 ** (rng.uniform(lowest, -1) / 20) / peak)
    return sound.astype(np.float32)


def end_early(sound: Sound, said: Sequence[Said], rng: np.random.Generator) -> Sound:
    """Return the window, by chance silent some time after its last word, as a shorter piece padded to a window is."""
    if rng.random() < 0.5:
        return sound
    spoken = said[-1].end if said else 0.0
    kept = round(min(spoken + rng.uniform(0.1, 1.0 if said else SECONDS), SECONDS) * RATE)
    return np.concatenate([sound[:kept], np.zeros(len(sound) - kept, np.float32)])


def _coloured_noise(frames: int, rng: np.random.Generator) -> Sound:
    """Return noise of unit power whose spectrum falls by 0 to 6 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(frames).astype(np.float32))
    frequency = np.maximum(np.fft.rfftfreq(frames, 1 / RATE), 30.0).astype(np.float32)
    noise = np.fft.irfft(spectrum * frequency ** np.float32(-rng.uniform(0, 1)), frames)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def _band(sound: Sound, low: float, high: float) -> Sound:
    spectrum = np.fft.rfft(sound)
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    return np.fft.irfft(spectrum, len(sound)).astype(np.float32)
