"""A recording as a picture: its waveform in rows, who speaks, what is doubtful, and what lexicons found, over time.

Places along a row are percent of its width and heights are pixels, so that a row stretches with the page and its text
does not. A recording of up to a minute is one row. A longer one has at most :data:`MOST_ROWS` rows, and what would be
narrower than a column is joined with what is beside it, so that a page is not larger for a longer recording.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from math import ceil, log10
from typing import Any

import numpy as np

from malgeul.pages.quantities import amount, clock, duration
from malgeul.pages.rendering import visible
from malgeul.speech.interaction import (
    Interval,
    Turn,
    Utterance,
    is_interruption,
    overlaps_of,
    pauses_between,
    talk_of,
    transitions_of,
    turns_of,
)
from malgeul.speech.waveform import Envelope
from malgeul.speech.windows import FULL_SCALE

COLUMNS = 720
"""Columns of the waveform in a row."""
MOST_ROWS = 24
ROW_SECONDS = (60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
LONGEST_ROW = 3600.0
TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
MOST_TICKS = 8
LOUDEST = 0.01
"""Share of full scale (-40 dBFS) below which a waveform is not enlarged: silence is to look like silence."""

WIDE, NARROW = 880, 310
"""Pixels of a row for which labels are placed: on a screen, and on whatever is smaller."""
GAP = 7
"""Pixels between two labels."""
TEXT_FROM = 4.0
"""Percent of a row from which on there is room for text in a bar."""

TICKS_HEIGHT, LABELS_HEIGHT, WAVE_HEIGHT, LANE_HEIGHT, EXCHANGE_HEIGHT = 18, 16, 52, 20, 12
"""Pixels."""


@dataclass(frozen=True)
class Bar:
    """Something that lasts: its place in its row (percent), what it is; a segment's number and start in seconds."""

    x: float
    width: float
    title: str
    text: str = ""
    number: int = 0
    at: float = 0.0
    doubtful: bool = False


@dataclass(frozen=True)
class Label:
    """Text at a place of a row (percent)."""

    x: float
    text: str


@dataclass(frozen=True)
class Labels:
    """The labels of a line for which there is room, on a wide and on a narrow screen, and the line's place."""

    y: int
    wide: list[Label]
    narrow: list[Label]


@dataclass(frozen=True)
class Lane:
    """What one voice says in a row; ``colour`` numbers the voices."""

    y: int
    colour: int
    bars: list[Bar]
    pauses: list[Bar]
    doubts: Labels


@dataclass
class Wave:
    """The waveform of a channel in a row as an SVG path over COLUMNS x 200, and the voices that speak on it.

    The lexicon spans of these voices are marked over all of it, ``height`` pixels from ``y`` on; ``without_text`` is
    where speech was found and no text.
    """

    y: int
    name: str
    path: str
    spans: list[Bar]
    span_labels: Labels
    without_text: list[Bar]
    height: int = 0
    lanes: list[Lane] = field(default_factory=list)


@dataclass
class Row:
    """A stretch of a recording: [start, end) in seconds, and what there is in it, from the top to the bottom."""

    start: float
    end: float
    words: str = ""
    height: int = 0
    ticks: list[Label] = field(default_factory=list)
    waves: list[Wave] = field(default_factory=list)
    overlaps: list[Bar] = field(default_factory=list)
    overlap_labels: Labels | None = None
    overlaps_y: int = 0
    missing: Bar | None = None


@dataclass(frozen=True)
class Voice:
    """A voice of a recording: its speaker, its channel, what it is called.

    The speaker None stands for voices that are not told apart, and for what no speaker claims.
    """

    speaker: str | None
    channel: int

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return voice_name(self.speaker)


def voice_name(speaker: str | None) -> str:
    """Return what a reader calls a speaker."""
    if speaker is None:
        return "unnamed voices"
    return f"speaker {speaker}" if speaker.isdigit() else speaker


def row_seconds(seconds: float, missing: float = 0.0) -> float:
    """Return how much of a recording of this length is in a row; a minute or less, with what is missing, is one row."""
    seconds = min(seconds + missing, max(seconds, ROW_SECONDS[0]))
    if seconds <= ROW_SECONDS[0]:
        return max(seconds, 1.0)
    fitting = (length for length in ROW_SECONDS if seconds <= length * MOST_ROWS)
    return next(fitting, LONGEST_ROW * ceil(seconds / LONGEST_ROW / MOST_ROWS))


