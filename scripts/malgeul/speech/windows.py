"""Speech windows: what is spoken in a channel, packed so that a model hears as much as it can at once."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 16_000
FULL_SCALE = 1 << 15
"""The amplitude of 0 dBFS."""
FRAME = 320
"""Samples of a level frame: 20 ms."""

LONGEST_SECONDS = 30.0
"""What OpenAI's Whisper hears at once."""

MARGIN_SECONDS = 0.2
"""What a model hears before and after what is spoken."""
BRIDGED_SECONDS = 1.0
"""A pause up to this stays in a window; a longer one is left out, but for the margins."""
PAUSE_SECONDS = BRIDGED_SECONDS - 2 * MARGIN_SECONDS
"""Silence in the place of a pause that was left out: with the margins it is long enough to end a segment."""

SEARCH_SECONDS = 8.0
SEARCH_SHARE = 0.75
"""How far before the end of what is too long for a window its quietest place is looked for: so long, but only in this
share of it."""

BLOCK_SECONDS = 60.0
"""How much is measured at once."""

Audio = npt.NDArray[np.float32]
Levels = npt.NDArray[np.float32]


Span = tuple[float, float]
"""[start, end) in seconds of a recording."""


@dataclass(frozen=True)
class Window:
    """Spans of one channel of one recording that a model hears one after the other."""

    recording: str
    channel: int
    stem: str
    spans: tuple[Span, ...]

    @property
    def start(self) -> float:
        """Where it begins in the recording."""
        return self.spans[0][0]

    @property
    def seconds(self) -> float:
        """How much sound it holds, the pauses between its spans included."""
        return sum(end - start for start, end in self.spans) + (len(self.spans) - 1) * PAUSE_SECONDS

    def place(self, start: float, end: float) -> tuple[float, float, bool]:
        """Return where in the recording lies what is heard in [start, end) seconds of the window.

        What reaches from one span into another is where most of it is; the third value says that it does, for more than
        the margins. What is heard in a pause is at the border that is nearest.
        """
        parts = self._heard_in_spans(start, end)
        _, _, begins, ends = max(parts)
        return begins, ends, sum(heard > MARGIN_SECONDS for heard, *_ in parts) > 1

    def span_of(self, start: float, end: float) -> int:
        """Return the number of the span in which :meth:`place` puts what is heard in [start, end) seconds."""
        parts = self._heard_in_spans(start, end)
        return parts.index(max(parts))

    def _heard_in_spans(self, start: float, end: float) -> list[tuple[float, float, float, float]]:
        """Return for every span how much of it is heard, how far it is away (negative), and where that lies in it."""
        parts = []
        at = 0.0
        for first, last in self.spans:
            length = last - first
            inside = (min(max(start - at, 0.0), length), min(max(end - at, 0.0), length))
            away = max(at - end, start - at - length, 0.0)
            parts.append((inside[1] - inside[0], -away, first + inside[0], first + inside[1]))
            at += length + PAUSE_SECONDS
        return parts


@contextmanager
def opened_channel(path: Path) -> Iterator[wave.Wave_read]:
    """Open a mono 16 kHz WAV; raises ValueError for another format."""
    with wave.open(str(path), "rb") as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (RATE, 2, 1):
            raise ValueError(f"{path} is not 16 kHz mono PCM of 16 bits")
        yield file


def read_audio(file: Path, start: float, end: float) -> Audio:
    """Return the samples of [start, end) seconds of a 16 kHz mono PCM file as float32 in -1..1."""
    with wave.open(str(file), "rb") as audio:
        first = round(start * RATE)
        audio.setpos(first)
        raw = audio.readframes(round(end * RATE) - first)
    samples: npt.NDArray[np.int16] = np.frombuffer(raw, dtype="<i2")
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def read_window(file: Path, window: Window) -> Audio:
    """Return the sound of a window, its spans with silence between them; ``file`` holds its channel."""
    pause = np.zeros(round(PAUSE_SECONDS * RATE), np.float32)
    parts = [part for start, end in window.spans for part in (pause, read_audio(file, start, end))]
    return np.concatenate(parts[1:])


def levels(file: Path, start: float, end: float) -> Levels:
    """Return the level of every 20 ms frame of [start, end) seconds of a 16 kHz mono PCM file, dBFS, shape (frames,).

    Read by the minute, so that many hours take no more memory than a short stretch.
    """
    parts = [np.empty(0, np.float32)]
    for at in np.arange(start, end, BLOCK_SECONDS):
        samples = read_audio(file, at, min(at + BLOCK_SECONDS, end))
        whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        power = np.einsum("fs,fs->f", whole, whole) / FRAME
        parts.append((10 * np.log10(np.maximum(power, 1e-12))).astype(np.float32))
    return np.concatenate(parts)


def windows_of(recording: dict[str, Any], folder: Path, longest: float = LONGEST_SECONDS) -> list[Window]:
    """Pack what is spoken in every channel of a recording into windows of at most ``longest`` seconds of sound.

    ``recording`` is its row of the manifest. ``folder`` holds its channels; they are looked at only where somebody
    speaks for longer than a window without a pause, which is cut at the quietest place.
    """
    return [
        Window(recording["id"], channel, stem, tuple(spans))
        for channel, stem in enumerate(recording["channels"])
        for spans in _packed(recording["speech"][stem], recording["seconds"], folder / f"{stem}.wav", longest)
    ]


def _packed(spoken: Sequence[Span], seconds: float, file: Path, longest: float) -> list[list[Span]]:
    windows: list[list[Span]] = []
    room = 0.0
    for span in _with_margins(spoken, seconds):
        for start, end in _split(span, file, longest):
            if end - start > room:
                windows.append([])
                room = longest
            windows[-1].append((start, end))
            room -= end - start + PAUSE_SECONDS
    return windows


def _with_margins(spoken: Sequence[Span], seconds: float) -> list[Span]:
    """Return the spans with margins, those joined that only a short pause parts."""
    joined: list[Span] = []
    for start, end in spoken:
        start, end = max(start - MARGIN_SECONDS, 0.0), min(end + MARGIN_SECONDS, seconds)
        if joined and start - joined[-1][1] <= PAUSE_SECONDS:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _split(span: Span, file: Path, longest: float) -> Iterator[Span]:
    """Yield the parts of a span that are short enough, cut at the quietest places."""
    start, end = span
    if end - start > longest:
        quiet = _smoothed(levels(file, start, end))
        frames = int(longest * RATE / FRAME)
        search = int(min(SEARCH_SECONDS, SEARCH_SHARE * longest) * RATE / FRAME)
        first = 0
        while end - start - first * FRAME / RATE > longest:
            last = first + frames - search + int(np.argmin(quiet[first + frames - search : first + frames]))
            yield start + first * FRAME / RATE, start + last * FRAME / RATE
            first = last
        start += first * FRAME / RATE
    yield start, end


def _smoothed(level: Levels) -> Levels:
    """Return the mean level over 0.3 s around every frame: a gap between words, not between syllables."""
    kernel = np.full(15, 1 / 15, np.float32)
    return np.convolve(level, kernel, mode="same").astype(np.float32)
