"""Transcripts as documents: a recording is a document."""

from __future__ import annotations

from collections import Counter
from typing import Any

from malgeul.shards.names import TRANSCRIPTS
from malgeul.text.documents import clean, meta_of

_NOT_META = {"id", "text", "segments"}


def document_of_transcript(transcript: dict[str, Any], counts: Counter[str]) -> dict[str, str] | None:
    """Return the row of :data:`malgeul.shards.tables.DOCUMENTS` for a transcript, or None where nothing is said.

    The text is the transcript's own (its segments joined), so that places found in the one hold in the other; all facts
    of the recording but the segments become meta.
    """
    text = clean(transcript["text"], counts)
    if not text:
        return None
    meta = {name: value for name, value in transcript.items() if name not in _NOT_META}
    return {"id": transcript["id"], "text": text, "source": TRANSCRIPTS, "meta": meta_of(meta)}
