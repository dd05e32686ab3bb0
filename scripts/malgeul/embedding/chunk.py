"""Documents to chunks: whole sentences where they fit, never over the limits, nothing left out.

What holds for every document: each character that is not white space lies in a chunk, ``text[start:end]`` is the chunk,
no chunk is empty or longer than asked in characters and tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from malgeul.embedding.settings import ChunkSettings

_SENTENCE = re.compile(r".+?(?:[.?!…]+[\"'”’)\]]*(?=\s|$)|\n+|$)", re.DOTALL)


@dataclass(frozen=True)
class Size:
    """Limits of a chunk: at most ``longest`` characters, of which ``overlap`` may come from the chunk before."""

    longest: int
    overlap: int
    name: str = ""


BY_KIND = {
    "statute": Size(1000, 150),
    "case": Size(2000, 600),
}
"""Strategy dynamic: limits by kind of document; others take :data:`DYNAMIC_DEFAULT`."""

DYNAMIC_DEFAULT = Size(1500, 225)

HYBRID = (Size(800, 0, "small"), Size(1500, 0, "medium"), Size(2500, 0, "large"))
"""Strategy hybrid: three sizes of every document at once."""


@dataclass(frozen=True)
class Chunk:
    """The characters [start, end) of a document, their number of tokens, and the name of the size they have."""

    start: int
    end: int
    tokens: int
    size: str


def sizes_of(settings: ChunkSettings, meta: dict[str, Any]) -> tuple[Size, ...]:
    """Return the sizes in which a document is cut."""
    match settings.strategy:
        case "standard":
            return (Size(settings.max_chars, settings.overlap_chars),)
        case "dynamic":
            return (BY_KIND.get(str(meta.get("kind")), DYNAMIC_DEFAULT),)
    return HYBRID


def chunks_of(text: str, size: Size, count_tokens: Callable[[str], int], most_tokens: int) -> Iterator[Chunk]:
    """Cut a text into chunks within ``size.longest`` characters and ``most_tokens`` tokens (special ones counted)."""
    units = [
        piece for span in sentences(text) for piece in fitting(text, span, size.longest, count_tokens, most_tokens)
    ]
    first = 0
    while first < len(units):
        start, last = units[first][0], first
        while last + 1 < len(units) and _fits(text, start, units[last + 1][1], size.longest, count_tokens, most_tokens):
            last += 1
        end = units[last][1]
        yield Chunk(start, end, count_tokens(text[start:end]), size.name)
        if last + 1 == len(units):
            return
        after = last + 1
        first = _first_of_next(units, first, last, size.overlap)
        # What is taken over must leave room for something new, or the chunk would lie inside the one before.
        while first < after and not _fits(
            text, units[first][0], units[after][1], size.longest, count_tokens, most_tokens
        ):
            first += 1


def _first_of_next(units: list[tuple[int, int]], first: int, last: int, overlap: int) -> int:
    """Return the unit that the next chunk begins with: as many whole units of this one as the overlap allows."""
    begin = last + 1
    while begin - 1 > first and units[last][1] - units[begin - 1][0] <= overlap:
        begin -= 1
    return begin


def _fits(text: str, start: int, end: int, longest: int, count_tokens: Callable[[str], int], most_tokens: int) -> bool:
    return end - start <= longest and count_tokens(text[start:end]) <= most_tokens


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the [start, end) of sentences and lines without the white space around them."""
    for match in _SENTENCE.finditer(text):
        stripped = match[0].strip()
        if stripped:
            start = match.start() + match[0].index(stripped[0])
            yield start, start + len(stripped)


def fitting(
    text: str, span: tuple[int, int], longest: int, count_tokens: Callable[[str], int], most_tokens: int
) -> Iterator[tuple[int, int]]:
    """Yield a sentence, or the pieces of one that is over the limits: cut between words where there is a choice."""
    start, end = span
    while start < end:
        stop = min(end, start + longest)
        while not _fits(text, start, stop, longest, count_tokens, most_tokens):
            stop = start + max(1, (stop - start) // 2)
            if stop == start + 1:
                break  # one character is the least there is
        if stop < end:
            space = text.rfind(" ", start + 1, stop)
            stop = space if space > start else stop
        yield start, stop
        start = stop
        while start < end and text[start].isspace():
            start += 1
