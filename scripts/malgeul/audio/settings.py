"""Config of recordings and their conversion."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from malgeul.shards.settings import Named, Section, ShardLimits

AUDIO_SUFFIXES = (
    "aac", "ac3", "aif", "aiff", "amr", "asf", "au", "avi", "awb", "caf", "flac", "flv", "m4a", "m4b", "m4v", "mka",
    "mkv", "mov", "mp2", "mp3", "mp4", "mpeg", "mpg", "oga", "ogg", "opus", "w64", "wav", "webm", "wma", "wmv", "wv",
    "3g2", "3gp",
)  # fmt: skip


class RecordingSource(Section):
    """A file, folder or glob of recordings under a name of its own."""

    path: Named
    """File, folder (searched to any depth) or glob; relative to the working directory or to the Snakefile. What runs
    have made in results/ is left out of a folder or glob that holds more than that."""
    name: str | None = None
    """Name of the source in shard ids; by default made of the last part of the path."""


class RecordingsInput(Section):
    """Which recordings go in."""

    paths: list[Named | RecordingSource] = []
    """Files, folders or globs; zero or more."""
    formats: list[Named] = Field(list(AUDIO_SUFFIXES), min_length=1)
    """Suffixes that count as recordings when a folder is searched. What a file really is, its bytes decide."""
    shard: ShardLimits = ShardLimits(files=200, megabytes=512)
    """How many recordings make a shard."""


class ConvertSettings(Section):
    """How recordings become 16 kHz mono PCM."""

    HANDLING: ClassVar = ["timeout_seconds"]
    # It changes no sample; a recording that it ended is not taken for finished.

    max_seconds: float = Field(6 * 3600, gt=0, le=18 * 3600)
    """A longer recording is quarantined as TOO_LONG. A WAV of two channels holds 18 hours."""
    timeout_seconds: float = Field(1800, gt=0)
    """Wall time for decoding one file."""
    speech_threshold: float = Field(0.5, gt=0, lt=1)
    """Silero's probability of speech from which on a frame of 32 ms is spoken; only what is spoken is transcribed."""
    channel_correlation: float = Field(0.6, ge=0, le=1)
    """Two channels are one speaker each and are transcribed apart where their samples correlate less than this, and so
    do the levels of their frames (microphones of one room hear the same at different times, but at similar levels)."""
