"""Config of transcription and analysis."""

from __future__ import annotations

from pydantic import Field

from malgeul.shards.settings import Section


class TranscribeSettings(Section):
    """Which Whisper transcribes, and how."""

    model: str = "resources/models/whisper-random"
    """Hub id (openai/whisper-large-v3-turbo) or folder of a Whisper checkpoint."""
    revision: str | None = None
    """Revision of a hub id; pin it for results that can be repeated."""
    language: str = "ko"
    """Language that is spoken."""


class AnalyzeSettings(Section):
    """Which facts of a conversation are measured."""

    lexicons: list[str] = ["resources/lexicons"]
    """YAML files, or folders of them, with the rules whose spans are found."""
    pause_seconds: list[float] = Field([0.2, 0.5, 2.0], min_length=1)
    """Pauses longer than each of these are counted."""
