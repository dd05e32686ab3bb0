"""Windows of pieces and the groups of mentions inside them.

The task is mention reference prediction (CorefBERT, Ye et al. 2020): a name that occurs several times in a window has
one occurrence masked, and the model must find it again in the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malgeul.dataset.tokenizer import Pieces


@dataclass(frozen=True)
class Mention:
    """A proper noun in a document: its surface is the characters [start, end)."""

    surface: str
    start: int
    end: int


@dataclass(frozen=True)
class PlacedMention:
    """A mention and the pieces [first, last) of the document that spell it, no more and no less."""

    mention: Mention
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """The pieces [first, last) of a document that a sequence holds."""

    first: int
    last: int


def place(mentions: Sequence[Mention], pieces: Pieces) -> tuple[list[PlacedMention], int]:
    """Find the pieces of every mention.

    Returns the mentions whose borders are borders of pieces, and how many were left out because a piece reaches over
    their border (a particle glued to the name, or bytes of a character that other bytes of are in another piece).
    """
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    spelling = [(k, start, end) for k, (start, end) in enumerate(pieces.spans) if end > start]
    reached = 0
    for k, start, end in spelling:
        if reached <= start:
            starts[start] = k
        reached = max(reached, end)
    following = reached
    for k, start, end in reversed(spelling):
        if end <= following:
            ends[end] = k + 1
        following = min(following, start)
    placed = [
        PlacedMention(mention, starts[mention.start], ends[mention.end])
        for mention in mentions
        if mention.start in starts and mention.end in ends
    ]
    return placed, len(mentions) - len(placed)


def windows(text: str, pieces: Pieces, capacity: int) -> Iterator[Window]:
    """Cut a document into consecutive windows of at most ``capacity`` pieces, between words where there is a choice."""
    first = 0
    while first < len(pieces):
        last = min(first + capacity, len(pieces))
        if last < len(pieces):
            last = _word_border(text, pieces, first, last)
        yield Window(first, last)
        first = last


def _word_border(text: str, pieces: Pieces, first: int, last: int) -> int:
    """Return the last place at or before ``last`` where a word begins, or ``last`` when the window is a single word."""
    for border in range(last, first, -1):
        start = pieces.spans[border][0]
        if start == 0 or text[start - 1].isspace() or text[start : start + 1].isspace():
            return border
    return last


def groups(placed: Sequence[PlacedMention], window: Window) -> dict[str, list[PlacedMention]]:
    """Return the mentions of a window by surface, those with two or more, in the order of the text."""
    inside: dict[str, list[PlacedMention]] = defaultdict(list)
    for mention in placed:
        if window.first <= mention.first and mention.last <= window.last:
            inside[mention.mention.surface].append(mention)
    return {surface: found for surface, found in inside.items() if len(found) > 1}
