"""Documents to the chunks of all their sizes, many at a time, so that Kiwi's threads have enough to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from malgeul.embedding.boundaries import Boundaries, prose_levels
from malgeul.embedding.chunk import Chunk, Text, chunks_of
from malgeul.embedding.sentences import SentenceProcess, SentenceSplitter, punctuation_starts
from malgeul.embedding.settings import ChunkSettings
from malgeul.embedding.sizes import STATUTE, Size, kind_of, sizes_of
from malgeul.embedding.statute import with_statute
from malgeul.embedding.tokens import TextTokenizer
from malgeul.shards.faults import Fault, ItemFault


@dataclass
class Cut:
    """What came of a document: its chunks, size by size, or the fault that keeps it out.

    ``punctuated`` is the fault of Kiwi on a document whose sentences were told apart by punctuation therefore.
    """

    chunks: list[Chunk] = field(default_factory=list)
    fault: Fault | None = None
    punctuated: Fault | None = None


class Chunker:
    """Cuts documents as the config says. ``splitter`` finds sentences; None stands for punctuation alone."""

    def __init__(
        self, settings: ChunkSettings, tokenizer: TextTokenizer, splitter: SentenceProcess | SentenceSplitter | None
    ) -> None:
        self._settings, self._tokenizer, self._splitter = settings, tokenizer, splitter

    def cut(self, documents: Sequence[tuple[str, str | None]]) -> list[Cut]:
        """Return what comes of documents, each its text and the kind that it states."""
        kinds = [kind_of(text, stated) for text, stated in documents]
        sizes = [sizes_of(self._settings, kind, self._tokenizer.longest) for kind in kinds]
        texts = [Text(text, self._tokenizer) for text, _ in documents]
        whole = [all(map(text.is_one_chunk, each)) for text, each in zip(texts, sizes, strict=True)]
        sentences = self._sentences(text.text for text, one in zip(texts, whole, strict=True) if not one)
        return [
            _cut(text, kind, each, *(([], None) if one else next(sentences)))
            for text, kind, each, one in zip(texts, kinds, sizes, whole, strict=True)
        ]

    def _sentences(self, texts: Iterable[str]) -> Iterator[tuple[list[int], Fault | None]]:
        """Yield where the sentences of each text begin, and Kiwi's fault where punctuation had to tell."""
        if self._splitter is None:
            yield from ((punctuation_starts(text), None) for text in texts)
            return
        waiting = list(texts)
        for text, answer in zip(waiting, self._splitter.analyze(waiting), strict=True):
            yield (punctuation_starts(text), answer) if isinstance(answer, Fault) else (answer, None)


def _cut(text: Text, kind: str | None, sizes: Iterable[Size], sentences: list[int], punctuated: Fault | None) -> Cut:
    levels = prose_levels(text.text, sentences)
    boundaries = Boundaries(text.text, with_statute(text.text, levels) if kind == STATUTE else levels)
    try:
        return Cut([chunk for size in sizes for chunk in chunks_of(text, boundaries, size)], None, punctuated)
    except ItemFault as failure:
        return Cut([], failure.fault, punctuated)


def pack(cuts: Iterable[Cut]) -> bytes:
    """Return cuts as bytes for a journal."""
    return json.dumps([asdict(cut) for cut in cuts]).encode("utf-8")


def unpack(data: bytes) -> list[Cut]:
    """Read what :func:`pack` wrote."""
    return [
        Cut([Chunk(**chunk) for chunk in cut["chunks"]], _fault(cut["fault"]), _fault(cut["punctuated"]))
        for cut in json.loads(data)
    ]


def _fault(fields: dict[str, str] | None) -> Fault | None:
    return None if fields is None else Fault(**fields)
