"""Where sentences begin: by Kiwi, which knows Korean endings, or by punctuation alone.

``python -m malgeul.embedding.sentences THREADS`` is the process that Kiwi runs in; SentenceProcess starts it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from malgeul.embedding.boundaries import LINE_BREAK
from malgeul.models.kiwi import KiwiReader, Segment
from malgeul.models.kiwi_process import KiwiProcess, serve

_END = re.compile(r"(?:(?<!\d)\.|[?!…])[\"'”’」』)\]]*\s+")
"""The end of a sentence with the white space behind it. Behind a digit a full stop ends a date or a list's number."""

_LOOK_BACK = 100
"""Characters before a segment in which the end of a sentence is looked for."""


def punctuation_starts(text: str) -> list[int]:
    """Return where sentences begin, by punctuation and line ends."""
    found = {match.end() for pattern in (_END, LINE_BREAK) for match in pattern.finditer(text)}
    first = len(text) - len(text.lstrip())
    return sorted({first, *found} - {len(text)})


class SentenceSplitter(KiwiReader[list[int]]):
    """Texts to the places where Kiwi's sentences begin. None is a white space."""

    def ask(self, texts: str | Iterable[str]) -> Any:
        """Return the sentences of a text, or an iterator of such lists."""
        return self.kiwi.split_into_sents(texts, return_sub_sents=False)

    def summarize(self, text: str, pieces: Sequence[Segment], answers: Sequence[Any]) -> list[int]:
        """Return the starts of all sentences of a document; where a segment was cut within one, none begins."""
        starts = []
        for piece, sentences in zip(pieces, answers, strict=True):
            for number, sentence in enumerate(sentences):
                start = piece.start + sentence.start
                if (number or not piece.start or _ended_before(text, start)) and not text[start].isspace():
                    starts.append(start)
        return starts


def _ended_before(text: str, start: int) -> bool:
    """Tell whether a line or a sentence ends before a place."""
    before = text[max(0, start - _LOOK_BACK) : start]
    return bool(LINE_BREAK.search(before[len(before.rstrip()) :])) or any(
        match.end() == len(before) for match in _END.finditer(before)
    )


class SentenceProcess(KiwiProcess[list[int]]):
    """Like :class:`SentenceSplitter`, but no text can take the job's own process down. A context manager."""

    def __init__(self, threads: int) -> None:
        super().__init__("malgeul.embedding.sentences", threads)

    def decode(self, fields: Any) -> list[int]:
        """Return the starts as they came."""
        return list(fields)


if __name__ == "__main__":
    serve(SentenceSplitter(int(sys.argv[1])), list, sys.stdin.buffer, sys.stdout.buffer)
