"""The grammar of the written material: sentence frames with slots, choices and particles.

A frame is one Korean sentence. ``[a|b]`` is a choice, ``{3~9}`` a number, ``{P}`` a word, and ``{P은}`` a word with the
form of the particle that its last sound asks for. People are introduced with their role when a document first names
them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ALTERNATES: dict[str, str] = {
    "은": "는",
    "이": "가",
    "을": "를",
    "과": "와",
    "으로": "로",
    "이다": "다",
    "이었다": "였다",
    "이었고": "였고",
    "이에요": "예요",
    "이라고": "라고",
    "이란": "란",
}
"""Particle after a consonant → the same particle after a vowel."""

# How digits are read decides about the particle: 영, 일, 삼, 육, 칠 and 팔 end in a consonant.
CLOSED_DIGITS = frozenset("013678")
HANGUL_BASE, HANGUL_LAST, FINALS, FINAL_RIEUL = 0xAC00, 0xD7A3, 28, 8
PEOPLE = ("P", "Q", "R")

_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_NUMBER = re.compile(r"\{(\d+)~(\d+)\}")
_SLOT = re.compile(r"\{([A-Za-z]+)([가-힣]*)\}")


def final_of(word: str) -> int:
    """Return the index of the last syllable's final consonant: 0 for none, 8 for ㄹ; quotation marks are silent."""
    last = word.rstrip("”’")[-1]
    if HANGUL_BASE <= ord(last) <= HANGUL_LAST:
        return (ord(last) - HANGUL_BASE) % FINALS
    return int(last in CLOSED_DIGITS or last in "lmnLMN")


def with_particle(word: str, particle: str) -> str:
    """Return the word followed by the form of the particle that suits it; other endings are appended as they are."""
    if particle not in ALTERNATES:
        return word + particle
    final = final_of(word)
    is_open = final == 0 or (particle == "으로" and final == FINAL_RIEUL)
    return word + (ALTERNATES[particle] if is_open else particle)


def introduce(frame: str, seen: set[str]) -> str:
    """Return the frame with roles beside people named for the first time; `seen` is extended by those named."""
    for key in PEOPLE:
        first = re.search(r"\{" + key + r"([가-힣]*)\}", frame)
        if first is None:
            continue
        has_role = frame[first.end() :].startswith(f" {{{key}r")
        if key not in seen and not has_role:
            frame = f"{frame[: first.start()]}{{{key}}} {{{key}r{first.group(1)}}}{frame[first.end() :]}"
        seen.add(key)
    return frame


def expand(frame: str, words: Mapping[str, str], rng: random.Random) -> str:
    """Return the sentence that the frame makes with these words.

    Raises:
        KeyError: the frame has a slot that `words` does not fill.
    """
    text = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), frame)
    text = _NUMBER.sub(lambda match: str(rng.randint(int(match.group(1)), int(match.group(2)))), text)
    return _SLOT.sub(lambda match: with_particle(words[match.group(1)], match.group(2)), text)


def frames_of(block: str) -> list[str]:
    """Return the frames of a block: one a line, blank lines left out."""
    return [line.strip() for line in block.splitlines() if line.strip()]


def in_order(items: Iterable[str], count: int, rng: random.Random) -> list[str]:
    """Return `count` of the items, chosen at random, in their own order."""
    pool = list(items)
    return [pool[i] for i in sorted(rng.sample(range(len(pool)), min(count, len(pool))))]


def replace_file(path: Path, content: bytes) -> None:
    """Write the file whole: beside its place first, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    beside.replace(path)
