"""Who speaks when: talk time, turns, latencies, pauses, overlaps and rates, from the times of a transcript's segments.

What is measured is as exact as those times are (Whisper's grid is 20 ms, its ends are often late). The terms are
Heldner and Edlund's, "Pauses, gaps and overlaps in conversations" (Journal of Phonetics 38, 2010): a pause is silence
within a speaker's turn, a gap is silence between two speakers' turns, an overlap is two speakers at once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from statistics import median

LEAST_OVERLAP = 0.2
"""Seconds of simultaneous speech from which on it counts as an overlap, since segment times are not exact."""

_SYLLABLE = re.compile(r"[가-힣]")

Interval = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Utterance:
    """A segment of a transcript: times in seconds, text, and who speaks (None where voices are not told apart)."""

    start: float
    end: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True)
class Turn:
    """Utterances of one speaker with nobody else's start between them."""

    speaker: str | None
    utterances: tuple[Utterance, ...]

    @property
    def start(self) -> float:
        """When the first utterance starts."""
        return self.utterances[0].start

    @property
    def end(self) -> float:
        """When the last utterance to end ends."""
        return max(utterance.end for utterance in self.utterances)


@dataclass(frozen=True)
class Transition:
    """How a turn follows what was said before: seconds from the end of that to its start, negative in an overlap."""

    speaker: str | None
    offset: float
    goes_on: bool
    """Whether the turn is still going on when all before it has ended."""
    after_another: bool = True
    """Whether it was another speaker's turn that ended last: a word that falls into a turn does not end it."""


@dataclass(frozen=True)
class Pauses:
    """How many pauses are longer than a threshold, and how long they are together, in seconds."""

    longer_than: float
    count: int
    seconds: float


def count_syllables(text: str) -> int:
    """Return the number of Hangul syllables, the unit of speech rate in Korean; digits and Latin do not count."""
    return len(_SYLLABLE.findall(text))


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of intervals as disjoint ones in order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def length(intervals: Iterable[Interval]) -> float:
    """Return the seconds that disjoint intervals cover."""
    return sum(end - start for start, end in intervals)


def intersect(first: Sequence[Interval], second: Sequence[Interval]) -> list[Interval]:
    """Return what two lists of disjoint intervals have in common."""
    common: list[Interval] = []
    i = j = 0
    while i < len(first) and j < len(second):
        start, end = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if start < end:
            common.append((start, end))
        if first[i][1] <= second[j][1]:
            i += 1
        else:
            j += 1
    return common


def subtract(first: Sequence[Interval], second: Sequence[Interval]) -> list[Interval]:
    """Return what of a list of disjoint intervals in order lies outside of another."""
    outside: list[Interval] = []
    j = 0
    for start, end in first:
        while j < len(second) and second[j][1] <= start:
            j += 1
        at, k = start, j
        while k < len(second) and second[k][0] < end:
            if at < second[k][0]:
                outside.append((at, second[k][0]))
            at = second[k][1]
            k += 1
        if at < end:
            outside.append((at, end))
    return outside


def talk_of(utterances: Iterable[Utterance]) -> list[Interval]:
    """Return when somebody talks."""
    return merge((utterance.start, utterance.end) for utterance in utterances)


def turns_of(utterances: Iterable[Utterance]) -> list[Turn]:
    """Return the turns of a conversation in order."""
    in_order = sorted(utterances, key=lambda u: (u.start, u.end, u.speaker or ""))
    return [Turn(speaker, tuple(together)) for speaker, together in groupby(in_order, key=lambda u: u.speaker)]


def transitions_of(turns: Sequence[Turn]) -> list[Transition]:
    """Return how every turn but the first follows the one before it that ended last."""
    return [
        Transition(turn.speaker, turn.start - last.end, turn.end > last.end, turn.speaker != last.speaker)
        for last, turn in zip(accumulate(turns, _last_to_end), turns[1:], strict=False)
    ]


def _last_to_end(last: Turn, turn: Turn) -> Turn:
    return turn if turn.end >= last.end else last


def latency_of(transitions: Iterable[Transition]) -> float | None:
    """Return the median gap in seconds between another's turn and one that does not overlap it; None without any."""
    gaps = [transition.offset for transition in transitions if transition.after_another and transition.offset >= 0]
    return median(gaps) if gaps else None


def is_interruption(transition: Transition) -> bool:
    """Tell whether a turn starts while the other speaker talks and goes on after they have stopped."""
    return transition.after_another and transition.offset <= -LEAST_OVERLAP and transition.goes_on


def pauses_between(turns: Iterable[Turn], others: Sequence[Interval], threshold: float) -> list[Interval]:
    """Return the pauses within turns that are longer than ``threshold`` (seconds), in the order of the turns.

    ``others`` is when other speakers talk (disjoint intervals in order): while they do there is no silence.
    """
    silences = [(before[1], after[0]) for turn in turns for before, after in pairwise(talk_of(turn.utterances))]
    return [silence for silence in silences if silence[1] - silence[0] > threshold and not _meets(silence, others)]


def _meets(interval: Interval, others: Sequence[Interval]) -> bool:
    """Tell whether an interval has something in common with disjoint ones in order."""
    before_its_end = bisect_left(others, (interval[1], interval[1]))
    return before_its_end > 0 and others[before_its_end - 1][1] > interval[0]


def pauses_of(turns: Iterable[Turn], others: Sequence[Interval], thresholds: Iterable[float]) -> list[Pauses]:
    """Count the pauses within turns that are longer than each of ``thresholds`` (seconds)."""
    silences = [end - start for start, end in pauses_between(turns, others, 0)]
    found = []
    for threshold in sorted(thresholds):
        longer = [silence for silence in silences if silence > threshold]
        found.append(Pauses(threshold, len(longer), sum(longer)))
    return found


def overlaps_of(speakers: Iterable[Sequence[Utterance]]) -> list[Interval]:
    """Return when at least two speakers talk at once, for :data:`LEAST_OVERLAP` or longer."""
    talks = [talk_of(utterances) for utterances in speakers]
    pairs = [overlap for n, talk in enumerate(talks) for other in talks[n + 1 :] for overlap in intersect(talk, other)]
    return [overlap for overlap in merge(pairs) if overlap[1] - overlap[0] >= LEAST_OVERLAP]
