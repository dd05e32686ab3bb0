"""How far a transcript can be trusted, as its model says: log probability, no-speech, compression, flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


def trust_of(segments: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Aggregate what the model says of the segments of a transcript.

    Means are weighted by the length of the segments. A figure is null when no segment has it.
    """
    flags = Counter(flag for segment in segments for flag in segment["flags"])
    flagged = [segment for segment in segments if segment["flags"]]
    return {
        "segments": len(segments),
        "avg_logprob_mean": _mean(segments, "avg_logprob"),
        "avg_logprob_min": min(_values(segments, "avg_logprob"), default=None),
        "no_speech_prob_mean": _mean(segments, "no_speech_prob"),
        "no_speech_prob_max": max(_values(segments, "no_speech_prob"), default=None),
        "compression_ratio_mean": _mean(segments, "compression_ratio"),
        "compression_ratio_max": max(_values(segments, "compression_ratio"), default=None),
        "flagged_segments": len(flagged),
        "flagged_seconds": round(sum(map(_seconds, flagged)), 3),
        "flags": [{"flag": flag, "segments": count} for flag, count in sorted(flags.items())],
    }


def _values(segments: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [segment[name] for segment in segments if segment[name] is not None]


def _seconds(segment: dict[str, Any]) -> float:
    return float(segment["end"] - segment["start"])


def _mean(segments: Sequence[dict[str, Any]], name: str) -> float | None:
    known = [segment for segment in segments if segment[name] is not None]
    seconds = sum(map(_seconds, known))
    if not seconds:
        return None
    return round(float(sum(segment[name] * _seconds(segment) for segment in known)) / seconds, 6)