def full_scale(envelopes: Sequence[Envelope]) -> float:
    """Return the sample that is drawn at full height, of all channels of a recording, in dBFS."""
    loudest = max((int(np.abs(e.astype(np.int32)).max(initial=0)) for e in envelopes), default=0)
    return 20 * log10(max(loudest / FULL_SCALE, LOUDEST))


def draw_rows(
    seconds: float,
    missing: float,
    envelopes: Sequence[Envelope],
    voices: Sequence[Voice],
    utterances: Sequence[Utterance],
    flags: Sequence[Sequence[str]],
    evidence: Sequence[dict[str, Any]],
    least_pause: float,
    without_text: Sequence[dict[str, Any]] = (),
) -> list[Row]:
    """Return the rows of a recording.

    ``envelopes`` are of its channels, in columns of ``row_seconds(seconds, missing) / COLUMNS``; ``flags`` are those
    of the utterances; ``missing`` seconds at the end could not be decoded, and are drawn to the end of the row in which
    they begin. Pauses longer than ``least_pause`` are marked, as is speech ``without_text``.
    """
    length = row_seconds(seconds, missing)
    rows = int(seconds / length) + 1 if missing else max(1, ceil(round(seconds / length, 6)))
    drawing = _Drawing(length, rows, utterances, flags)
    peak = FULL_SCALE * 10 ** (full_scale(envelopes) / 20)
    turns = turns_of(utterances)
    channel_of = {voice.speaker: voice.channel for voice in voices}
    drawing.add_ticks()
    for channel, envelope in enumerate(envelopes):
        spans = [(number, s) for number, s in enumerate(evidence, 1) if channel_of[s["speaker"]] == channel]
        wordless = [_times(place) for place in without_text if place["channel"] == channel]
        drawing.add_wave(f"channel {channel}" if len(envelopes) > 1 else "", envelope, peak, spans, wordless)
        for colour, voice in enumerate(voices):
            if voice.channel == channel:
                own = [turn for turn in turns if turn.speaker == voice.speaker]
                others = talk_of(utterance for utterance in utterances if utterance.speaker != voice.speaker)
                drawing.add_lane(colour, voice, pauses_between(own, others, least_pause))
    if len(voices) > 1:
        drawing.add_overlaps(_exchanges(voices, utterances, turns))
    if missing:
        drawing.add_missing(seconds, missing)
    drawing.describe(evidence)
    return drawing.rows


def _exchanges(
    voices: Sequence[Voice], utterances: Sequence[Utterance], turns: Sequence[Turn]
) -> Iterator[tuple[Interval, str]]:
    """Yield when two talk at once, and who interrupts then."""
    transitions = zip(turns[1:], transitions_of(turns), strict=True)
    interruptions = [(turn.start, turn.speaker) for turn, transition in transitions if is_interruption(transition)]
    spoken = [[u for u in utterances if u.speaker == voice.speaker] for voice in voices]
    for start, end in overlaps_of(spoken):
        who = [voice_name(speaker) for at, speaker in interruptions if start <= at < end]
        words = f"overlap {duration(end - start)}" + "".join(f", {name} interrupts" for name in who)
        yield (start, end), words


