"""What makes a transcript's text doubtful. A flagged segment stays; some flags have its window decoded once more."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

REPETITIVE = 2.4
"""Text that compresses better than this repeats itself (Radford et al. 2022, section 4.5)."""
UNLIKELY = -1.0
"""A mean log probability of tokens below this is a guess (the same section)."""
NO_SPEECH = 0.6
"""The model's own probability that there is no speech from which on text is doubtful (the same section)."""
LOOPS = 5
"""So often in a row does nobody say the same."""
FASTEST = 15.0
"""Letters and digits a second: Korean is read at some 4 to 8 syllables a second, and nobody speaks twice as fast."""
SHORTEST_SECONDS = 0.3
"""A segment is taken to last at least so long: times are exact to 20 ms only."""

KNOWN_PHRASE = "known_phrase"
"""Given apart from the other flags: no other decoding would mend it, and another list of phrases changes no text."""
REPEATS = frozenset({"looping", "repetitive"})
DECODED_AGAIN = REPEATS | {"broken", "fast", "unlikely"}
"""Flags that another decoding may mend."""

_LOOP = re.compile(rf"(\S.{{0,30}}?)\1{{{LOOPS - 1},}}")
_SAME_DIGITS = re.compile(r"(\d)(?:[,.-]?\1)+")
"""Of a number as it is written, not as it is said: 5,000,000원, 1588-8888."""


def doubts(text: str, seconds: float, avg_logprob: float | None, no_speech_prob: float | None) -> list[str]:
    """Return what is doubtful about a segment, sorted."""
    found = {
        "broken": "\ufffd" in text,
        "fast": len(bare(text)) / max(seconds, SHORTEST_SECONDS) > FASTEST,
        "unlikely": avg_logprob is not None and avg_logprob < UNLIKELY,
        "no_speech": no_speech_prob is not None and no_speech_prob > NO_SPEECH,
    }
    return sorted([*repeats(text), *(name for name, holds in found.items() if holds)])


def flag_known_phrases(segments: Iterable[dict[str, Any]], phrases: Collection[str]) -> None:
    """Flag the segments of a transcript that are one of ``phrases`` (bare) and nothing else, and no others."""
    for segment in segments:
        flags = set(segment["flags"]) - {KNOWN_PHRASE}
        segment["flags"] = sorted(flags | {KNOWN_PHRASE} if bare(segment["text"]) in phrases else flags)


def repeats(text: str) -> list[str]:
    """Return in which ways a text repeats itself, sorted: of a segment, or of all segments of a window together."""
    looping = _LOOP.search(bare(_SAME_DIGITS.sub(r"\1", text))) is not None
    return [*(["looping"] if looping else []), *(["repetitive"] if compression_ratio(text) > REPETITIVE else [])]


def compression_ratio(text: str) -> float:
    """Return how many times smaller zlib makes a text."""
    raw = text.encode()
    return round(len(raw) / len(zlib.compress(raw)), 3)


def bare(text: str) -> str:
    """Return the letters and digits of a text, composed (NFC) and in lower case."""
    return "".join(c for c in unicodedata.normalize("NFC", text).lower() if c.isalnum())


def read_phrases(files: Iterable[Path]) -> frozenset[str]:
    """Read what Whisper is known to say where nobody speaks: a phrase a line; ``#`` begins a comment."""
    lines = (line.partition("#")[0].strip() for file in files for line in file.read_text(encoding="utf-8").splitlines())
    return frozenset(letters for line in lines if (letters := bare(line)))
