"""Writing versions and finding nothing to do, beside the forerunner's way and what SQLite does at best.

    python bench/store.py [--chunks N] [--documents N ...] [--dimension N] [--runs N] [--folder PATH]

Every side runs in a process of its own, the sides in turn, run after run; the ratio is taken pair by pair. Every side
leaves a version in a new file in --folder, which should be on the disk that matters. malgeul's starts from Parquet, as
the workflow has it. The forerunner's way asks for every chunk whether it is there, inserts it and its vector, and
commits. Raw executemany inserts rows that are in memory already, in one transaction, into the same tables with the same
indexes and PRAGMAs: less cannot be done with this library.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sides import CORES, Result, clock, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

SLOW_CHUNKS = 2_000
"""Chunks of the forerunner's way at most: it takes a commit for each."""

PER_SHARD = 15_000
"""Chunks of a shard: 5,000 documents."""

SENTENCE = "원고가 대신 구하는 데 든 비용은 통상의 손해에 포함되고, 피고는 이를 배상할 책임이 있다. "


# What goes in


def make_shards(folder: Path, chunks: int, dimension: int) -> None:
    """Write chunks of about 800 characters and their vectors as shards of the workflow."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from malgeul.embedding.vectors import stored, stored_as, to_table
    from malgeul.shards.tables import CHUNKS, ROWS_PER_GROUP

    rng = np.random.default_rng(0)
    for shard, start in enumerate(range(0, chunks, PER_SHARD)):
        numbers = range(start, min(start + PER_SHARD, chunks))
        ids = [f"law/case/{k // 3}#{k % 3}" for k in numbers]
        columns = {
            "chunk_id": ids,
            "document_id": [f"case/{k // 3}" for k in numbers],
            "source": ["law"] * len(ids),
            "index": [k % 3 for k in numbers],
            "start": [800 * (k % 3) for k in numbers],
            "end": [800 * (k % 3 + 1) for k in numbers],
            "text": [f"{k}. {SENTENCE * 15}"[:800] for k in numbers],
            "n_tokens": [400] * len(ids),
            "overlap": [0] * len(ids),
            "level": ["paragraph"] * len(ids),
            "size": ["standard"] * len(ids),
            "query_type": [None] * len(ids),
        }
        pq.write_table(
            pa.table(columns, schema=CHUNKS), folder / f"chunks-{shard:04d}.parquet", row_group_size=ROWS_PER_GROUP
        )
        vectors = rng.standard_normal((len(ids), dimension), dtype=np.float32)
        table = to_table(ids, stored(vectors, stored_as("float32", dimension)), [b"0" * 16] * len(ids), "float32")
        pq.write_table(table, folder / f"vectors-{shard:04d}.parquet", row_group_size=ROWS_PER_GROUP)


def shards_in(folder: Path) -> list[tuple[Path, Path]]:
    """Return the tables of chunks and vectors."""
    return list(zip(sorted(folder.glob("chunks-*")), sorted(folder.glob("vectors-*")), strict=True))


def make_documents(file: Path, count: int) -> None:
    """Write a table of documents of about 400 characters, a kilobyte of UTF-8 each."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, text TEXT)")
        rows = ((k, f"문서 {k}", f"{k}. {SENTENCE * 9}"[:400]) for k in range(count))
        connection.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)


# Writing: every side gets the folder of the shards and writes a new database


def _new_database(folder: Path) -> Path:
    file = folder / f"written-{os.getpid()}.sqlite"
    sqlite3.connect(file).close()
    return file


def write_malgeul(folder: Path) -> Result:
    """Write a version as the rule does: batches, each committed, then the switch."""
    from malgeul.embedding.batches import batches_of, read_ahead
    from malgeul.embedding.settings import Database
    from malgeul.embedding.sqlite_store import SqliteStore
    from malgeul.embedding.versions import Record, Version
    from malgeul.shards.tables import count_rows

    shards = shards_in(folder)
    chunks = sum(count_rows(vectors) for _, vectors in shards)
    version = Version("bench", "standard", "some/model", _dimension(shards), chunks)
    file = _new_database(folder)
    result: Result = {}
    with clock(result):
        record = Record({}, Database(path="bench"))
        SqliteStore(file).write(version, lambda skip: read_ahead(batches_of(shards, "standard", skip=skip)), record)
    return _counted(file, chunks, result)


