"""Probabilities of labels for what is said: a transcript in passages that a classifier sees whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from malgeul.speech.lexicon import locate_segments

CLASSES = pa.schema(
    [
        pa.field("recording", pa.string(), nullable=False),
        pa.field("classifier", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),  # with its commit or digest, and those of an adapter
        pa.field("start", pa.int32(), nullable=False),  # characters of the transcript's text
        pa.field("end", pa.int32(), nullable=False),
        pa.field("start_seconds", pa.float64(), nullable=False),  # of the segments that hold it
        pa.field("end_seconds", pa.float64(), nullable=False),
        pa.field(
            "probabilities",
            pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())])),
            nullable=False,
        ),
    ]
)
"""classes/<shard>.parquet: one row per passage of a transcript and classifier."""


CLASS = pa.struct(
    [
        ("classifier", pa.string()),
        ("model", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("quote", pa.string()),
    ]
)
"""Of a recording's row: the passage that a classifier gives a label the highest probability, of all its passages."""


@dataclass(frozen=True)
class Piece:
    """text[start:end] of a transcript, said in [start_seconds, end_seconds)."""

    start: int
    end: int
    start_seconds: float
    end_seconds: float


def pieces_of(transcript: dict[str, Any], count: Callable[[str], int], most: int) -> Iterator[Piece]:
    """Yield runs of segments that have at most ``most`` tokens; a segment that has more is parted between words."""
    text, segments = transcript["text"], transcript["segments"]
    places = locate_segments(text, [segment["text"] for segment in segments])
    parts = [
        Piece(*span, segment["start"], segment["end"])
        for place, segment in zip(places, segments, strict=True)
        for span in _fitting(text, place, count, most)
    ]
    run: list[Piece] = []
    for part in parts:
        if run and count(text[run[0].start : part.end]) > most:
            yield _joined(run)
            run = []
        run.append(part)
    if run:
        yield _joined(run)


def _joined(run: Sequence[Piece]) -> Piece:
    return Piece(run[0].start, run[-1].end, run[0].start_seconds, max(piece.end_seconds for piece in run))


def _fitting(text: str, place: tuple[int, int], count: Callable[[str], int], most: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of text[start:end] with at most ``most`` tokens, or of one word."""
    start, end = place
    if count(text[start:end]) <= most:
        yield place
        return
    words = [(start + word.start(), start + word.end()) for word in re.finditer(r"\S+", text[start:end])]
    first = 0
    while first < len(words):
        last = first
        while last + 1 < len(words) and count(text[words[first][0] : words[last + 1][1]]) <= most:
            last += 1
        yield words[first][0], words[last][1]
        first = last + 1


def likeliest(text: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a :data:`CLASS` for every classifier and label, given the rows of :data:`CLASSES` of a recording.

    ``text`` is that of its transcript. Of passages that are equal the first is taken.
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        place = {name: row[name] for name in ("start", "end", "start_seconds", "end_seconds")}
        for one in row["probabilities"]:
            known = best.get((row["classifier"], one["label"]))
            if known is None or one["probability"] > known["probability"]:
                best[row["classifier"], one["label"]] = {
                    "classifier": row["classifier"],
                    "model": row["model"],
                    **one,
                    **place,
                    "quote": text[row["start"] : row["end"]],
                }
    return list(best.values())


def named(identity: dict[str, Any]) -> str:
    """Return a model's identity in one line: its name, what names its content, and those of its adapter."""
    content = identity.get("commit") or identity.get("digest")
    parts = [f"{identity['model']}@{content}", identity.get("quantization")]
    if "adapter" in identity:
        parts.append(f"with {named(identity['adapter'])}")
    return " ".join(part for part in parts if part)
