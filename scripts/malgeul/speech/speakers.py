"""Who speaks when: what a diarizer finds, and whose a segment of a transcript is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from malgeul.shards.programs import load_program
from malgeul.shards.tables import read_rows
from malgeul.speech.windows import RATE, Audio

SPEAKERS = pa.schema(
    [
        pa.field("recording", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),  # seconds
        pa.field("end", pa.float64(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
    ]
)
"""speakers/<shard>.parquet: one row per stretch of a voice in a recording of one channel."""


@dataclass(frozen=True)
class Stretch:
    """What one voice says in [start, end) seconds; others may speak in it, too."""

    start: float
    end: float
    speaker: str


Diarizer = Callable[[Audio], list[Stretch]]
"""From the samples of a recording (float32, 16 kHz) to the stretches of its voices."""


def load_diarizer(file: Path, options: dict[str, Any]) -> Diarizer:
    """Return the diarizer of a user's file; what it finds is sorted and must be stretches within the recording.

    Raises TypeError for a file that is no such program.
    """
    program = load_program(file, options)

    def diarize(samples: Audio) -> list[Stretch]:
        seconds = len(samples) / RATE
        found = []
        for one in program(samples):
            try:
                start, end, speaker = one
                start, end = float(start), float(end)
            except (TypeError, ValueError):
                raise TypeError(f"{file} gave {one!r}; (start, end, speaker) is expected") from None
            if not (math.isfinite(start) and start <= end):
                raise ValueError(f"{file} gave a stretch from {start} to {end} s")
            end = min(end, seconds)  # the last frame of a model may reach over the end
            if max(start, 0.0) < end:
                found.append(Stretch(round(max(start, 0.0), 3), round(end, 3), str(speaker)))
        return sorted(found, key=lambda stretch: (stretch.start, stretch.end, stretch.speaker))

    return diarize


def read_turns(tables: Iterable[Path]) -> dict[str, list[Stretch]]:
    """Return the stretches of every recording."""
    turns: dict[str, list[Stretch]] = defaultdict(list)
    for table in tables:
        for row in read_rows(table):
            turns[row["recording"]].append(Stretch(row["start"], row["end"], row["speaker"]))
    return turns


def name_speakers(segments: Sequence[dict[str, Any]], stretches: Sequence[Stretch]) -> None:
    """Put into every segment, and into its words where they have times, who speaks most of it; None where nobody does.

    A word within a segment may be another's than the segment.
    """
    for segment in segments:
        words = segment["words"] or []  # those of a segment over a pause may lie outside of where it is placed
        first = min([segment["start"], *(word["start"] for word in words)])
        last = max([segment["end"], *(word["end"] for word in words)])
        near = [s for s in stretches if s.start < last and s.end > first]
        segment["speaker"] = _speaker(segment, near)
        for word in words:
            word["speaker"] = _speaker(word, near)


def _speaker(said: dict[str, Any], stretches: Sequence[Stretch]) -> str | None:
    shares: dict[str, float] = defaultdict(float)
    for stretch in stretches:
        shared = min(said["end"], stretch.end) - max(said["start"], stretch.start)
        if shared > 0:
            shares[stretch.speaker] += shared
    return max(sorted(shares), key=lambda speaker: shares[speaker], default=None)
