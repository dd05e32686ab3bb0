"""16 kHz PCM in WAV files: read in blocks and written channel by channel, so that memory does not grow with length."""

from __future__ import annotations

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