class _Drawing:
    """Rows of a fixed length that are filled from the top to the bottom."""

    def __init__(
        self, length: float, rows: int, utterances: Sequence[Utterance], flags: Sequence[Sequence[str]]
    ) -> None:
        self.length = length
        self.segments = list(zip(utterances, flags, strict=True))
        self.rows = [Row(number * length, (number + 1) * length) for number in range(rows)]

    def add_ticks(self) -> None:
        step = next((s for s in TICK_SECONDS if self.length / s <= MOST_TICKS), TICK_SECONDS[-1])
        for row in self.rows:
            first = ceil(row.start / step)
            times = (step * number for number in range(first, ceil(row.end / step)))
            row.ticks = [Label(self._x(row, time), _short_clock(time)) for time in times]
            row.height = TICKS_HEIGHT

    def add_wave(
        self,
        name: str,
        envelope: Envelope,
        peak: float,
        evidence: Sequence[tuple[int, dict[str, Any]]],
        wordless: Sequence[Interval],
    ) -> None:
        """Add a channel's waveform; marked are segments with what lexicons found on it, and speech without text."""
        found = self._spans(evidence)
        without_text: list[list[Bar]] = [[] for _ in self.rows]
        for start, end in wordless:
            title = f"{clock(start)}–{clock(end)} speech without text"
            for number, x, width in self._pieces(start, end):
                without_text[number].append(Bar(x, width, title))
        for number, (row, marks) in enumerate(zip(self.rows, found, strict=True)):
            path = _path(envelope[number * COLUMNS : (number + 1) * COLUMNS], peak)
            labels = _labels(row.height, [(bar.x, texts) for bar, texts in marks])
            row.height += LABELS_HEIGHT if evidence else 0
            spans, wordless_bars = _joined([bar for bar, _ in marks]), _joined(without_text[number])
            row.waves.append(Wave(row.height, name, path, spans, labels, wordless_bars, WAVE_HEIGHT))
            row.height += WAVE_HEIGHT

    def _spans(self, evidence: Sequence[tuple[int, dict[str, Any]]]) -> list[list[tuple[Bar, list[str]]]]:
        """Return the marks of every row with their labels; rules that found something in one segment share a mark."""
        found: list[list[tuple[Bar, list[str]]]] = [[] for _ in self.rows]
        numbered = sorted(evidence, key=lambda item: (*_times(item[1]), item[0]))
        for (start, end), group in groupby(numbered, key=lambda item: _times(item[1])):
            spans = list(group)
            rules = [f"S{n} {span['rule']}" for n, span in spans]
            title = "; ".join(f"S{n} {span['rule']}: {span['quote']}" for n, span in spans)
            first, last = spans[0][0], spans[-1][0]
            texts = [rules[0], f"S{first}"]
            if len(spans) > 1:
                texts = [" · ".join(rules), f"{rules[0]} +{len(rules) - 1}", f"S{first}–{last}"]
            for number, x, width in self._pieces(start, end):
                found[number].append((Bar(x, width, title), texts))
        return found

    def add_lane(self, colour: int, voice: Voice, silences: Sequence[Interval]) -> None:
        """Add what a voice says on the channel that was added last, with its pauses and what is doubtful."""
        said: list[list[Bar]] = [[] for _ in self.rows]
        doubts: list[list[tuple[float, Sequence[str]]]] = [[] for _ in self.rows]
        pauses: list[list[Bar]] = [[] for _ in self.rows]
        for number, (utterance, doubtful) in enumerate(self.segments, 1):
            if utterance.speaker != voice.speaker:
                continue
            what = f"{clock(utterance.start)}–{clock(utterance.end)} {voice.name}: {utterance.text}"
            title = f"{what} ({', '.join(doubtful)})" if doubtful else what
            for place, x, width in self._pieces(utterance.start, utterance.end):
                text = utterance.text if width >= TEXT_FROM else ""
                said[place].append(Bar(x, width, title, text, number, utterance.start, bool(doubtful)))
                if doubtful:
                    doubts[place].append((x, [f"! {', '.join(doubtful)}", "!"]))
        for start, end in silences:
            for number, x, width in self._pieces(start, end):
                words = f"pause {duration(end - start)}"
                pauses[number].append(Bar(x, width, words, duration(end - start) if width >= TEXT_FROM else ""))
        has_doubts = any(doubts)
        for row, bars, gaps, labels in zip(self.rows, said, pauses, doubts, strict=True):
            y = row.height
            row.height += LANE_HEIGHT
            placed = _labels(row.height, labels)
            row.height += LABELS_HEIGHT if has_doubts else 0
            row.waves[-1].height = row.height - row.waves[-1].y
            row.waves[-1].lanes.append(Lane(y, colour, _joined(bars), _joined(gaps), placed))

    def add_overlaps(self, exchanges: Iterable[tuple[Interval, str]]) -> None:
        """Mark when two talk at once."""
        found: list[list[Bar]] = [[] for _ in self.rows]
        for (start, end), words in exchanges:
            for number, x, width in self._pieces(start, end):
                found[number].append(Bar(x, width, f"{clock(start)}–{clock(end)} {words}", words))
        if not any(found):
            return
        for row, bars in zip(self.rows, found, strict=True):
            row.overlaps = _joined(bars)
            row.overlaps_y = row.height
            row.height += EXCHANGE_HEIGHT
            row.overlap_labels = _labels(row.height, [(bar.x, [bar.text, bar.text.split(",")[0]]) for bar in bars])
            row.height += LABELS_HEIGHT

    def add_missing(self, seconds: float, missing: float) -> None:
        """Mark the end that could not be decoded."""
        for number, x, width in self._pieces(seconds, seconds + missing):
            self.rows[number].missing = Bar(x, width, f"missing {duration(missing)}")

    def describe(self, evidence: Sequence[dict[str, Any]]) -> None:
        """Say in words what is in a row, for those who do not see it."""
        segments = [0] * len(self.rows)
        doubtful = [0] * len(self.rows)
        spans = [0] * len(self.rows)
        for utterance, of_it in self.segments:
            number = self._row(utterance.start)
            segments[number] += 1
            doubtful[number] += bool(of_it)
        for span in evidence:
            spans[self._row(span["start_seconds"])] += 1
        for row, n, doubted, found in zip(self.rows, segments, doubtful, spans, strict=True):
            parts = [amount(n, "segment")]
            parts += [f"{doubted} doubtful"] if doubted else []
            parts += [amount(found, "lexicon span")] if found else []
            parts += [row.missing.title] if row.missing else []
            row.words = ", ".join(parts)

    def _row(self, time: float) -> int:
        return min(int(time / self.length), len(self.rows) - 1)

    def _x(self, row: Row, time: float) -> float:
        return round(100 * (time - row.start) / self.length, 3)

    def _pieces(self, start: float, end: float) -> Iterator[tuple[int, float, float]]:
        """Yield the rows that an interval lies in, with its place and width there in percent."""
        for number in range(self._row(start), self._row(end) + 1):
            row = self.rows[number]
            x = self._x(row, max(start, row.start))
            width = round(self._x(row, min(end, row.end)) - x, 3)
            if width > 0 or start == end:
                yield number, x, width