def write_rows(folder: Path) -> Result:
    """The forerunner's way: for every chunk a SELECT, two INSERTs and a commit."""
    from malgeul.embedding.migration import CREATE

    rows = list(_rows(folder, SLOW_CHUNKS))
    file = _new_database(folder)
    result: Result = {}
    with closing(sqlite3.connect(file)) as connection:
        for create in CREATE.values():
            connection.execute(create)
        with clock(result):
            for number, (kind, name, index, text, vector) in enumerate(rows):
                query = "SELECT id FROM text_chunks WHERE source_type = ? AND source_id = ? AND chunk_index = ?"
                assert connection.execute(query, (kind, name, index)).fetchone() is None
                connection.execute(
                    "INSERT INTO text_chunks (id, source_type, source_id, chunk_index, text, embedding_version_id) "
                    "VALUES (?, ?, ?, ?, ?, 1)",
                    (number, kind, name, index, text),
                )
                connection.execute("INSERT INTO embeddings VALUES (?, 'some/model', ?, ?, 1)", (number, 0, vector))
                connection.commit()
    return _counted(file, len(rows), result)


def write_executemany(folder: Path) -> Result:
    """Two executemany over rows in memory, one transaction, all columns, PRAGMAs and indexes of malgeul's."""
    from malgeul.embedding.batches import batches_of
    from malgeul.embedding.migration import migration
    from malgeul.embedding.pragmas import tune, write_ahead
    from malgeul.models.host import memory

    batches = list(batches_of(shards_in(folder), "standard"))
    file = _new_database(folder)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        tune(connection, memory())
        write_ahead(connection)
        for statement in migration(connection):
            connection.execute(statement)
        known = {row[1] for row in connection.execute("PRAGMA table_info(text_chunks)")}
        names = [name for name in batches[0].columns if name in known]
        chunks: list[Any] = []
        vectors: list[Any] = []
        for batch in batches:
            first = len(chunks)
            chunks += zip(
                range(first, first + len(batch)), *(batch.columns[n] for n in names), [1] * len(batch), strict=True
            )
            dimension = batch.vectors.shape[1]
            vectors += [(first + k, "some/model", dimension, row.tobytes(), 1) for k, row in enumerate(batch.vectors)]
        result: Result = {}
        places = ", ".join("?" * (len(names) + 2))
        with clock(result):
            connection.execute("BEGIN IMMEDIATE")
            columns = f"id, {', '.join(names)}, embedding_version_id"
            connection.executemany(f"INSERT INTO text_chunks ({columns}) VALUES ({places})", chunks)
            connection.executemany("INSERT INTO embeddings VALUES (?, ?, ?, ?, ?)", vectors)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return _counted(file, len(chunks), result)


def write_nothing_left(folder: Path) -> Result:
    """Write a version that stands there already: what a resumed run with nothing left does."""
    from malgeul.embedding.batches import batches_of, read_ahead
    from malgeul.embedding.settings import Database
    from malgeul.embedding.sqlite_store import SqliteStore
    from malgeul.embedding.versions import Record, Version
    from malgeul.shards.tables import count_rows

    shards = shards_in(folder)
    chunks = sum(count_rows(vectors) for _, vectors in shards)
    version = Version("bench", "standard", "some/model", _dimension(shards), chunks)
    store = SqliteStore(_new_database(folder))
    record = Record({}, Database(path="bench"))
    store.write(version, lambda skip: read_ahead(batches_of(shards, "standard", skip=skip)), record)
    result: Result = {}
    with clock(result):
        store.write(version, lambda skip: read_ahead(batches_of(shards, "standard", skip=skip)), record)
    return _counted(store.path, chunks, result)


def _dimension(shards: list[tuple[Path, Path]]) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_schema(shards[0][1]).field("vector").type.list_size)


def _rows(folder: Path, most: int) -> Iterator[tuple[str, str, int, str, bytes]]:
    from malgeul.embedding.batches import batches_of

    left = most
    for batch in batches_of(shards_in(folder), "standard"):
        columns = batch.columns
        names = ("source_type", "source_id", "chunk_index", "text")
        for *row, vector in list(zip(*(columns[name] for name in names), batch.vectors, strict=True))[:left]:
            yield (*row, vector.tobytes())
        left -= min(left, len(batch))


