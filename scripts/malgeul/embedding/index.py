"""The vector index of a run: exact search over a few vectors, inverted lists above, and which chunk every row is.

The folder holds ``vectors.npy`` (float32 of unit length, memory-mapped), ``ids.parquet`` (of every row its chunk's id,
shard and row in chunks/<shard>.parquet), ``index.json``, and for many vectors ``lists.faiss``. All of it is the same
bytes for the same vectors, whatever the threads.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from malgeul.embedding import clusters
from malgeul.embedding.clusters import Places, Vectors, unit
from malgeul.embedding.inverted import Effort, InvertedLists, Trial, build_lists, exact_rows, nearest_of, save_lists
from malgeul.embedding.vectors import read_vectors
from malgeul.shards.files import digest_of, write_json
from malgeul.shards.journal import Journal
from malgeul.shards.tables import TableWriter, read_rows_at

log = logging.getLogger(__name__)

IDS = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),  # its place in the index.json's list of shards
        pa.field("row", pa.int32(), nullable=False),  # in chunks/<shard>.parquet
    ]
)
VECTORS, NAMES, ABOUT, LISTS = "vectors.npy", "ids.parquet", "index.json", "lists.faiss"

QUERIES = 400
"""Rows of the index that serve as queries when its recall is measured."""
EXACT_QUERIES = 20
"""Of them, how many are searched exactly for its speed."""
NEIGHBOURS = 10
"""Recall is that of so many."""
PART = 1 << 16
"""Rows whose lists are found and recorded at a time."""


def version_name(contents: Iterable[str]) -> str:
    """Return the name of an embedding version, made of what names its shards: texts, model, settings, and what came."""
    return f"malgeul-{digest_of(sorted(contents))[:16]}"


@dataclass(frozen=True)
class Hit:
    """A chunk that was found: its id, the number of its shard, its row there, its cosine similarity to the query."""

    chunk_id: str
    shard: int
    row: int
    score: float


def read_ids(table: Path) -> list[str]:
    """Return the chunk ids of a table of embeddings or chunks."""
    ids: list[str] = pq.read_table(table, columns=["chunk_id"])["chunk_id"].to_pylist()
    return ids


def rows_of_chunks(embedded: Sequence[str], chunks: Sequence[str]) -> Iterator[int]:
    """Yield the row that every embedded chunk has among the chunks of its shard; some of those may have no vector.

    Raises ValueError when the vectors are not those of the chunks.
    """
    rows = iter(enumerate(chunks))
    for name in embedded:
        row = next((row for row, chunk in rows if chunk == name), None)
        if row is None:
            raise ValueError(f"there is a vector of {name}, but no such chunk in its place; run again")
        yield row


Tell = Callable[[int, bool], None]


def _unheard(vectors: int, resumed: bool) -> None:
    """Tell nobody."""


class IndexBuilder:
    """Builds an index step by step; every step that took long is in the journal, so that a killed job goes on there.

    ``key`` names all that the index depends on. Beside the journal the vectors gather, where the kill of a job that
    wrote into its output would lose them. ``tell`` hears of every number of vectors that was gathered, and later put
    into lists, and whether that was found in the journal.
    """

    def __init__(
        self, journal: Journal, key: str, rows: int, dimension: int, threads: int, tell: Tell = _unheard
    ) -> None:
        self._journal, self._key, self._threads, self._tell = journal, key, threads, tell
        self.rows, self.dimension = rows, dimension
        self.file = journal.folder / f"{key[:16]}.npy"
        self.resumed = 0
        """Steps that were found in the journal."""
        self.vectors = self._opened()

    def _opened(self) -> Any:
        """Open the file of vectors where there is one: its name says that it is of the same index."""
        shape = (self.rows, self.dimension)
        try:
            vectors = np.lib.format.open_memmap(self.file, mode="r+")
        except (FileNotFoundError, ValueError, EOFError):  # killed while it was laid out
            return np.lib.format.open_memmap(self.file, mode="w+", dtype=np.float32, shape=shape)
        assert vectors.shape == shape
        return vectors

    def gather(self, tables: Iterable[Path]) -> None:
        """Write the vectors of all tables, scaled to unit length, a row group in memory at a time."""
        first = 0
        for number, table in enumerate(tables):
            step = self._step("vectors", number)
            if found := step in self._journal:
                self.resumed += 1
                count = int(self._journal.record(step)["rows"])
            else:
                count = 0
                for _, vectors in read_vectors(table):
                    count += self._write(unit(vectors), first + count)
                self._journal.put(step, {"rows": count})
            first += count
            self._tell(count, found)

    def _write(self, part: Vectors, first: int) -> int:
        self.vectors[first : first + len(part)] = part
        self.vectors.flush()
        return len(part)

    def lists(self) -> tuple[Any, Places]:
        """Return a FAISS index over the gathered vectors, and the rows that its centroids were made of."""
        number = clusters.count_lists(self.rows)
        rows = clusters.sample_rows(self.rows, number)
        sample = np.ascontiguousarray(self.vectors[rows])
        with clusters.nearest_centroids(self._threads) as nearest:
            centroids = clusters.first_centroids(sample, number)
            for round_ in range(clusters.ITERATIONS):
                step = self._step("centroids", round_)
                if step in self._journal:
                    self.resumed += 1
                    centroids = self._recall(step, np.float32).reshape(number, self.dimension)
                    continue
                centroids = clusters.next_centroids(sample, centroids, nearest)
                self._journal.put(step, blob=centroids.tobytes())
                log.info("index: round %d of %d of k-means", round_ + 1, clusters.ITERATIONS)
            for start in range(0, self.rows, PART):
                step, part = self._step("places", start), self.vectors[start : start + PART]
                if found := step in self._journal:
                    self.resumed += 1
                else:
                    self._journal.put(step, blob=nearest(part, centroids)[0].astype(np.int64).tobytes())
                self._tell(len(part), found)
        parts = (
            (self.vectors[start : start + PART], self._recall(self._step("places", start), np.int64))
            for start in range(0, self.rows, PART)
        )
        return build_lists(centroids, sample, parts), rows

    def _step(self, name: str, number: int) -> str:
        return digest_of([self._key, name, number])[:32]

    def _recall(self, step: str, kind: type[Any]) -> Any:
        return np.frombuffer(self._journal.blob(step), dtype=kind).copy()


def choose_queries(rows: int, used: Places) -> Places:
    """Return the rows that serve as queries: ones that no centroid was made of, as far as there are such."""
    rest = np.setdiff1d(np.arange(rows), used, assume_unique=True)
    among = rest if len(rest) >= QUERIES else np.arange(rows)
    return np.sort(np.random.default_rng(1).choice(among, min(QUERIES, len(among)), replace=False))


@dataclass(frozen=True)
class Facts:
    """What is known of an index; ``to_json`` is its index.json, without what differs from run to run.

    ``exact_seconds`` and ``list_seconds`` are the medians of one query after the other on one thread.
    """

    kind: str
    rows: int
    dimension: int
    lists: int = 0
    effort: Effort | None = None
    recall: float = 1.0
    queries: int = 0
    exact_seconds: float | None = None
    list_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form on disk."""
        facts = {"kind": self.kind, "metric": "cosine", "rows": self.rows, "dimension": self.dimension}
        if self.effort is None:
            return facts
        measured = {"recall": self.recall, "recall_of": NEIGHBOURS, "recall_queries": self.queries}
        return {**facts, "lists": self.lists, **asdict(self.effort), **measured}

    def measured(self) -> dict[str, Any]:
        """Return what a ledger says of an index besides its size: its kind, recall and speed."""
        if self.effort is None or self.exact_seconds is None or self.list_seconds is None:
            return {"kind": self.kind}
        return {
            "kind": self.kind,
            "recall": self.recall,
            "recall_queries": self.queries,
            "lists": self.lists,
            "lists_searched": self.effort.probes,
            "milliseconds": round(1000 * self.list_seconds, 3),
            "exact_milliseconds": round(1000 * self.exact_seconds, 3),
        }


