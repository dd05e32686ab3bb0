"""Searching the index of a run: from a question to chunks with their documents, places and texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgeul.embedding.index import ABOUT, Hit, Index
from malgeul.embedding.query import load_query_encoder
from malgeul.shards.ledger import ledger_path, read_ledger
from malgeul.shards.names import nfc
from malgeul.shards.tables import read_rows_at

COLUMNS = ("chunk_id", "document_id", "source", "start", "end", "text")


class CannotSearch(RuntimeError):
    """There is no index to search, or it is not that of the results; the message is for the user."""


@dataclass(frozen=True)
class Found:
    """A chunk that answers a question: ``text`` is [start, end) of the document's characters."""

    rank: int
    score: float
    source: str
    document: str
    start: int
    end: int
    text: str
    chunk: str


class Searcher:
    """The index, chunks and model of a run, loaded once."""

    def __init__(self, results: Path, planned: Iterable[str], threads: int) -> None:
        """Open the index of the run in ``results``; ``planned`` are the shards that its plan embeds.

        Raises CannotSearch when there is no index or it is older than what it was made of, ModelNotFound and OtherModel
        when the model that made its vectors is not there.
        """
        self._results = results
        folder = results / "index"
        if not (folder / ABOUT).is_file():
            raise CannotSearch(f"there is no index in {results}; run the workflow until build_index has ended")
        self.index = Index(folder)
        about = self.index.about
        if "model" not in about or "shards" not in about:
            raise CannotSearch(f"{folder} is an index of an earlier version of malgeul; run the workflow again")
        self._shards = [shard["name"] for shard in about["shards"]]
        changed = [shard["name"] for shard in about["shards"] if not _is_current(results, shard)]
        changed += sorted(set(planned) - set(self._shards))
        if changed:
            raise CannotSearch(
                f"the index is older than the vectors or chunks of {len(changed)} shards ({', '.join(changed[:3])}"
                f"{', …' if len(changed) > 3 else ''}); run the workflow to its end"
            )
        self._encode = load_query_encoder(about["model"], threads)

    def search(self, question: str, k: int = 10) -> list[Found]:
        """Return the ``k`` chunks nearest to a question, best first.

        Raises ValueError for a question that is empty or was no UTF-8.
        """
        question = nfc(question).strip()
        if not question:
            raise ValueError("the question is empty")
        if any("\ud800" <= character <= "\udfff" for character in question):
            raise ValueError("the question is not UTF-8")
        hits = self.index.search(self._encode(question), k)
        rows = self._chunks(hits)
        return [
            Found(
                rank,
                hit.score,
                row["source"],
                row["document_id"],
                row["start"],
                row["end"],
                row["text"],
                row["chunk_id"],
            )
            for rank, (hit, row) in enumerate(zip(hits, rows, strict=True), start=1)
        ]

    def _chunks(self, hits: list[Hit]) -> list[dict[str, Any]]:
        """Return the chunks of hits; each shard's table is opened once."""
        wanted: dict[int, set[int]] = defaultdict(set)
        for hit in hits:
            wanted[hit.shard].add(hit.row)
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for shard, rows in wanted.items():
            table = self._results / "chunks" / f"{self._shards[shard]}.parquet"
            try:
                chunks = read_rows_at(table, sorted(rows), COLUMNS)
            except (FileNotFoundError, KeyError):
                raise CannotSearch(f"{table} has changed since the index was opened; run the workflow again") from None
            found |= {(shard, row): chunk for row, chunk in zip(sorted(rows), chunks, strict=True)}
        for hit in hits:
            if found[hit.shard, hit.row]["chunk_id"] != hit.chunk_id:
                raise CannotSearch(f"the chunks of {self._shards[hit.shard]} are not those of the index; run again")
        return [found[hit.shard, hit.row] for hit in hits]


def _is_current(results: Path, shard: dict[str, str]) -> bool:
    """Tell whether a shard's vectors and chunks are those that the index was made of."""
    name = shard["name"]
    try:
        embedded = read_ledger(ledger_path(results, "embed", name))
        chunked = read_ledger(ledger_path(results, "chunk", name))
    except (FileNotFoundError, ValueError):
        return False
    table = f"chunks/{name}.parquet"
    known = chunked.outputs.get(table, {})
    return (
        embedded.content == shard["content"]
        and known.get("sha256") == shard["chunks"]
        and (results / table).is_file()
        and (results / table).stat().st_size == known["size"]
    )