def _counted(file: Path, chunks: int, result: Result) -> Result:
    """Check that every chunk and vector is there, note the size, and remove the database."""
    with closing(sqlite3.connect(file)) as connection:
        for table in ("text_chunks", "embeddings"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (chunks,)
    size = file.stat().st_size
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()
    return {**result, "chunks": chunks, "bytes": size, "peak_mb": peak_mb()}


SIDES: dict[str, Callable[[Path], Result]] = {
    "malgeul": write_malgeul,
    "one select, two inserts and a commit a chunk": write_rows,
    "raw executemany": write_executemany,
    "nothing left to write": write_nothing_left,
}
TO_REACH = {"one select, two inserts and a commit a chunk": 50.0, "raw executemany": 0.8}
"""The ratio of malgeul's chunks a second to the peer's that is asked for."""


# Nothing to do


def planning(folder: Path, count: int, runs: int) -> str:
    """Return the row of one number of documents: status from a cold process, and the plan of a run."""
    import numpy as np

    from malgeul.embedding.settings import Database
    from malgeul.embedding.sqlite_store import SqliteStore
    from malgeul.embedding.versions import Batch, Record, Version

    file = folder / f"documents-{count}.sqlite"
    make_documents(file, count)
    settings = Database(path=str(file), layout="table", table="notes")
    store = SqliteStore(file)
    chunk = {"source_type": ["case"], "source_id": ["1"], "chunk_index": [0], "text": ["조각"]}
    one = Batch(chunk, np.ones((1, 2), dtype=np.float32))
    record = Record(store.survey(settings).contents(), settings)
    store.write(Version("bench", "standard", "m", 2, 1), lambda skip: iter([one][skip:]), record)
    told, planned, changed = [], [], []
    for _ in range(runs):
        told.append(_status(file, "nothing to do"))
        started = time.perf_counter()
        store.survey(settings).buckets(256)
        planned.append(time.perf_counter() - started)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE notes SET text = text || '.' WHERE id % 1000 = 0")
    changed = [_status(file, "documents 0 new") for _ in range(runs)]
    file.unlink()
    cells = [f"{min(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in (told, planned, changed)]
    goal = "< 1" if count <= 15_000 else "< 10"
    return f"| {count:,} | {cells[0]} | {goal} | {cells[1]} | {cells[2]} |"


def _status(file: Path, expected: str) -> float:
    command = [sys.executable, str(ROOT / "scripts/embedding_versions.py"), str(file), "status"]
    started = time.perf_counter()
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert finished.stdout.startswith(expected), finished.stdout
    return seconds


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--documents", type=int, nargs="*", default=[15_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where databases are written; a temporary folder by default")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("work", type=Path, nargs="?", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](given.work)))
        return
    print(f"{platform.machine()}, {CORES} cores; SQLite {sqlite3.sqlite_version}; ", end="")
    print(f"{given.chunks:,} chunks of 800 characters, vectors of {given.dimension}\n")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        make_shards(folder, given.chunks, given.dimension)
        results = [{side: run_side(__file__, side, folder) for side in SIDES} for _ in range(given.runs)]
        print("| beside | malgeul, chunks/s | peer, chunks/s | ratio (spread) | to reach | memory, malgeul and peer |")
        print("|---|---|---|---|---|---|")
        for peer, goal in TO_REACH.items():
            # per chunk, since the slow side writes fewer
            ours, theirs = ([_per_chunk(result[side]) for result in results] for side in ("malgeul", peer))
            speeds = [f"{1 / min(each['seconds'] for each in side):,.0f}" for side in (ours, theirs)]
            memory = " and ".join(f"{side[0]['peak_mb']:,.0f} MB" for side in (ours, theirs))
            print(f"| {peer} | {speeds[0]} | {speeds[1]} | {ratios(ours, theirs)} | ≥ {goal} | {memory} |")
        left = [result["nothing left to write"]["seconds"] for result in results]
        print(f"\nWriting a version of {given.chunks:,} chunks that stands there already: {min(left):.3f} s.\n")
        print("| documents | nothing to do, s | to reach | digests for the plan, s | one in 1,000 changed, s |")
        print("|---|---|---|---|---|")
        for count in given.documents:
            print(planning(folder, count, given.runs), flush=True)


def _per_chunk(result: Result) -> Result:
    return {**result, "seconds": result["seconds"] / result["chunks"]}


if __name__ == "__main__":
    main()
