"""Transcripts as SubRip, WebVTT and plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def clock(seconds: float, mark: str) -> str:
    """Return ``hh:mm:ss<mark>mmm``."""
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, rest = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{mark}{rest:03d}"


def _times(segment: dict[str, Any], mark: str) -> str:
    # Both forms want a cue to end after it starts; a segment may have no length.
    end = max(segment["end"], segment["start"] + 0.001)
    return f"{clock(segment['start'], mark)} --> {clock(end, mark)}"


def _line(segment: dict[str, Any]) -> str:
    # A cue ends at an empty line and an arrow would begin another: neither may come from what is said, or who says it.
    said = segment["text"] if segment["speaker"] is None else f"{segment['speaker']}: {segment['text']}"
    return " ".join(said.split()).replace("-->", "→")


def to_srt(segments: Sequence[dict[str, Any]]) -> str:
    """Return segments as a SubRip file."""
    cues = (f"{number}\n{_times(s, ',')}\n{_line(s)}\n" for number, s in enumerate(segments, 1))
    return "\n".join(cues)


def to_vtt(segments: Sequence[dict[str, Any]]) -> str:
    """Return segments as a WebVTT file."""
    cues = (f"{_times(s, '.')}\n{_escaped(_line(s))}\n" for s in segments)
    return "WEBVTT\n\n" + "\n".join(cues)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_txt(segments: Sequence[dict[str, Any]]) -> str:
    """Return segments as text, one a line."""
    return "".join(f"{_line(segment)}\n" for segment in segments)
