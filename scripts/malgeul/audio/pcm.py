"""16 kHz PCM in WAV files: read in blocks and written channel by channel, so that memory does not grow with length."""

from __future__ import annotations

import math
import warnings
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

with warnings.catch_warnings():
    # It looks for a system's ffmpeg, which serves only to open other containers.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment

RATE = 16_000
"""Samples per second of every recording after conversion."""
BYTES_PER_SAMPLE = 2
FULL_SCALE = 1 << 15
"""The amplitude of 0 dBFS."""
WAV_HEADER = 44
BLOCK_SECONDS = 10
"""Length of the blocks in which recordings are read."""

Samples = npt.NDArray[np.int16]


def seconds_of(path: Path) -> float:
    """Return the length of a WAV in seconds."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes() / file.getframerate()


def read_blocks(path: Path) -> Iterator[Any]:
    """Yield a WAV as pydub segments of :data:`BLOCK_SECONDS`."""
    with wave.open(str(path), "rb") as file:
        while data := file.readframes(BLOCK_SECONDS * RATE):
            yield AudioSegment(data, sample_width=BYTES_PER_SAMPLE, frame_rate=RATE, channels=file.getnchannels())


def samples_of(segment: Any) -> Samples:
    """Return the samples of a segment: int16 of shape (frames, channels)."""
    return np.frombuffer(segment.raw_data, dtype="<i2").reshape(-1, segment.channels)


def insert_silence(path: Path, silences: Iterable[tuple[float, float]]) -> None:
    """Put silence into a WAV: pairs of seconds of its sound, in order, and how many seconds of silence come after."""
    longer = path.with_name(f"{path.name}.longer")
    with wave.open(str(path), "rb") as source, wave.open(str(longer), "wb") as target:
        target.setparams(source.getparams())
        frame = bytes(source.getsampwidth() * source.getnchannels())
        for after, seconds in (*silences, (math.inf, 0.0)):
            left = min(after * RATE, source.getnframes()) - source.tell()
            for n in _blocks(round(left)):
                target.writeframes(source.readframes(n))
            for n in _blocks(round(seconds * RATE)):
                target.writeframes(n * frame)
    longer.replace(path)


def _blocks(frames: int) -> Iterator[int]:
    """Yield so many frames in parts of :data:`BLOCK_SECONDS`."""
    for at in range(0, frames, BLOCK_SECONDS * RATE):
        yield min(BLOCK_SECONDS * RATE, frames - at)


def write_channels(blocks: Iterable[tuple[Any, ...]], paths: list[Path]) -> None:
    """Write one WAV per path from blocks that hold one mono segment for each of them."""
    files = [wave.open(str(path), "wb") for path in paths]  # noqa: SIM115 - closed below, however many there are
    try:
        for file in files:
            file.setparams((1, BYTES_PER_SAMPLE, RATE, 0, "NONE", ""))
        for segments in blocks:
            for file, segment in zip(files, segments, strict=True):
                file.writeframes(segment.raw_data)
    finally:
        for file in files:
            file.close()
