"""The sizes in which documents are cut: by strategy, kind of document and type of query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from malgeul.embedding.settings import ChunkLimits, ChunkSettings
from malgeul.embedding.statute import is_statute

Unit = Literal["chars", "tokens"]

STATUTE = "statute"


@dataclass(frozen=True)
class Size:
    """Limits of a chunk in characters or tokens.

    It has ``shortest`` to ``longest`` of them, of which at most ``overlap``, and at most the ``share`` of the chunk
    before, are that chunk's. ``category`` names it, ``query_type`` is what it was chosen for.
    """

    shortest: int
    longest: int
    overlap: int = 0
    share: float = 0.5
    unit: Unit = "chars"
    category: str = "standard"
    query_type: str | None = None

    def shared(self, length: int) -> int:
        """Return how much the chunk behind one of ``length`` may share with it."""
        return min(self.overlap, int(length * self.share))


CATEGORY = {"precise": "small", "balanced": "medium", "broad": "large"}
"""The size of chunks that serves a type of query. Over six corpora, chunks of 64 to 128 tokens were best for short
facts and 512 to 1,024 for what needs broader context (Bhat et al. 2025, arXiv 2505.21700)."""

HYBRID = {"precise": (400, 800), "balanced": (800, 1500), "broad": (1500, 2500)}
"""Strategy hybrid: characters of each of the three sizes, by the type of query that it serves."""


MOST_TOKENS = 512
"""Strategy tokens: the largest chunk where the config names none and the model takes that many."""


def kind_of(text: str, kind: str | None) -> str | None:
    """Return a document's kind: the one it states, else statute where its text plainly is one."""
    return kind or (STATUTE if is_statute(text) else None)


def sizes_of(settings: ChunkSettings, kind: str | None, most_tokens: int) -> tuple[Size, ...]:
    """Return the sizes in which a document of a kind is cut for a model that takes ``most_tokens``.

    Raises ValueError for limits in tokens that do not go with the model.
    """
    match settings.strategy:
        case "standard":
            least = settings.min_chars or settings.max_chars // 2
            return (Size(least, settings.max_chars, settings.overlap_chars),)
        case "dynamic":
            return (_part(settings.kinds.get(kind or "", settings.other), settings.query_type),)
        case "tokens":
            return (_in_tokens(settings, most_tokens),)
    return tuple(
        Size(least, most, category=CATEGORY[query_type], query_type=query_type)
        for query_type, (least, most) in HYBRID.items()
    )


def _part(limits: ChunkLimits, query_type: str) -> Size:
    """Return the part of a kind's limits that serves a type of query."""
    middle = (limits.min_chars + limits.max_chars) // 2
    least = middle if query_type == "broad" else limits.min_chars
    most = middle if query_type == "precise" else limits.max_chars
    return Size(least, most, most, limits.overlap, category=CATEGORY[query_type], query_type=query_type)


def _in_tokens(settings: ChunkSettings, most_tokens: int) -> Size:
    most = settings.max_tokens or min(MOST_TOKENS, most_tokens)
    least = settings.min_tokens or most // 2
    if most > most_tokens:
        raise ValueError(f"chunk.max_tokens is {most}, but the model takes {most_tokens} tokens")
    if least >= most or settings.overlap_tokens * 2 > most:
        raise ValueError(
            f"chunk.min_tokens ({least}) must be less than chunk.max_tokens ({most}), and chunk.overlap_tokens "
            f"({settings.overlap_tokens}) half of it at most"
        )
    return Size(least, most, settings.overlap_tokens, unit="tokens", category="tokens")
