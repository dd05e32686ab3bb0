"""Kiwi over many texts: native threads, answers in order, a text on which it raises alone with its fault.

Kiwi runs its own threads over an iterable and returns results in order, so that they are the same for any number of
threads. What it is given is cut beforehand: runs of more than about 8,192 characters without a space have aborted the
process, and the time of one analysis grows with the square of its length (0.3 million characters take 16 s).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from malgeul.shards.faults import Fault, is_transient

SEGMENT_CHARACTERS = 4000
"""A longer text is analysed in segments, cut at a line's end, else at a space, else (no space at all) anywhere."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Segment:
    """A piece of a document that is analysed by itself: where it starts, and its text."""

    start: int
    text: str


def segments(text: str, limit: int = SEGMENT_CHARACTERS) -> list[Segment]:
    """Cut a text into pieces of at most ``limit`` characters; joined, they are the text."""
    pieces: list[Segment] = []
    start = 0
    while len(text) - start > limit:
        end = start + limit
        cut = text.rfind("\n", start, end)
        if cut <= start:
            cut = text.rfind(" ", start, end)
        end = cut + 1 if cut > start else end
        pieces.append(Segment(start, text[start:end]))
        start = end
    return [*pieces, Segment(start, text[start:])]


class SourceFailed(Exception):
    """The iterable of texts raised ``error``: kept apart from what the analysis raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class KiwiReader(ABC, Generic[Answer]):
    """Kiwi with as many threads of its own as were granted. The model is loaded when the first text comes.

    What is asked of it and what is kept of its answers is up to the class that inherits.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @cached_property
    def kiwi(self) -> Any:
        """The loaded model (about 2 s and 0.5 GB)."""
        from kiwipiepy import Kiwi

        return Kiwi(num_workers=self.threads)

    @abstractmethod
    def ask(self, texts: str | Iterable[str]) -> Any:
        """Return Kiwi's answer to a text, or an iterator of them for an iterable of texts."""

    @abstractmethod
    def summarize(self, text: str, pieces: Sequence[Segment], answers: Sequence[Any]) -> Answer:
        """Return what is kept of the answers to a text's segments."""

    def analyze(self, texts: Iterable[str]) -> Iterator[Answer | Fault]:
        """Yield an answer per text, in order; a fault for a text on which Kiwi raises. An empty text costs nothing.

        Texts are pulled some 16 per thread ahead. When Kiwi raises, it drops a text and goes on, which would shift all
        later results; so its answers are given up there, and the texts under way are analysed one by one.
        """
        source = iter(texts)
        waiting: deque[tuple[str, list[Segment]]] = deque()
        while True:
            try:
                yield from self._together(source, waiting)
            except SourceFailed as failure:
                raise failure.error from None
            except Exception as error:
                if is_transient(error) or not waiting:
                    raise
            if not waiting:
                return
            while waiting:
                yield self._alone(*waiting.popleft())

    def _together(self, source: Iterator[str], waiting: deque[tuple[str, list[Segment]]]) -> Iterator[Answer]:
        """Yield answers while Kiwi gives them; ``waiting`` holds the texts that it was given and has not answered."""

        def feed() -> Iterator[str]:
            while True:
                try:
                    text = next(source)
                except StopIteration:
                    return
                except Exception as error:
                    raise SourceFailed(error) from error
                pieces = segments(text)
                waiting.append((text, pieces))
                for piece in pieces:
                    yield piece.text

        answers: list[Any] = []
        for answer in self.ask(feed()):
            answers.append(answer)
            text, pieces = waiting[0]
            if len(answers) == len(pieces):
                summary = self.summarize(text, pieces, answers)
                waiting.popleft()
                answers = []
                yield summary

    def _alone(self, text: str, pieces: list[Segment]) -> Answer | Fault:
        try:
            return self.summarize(text, pieces, [self.ask(piece.text) for piece in pieces])
        except Exception as error:  # whatever it is, it is this document's and is recorded as such
            if is_transient(error):
                raise
            return Fault("UNTOKENIZABLE", f"{type(error).__name__}: {error}", "analysed by itself")