def _times(span: dict[str, Any]) -> Interval:
    return span["start_seconds"], span["end_seconds"]


def _short_clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _path(envelope: Envelope, peak: float) -> str:
    """Return the outline of an envelope: along its highest samples, and back along its lowest."""
    if not len(envelope):
        return ""
    low, high = np.round(100 - envelope.T * (100 / peak)).astype(int).tolist()
    forth = "".join(f" 1{after - before:+d}" for before, after in pairwise(high))
    back = "".join(f"-1{after - before:+d}" for before, after in pairwise(reversed(low)))
    return f"M0 {high[0]}l{forth} 0{low[-1] - high[-1]:+d}{back}z".replace("+", " ")


def _joined(bars: Sequence[Bar]) -> list[Bar]:
    """Join bars that begin in the same column of a row; the first one's segment stands for all."""
    joined: list[Bar] = []
    column, count = -1, 0
    for bar in bars:
        at = int(bar.x * COLUMNS / 100)
        if joined and at == column:
            first = joined[-1]
            count += 1
            width = max(first.x + first.width, bar.x + bar.width) - first.x
            title = f"{first.title.removesuffix(f' … and {count - 1} more')} … and {count} more"
            joined[-1] = replace(first, width=width, title=title, doubtful=first.doubtful or bar.doubtful)
        else:
            joined.append(bar)
            column, count = at, 0
    return joined


def _labels(y: int, wanted: Sequence[tuple[float, Sequence[str]]]) -> Labels:
    return Labels(y, _placed(wanted, WIDE), _placed(wanted, NARROW))


def _placed(wanted: Sequence[tuple[float, Sequence[str]]], width: int) -> list[Label]:
    """Return the labels for which there is room in ``width`` pixels.

    At every place stands the first of its texts that ends before the next place, or else the last of them, which is the
    shortest, unless the label before reaches so far. The last label of a row may stand before its place.
    """
    placed: list[Label] = []
    free = 0.0
    places = sorted(wanted, key=lambda label: label[0])
    nexts = [x for x, _ in places[1:]]
    for (x, texts), following in zip(places, [*nexts, None], strict=True) if places else ():
        left = x * width / 100
        room = (width if following is None else following * width / 100) - GAP - left
        text = next((text for text in texts if _pixels(text) <= room), texts[-1])
        if following is None and text != texts[0] and left - GAP - _pixels(texts[0]) >= free:
            text = texts[0]
            left -= GAP + _pixels(text)
        left = max(0.0, min(left, width - GAP - _pixels(text)))
        if left >= free:
            placed.append(Label(round(100 * left / width, 3), text))
            free = left + _pixels(text) + GAP
    return placed


def _pixels(text: str) -> float:
    """Return about how wide a text of 11 pixels is drawn."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in visible(text))
    return 6.3 * (len(text) - wide) + 11.5 * wide
