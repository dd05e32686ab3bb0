"""Which id was lost: tallies tell how many, and of a single one also which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from malgeul.report.samples import rows_of
from malgeul.shards.faults import NOT_READ
from malgeul.shards.ledger import Ledger, Tally

ID_COLUMNS = {
    "text": "id",
    "screened": "id",
    "filtered": "id",
    "exported": "id",
    "samples": "sample_id",
    "chunks": "chunk_id",
    "embeddings": "chunk_id",
}
"""Folders of results that are tables, and the column with the ids that their stage gives."""

ID_FILES = {"recordings": ".wav", "transcripts": ".json"}
"""Folders of results with a file per id, and its suffix."""


def ids_given(results: Path, ledger: Ledger) -> Iterator[str]:
    """Yield the ids that a shard gave, as far as its outputs list them."""
    for name in sorted(ledger.outputs):
        file = results / name
        folder = Path(name).parts[0]
        if column := ID_COLUMNS.get(folder):
            yield from (row[column] for row in rows_of(file, [column]))
        elif file.suffix == ID_FILES.get(folder):
            yield file.stem


def recordings_held(ledger: Ledger) -> Iterator[str]:
    """Yield the ids of the recordings that a shard of conversion has: converted, or quarantined for what they hold."""
    for name in ledger.outputs:
        file = Path(name)
        if file.suffix == ID_FILES["recordings"]:
            yield file.name.partition(".")[0]  # of one with a file per channel, before the channel's number
    yield from (f["id"] for f in ledger.quarantined if "id" in f and f["class"] not in NOT_READ)


def difference(given: Tally, taken: Tally) -> Tally:
    """Return the tally of what was given and not taken; its number is negative where more was taken."""
    return given + Tally(-taken.n, -taken.digest)


def single_id(gap: Tally, candidates: Iterable[str]) -> str | None:
    """Return the one id whose loss (or whose being taken twice) explains ``gap``, or None where it is not one alone.

    A tally's digest is the sum of its ids' hashes, so that a difference of one id is that id's hash.
    """
    if abs(gap.n) != 1:
        return None
    wanted = gap if gap.n == 1 else difference(Tally(), gap)
    return next((candidate for candidate in candidates if Tally.of([candidate]) == wanted), None)