def write_lists(builder: IndexBuilder, folder: Path, wanted: float) -> Facts:
    """Write inverted lists over the gathered vectors, and find the least effort that has the ``wanted`` recall.

    Queries are rows of the index, none of which counts as its own neighbour. Their speed is measured here too.
    """
    index, used = builder.lists()
    save_lists(index, folder / LISTS)
    opened = InvertedLists(index)
    queries = choose_queries(builder.rows, used)
    effort, recall = Trial(opened, builder.vectors, queries, NEIGHBOURS).least_effort(wanted)
    if recall < wanted:
        log.warning("index: a recall of %.4f is the most that was reached; %.4f is wanted", recall, wanted)

    def listed(query: Vectors) -> None:
        nearest_of(builder.vectors, opened.candidates(query, NEIGHBOURS, effort), query, NEIGHBOURS)

    exact = _median_seconds(lambda q: exact_rows(builder.vectors, q, NEIGHBOURS), builder, queries[:EXACT_QUERIES])
    return Facts(
        "ivf",
        builder.rows,
        builder.dimension,
        index.nlist,
        effort,
        round(recall, 4),
        len(queries),
        exact,
        _median_seconds(listed, builder, queries),
    )


def _median_seconds(search: Any, builder: IndexBuilder, queries: Places) -> float:
    seconds = []
    for query in queries:
        vector = np.array(builder.vectors[query])
        started = time.perf_counter()
        search(vector)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def write_ids(folder: Path, shards: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Iterator[str]:
    """Write which chunk every row is, given of every shard the ids that have vectors and those of its chunks.

    Yields the ids in order.
    """
    with TableWriter(folder / NAMES, IDS) as out:
        for number, (embedded, chunks) in enumerate(shards):
            for name, row in zip(embedded, rows_of_chunks(embedded, chunks), strict=True):
                out.write({"chunk_id": name, "shard": number, "row": row})
                yield name


def write_about(folder: Path, facts: Facts, about: dict[str, Any]) -> None:
    """Write index.json: the facts of the index, and what else is to be known of it (version, model, shards)."""
    write_json(folder / ABOUT, {**facts.to_json(), **about})


class Index:
    """An index on disk, opened for searching."""

    def __init__(self, folder: Path) -> None:
        self.about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self._folder = folder
        self._vectors = np.load(folder / VECTORS, mmap_mode="r")
        self._lists: InvertedLists | None = None
        if self.about["kind"] == "ivf":
            self._lists = InvertedLists.open(folder / LISTS)
            self._effort = Effort(self.about["probes"], self.about["depth"])

    def __len__(self) -> int:
        return len(self._vectors)

    def nearest(self, query: Vectors, k: int = NEIGHBOURS) -> tuple[Places, Vectors]:
        """Return the ``k`` rows nearest to a query vector, best first, and their exact cosines.

        More than ten are searched exactly: the lists that are looked into were chosen for the recall of ten.
        """
        (normed,) = unit(query.reshape(1, -1))
        if self._lists is not None and k <= NEIGHBOURS:
            rows = self._lists.candidates(normed, k, self._effort)
            if len(rows) >= min(k, len(self)):
                return nearest_of(self._vectors, rows, normed, k)
        return exact_rows(self._vectors, normed, k)

    def search(self, query: Vectors, k: int = NEIGHBOURS) -> list[Hit]:
        """Return the ``k`` chunks nearest to a query vector, best first."""
        if not len(self):
            return []
        rows, scores = self.nearest(query, k)
        found = read_rows_at(self._folder / NAMES, rows.tolist(), IDS.names)
        return [
            Hit(one["chunk_id"], one["shard"], one["row"], float(score))
            for one, score in zip(found, scores, strict=True)
        ]
