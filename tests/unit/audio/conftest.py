"""Recordings made on the spot with the bundled ffmpeg: tones and noise, whole and broken."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from malgeul.audio.pcm import RATE, AudioSegment


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True, timeout=60)


def noise(path: Path, *options: str, seconds: float = 2, rate: int = 44_100, channels: int = 1, seed: int = 1) -> Path:
    """Write noise to ``path``, each channel its own, in the container that the suffix names."""
    sources = [
        argument
        for channel in range(channels)
        for argument in ("-f", "lavfi", "-i", f"anoisesrc=d={seconds}:c=pink:a=0.3:r={rate}:seed={seed + channel}")
    ]
    joined = [] if channels == 1 else ["-filter_complex", f"amerge=inputs={channels}"]
    ffmpeg(*sources, *joined, *options, str(path))
    return path


def segment(*tracks: np.ndarray) -> AudioSegment:
    """Make a pydub segment of tracks in [-1, 1] at 16 kHz."""
    samples = np.clip(np.round(np.stack(tracks, axis=1) * 32768), -32768, 32767).astype("<i2")
    return AudioSegment(samples.tobytes(), sample_width=2, frame_rate=RATE, channels=len(tracks))


def tone(hertz: float = 440.0, amplitude: float = 0.5, seconds: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="session")
def m4a(tmp_path_factory) -> bytes:
    """Four seconds of noise as AAC, its index (moov) before the data."""
    path = tmp_path_factory.mktemp("m4a") / "noise.m4a"
    return noise(path, "-movflags", "+faststart", seconds=4).read_bytes()
