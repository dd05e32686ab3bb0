"""Embedding versions in an SQLite database: a new one beside the old ones, active only when it is complete.

Everything happens in one transaction: a reader sees the old version until the new one is whole, and a kill leaves the
old one.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgeul.embedding.database import connect, quoted, tables_of

log = logging.getLogger(__name__)

CREATE = {
    "embedding_versions": """CREATE TABLE embedding_versions (id INTEGER PRIMARY KEY, version_name TEXT NOT NULL UNIQUE,
        chunking_strategy TEXT, model_name TEXT, is_active INTEGER NOT NULL DEFAULT 0, metadata TEXT)""",
    "text_chunks": """CREATE TABLE text_chunks (id INTEGER PRIMARY KEY, source_type TEXT NOT NULL,
        source_id TEXT NOT NULL, level TEXT, chunk_index INTEGER NOT NULL, start_char INTEGER, end_char INTEGER,
        overlap_chars INTEGER, text TEXT NOT NULL, token_count INTEGER, meta TEXT, chunking_strategy TEXT,
        chunk_size_category TEXT, query_type TEXT, chunk_group_id TEXT, original_document_id TEXT,
        embedding_version_id INTEGER, UNIQUE (source_type, source_id, chunk_index, embedding_version_id))""",
    "embeddings": """CREATE TABLE embeddings (chunk_id INTEGER NOT NULL, model TEXT, dim INTEGER, vector BLOB NOT NULL,
        version_id INTEGER, PRIMARY KEY (chunk_id, version_id))""",
}
"""The tables of versions, for a database that has none yet."""

NEW_KEY = ["source_type", "source_id", "chunk_index", "embedding_version_id"]


@dataclass(frozen=True)
class Version:
    """A new embedding version: its name, chunking strategy, model, dimension, and what else is known of it."""

    name: str
    strategy: str
    model: str
    dimension: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class VersionedChunk:
    """A chunk with its vector as little-endian float32 bytes."""

    chunk_id: str
    document_id: str
    index: int
    start: int
    end: int
    text: str
    tokens: int
    vector: bytes


def copy_database(source: Path, target: Path) -> None:
    """Copy a database with SQLite's backup, which is whole also while others write."""
    with closing(connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def lacks_version_in_key(connection: sqlite3.Connection) -> bool:
    """Tell whether text_chunks is unique without the version: two versions of a chunk could not stand side by side."""
    return any("embedding_version_id" not in columns for columns in _unique_keys(connection))


def _unique_keys(connection: sqlite3.Connection) -> Iterator[list[str]]:
    for _, name, unique, origin, _ in connection.execute("PRAGMA index_list('text_chunks')").fetchall():
        if unique and origin != "pk":
            columns = connection.execute(f"PRAGMA index_info({quoted(name)})").fetchall()
            yield [column for _, _, column in columns]


def write_version(path: Path, version: Version, chunks: Iterable[VersionedChunk], expected: int) -> bool:
    """Write a version into a database and make it the active one; returns False when it stands there already.

    Raises RuntimeError when the counts do not come out, sqlite3.OperationalError when the database stays locked;
    nothing has changed then.
    """
    with closing(connect(path, write=True)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if _is_active_and_complete(connection, version, expected):
            return False
        connection.execute("BEGIN IMMEDIATE")
        try:
            _prepare(connection)
            _insert(connection, version, chunks, expected)
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True


def _is_active_and_complete(connection: sqlite3.Connection, version: Version, expected: int) -> bool:
    if not set(CREATE) <= tables_of(connection):
        return False
    query = "SELECT id, is_active FROM embedding_versions WHERE version_name = ?"
    row = connection.execute(query, [version.name]).fetchone()
    return row is not None and bool(row[1]) and _counts(connection, row[0]) == (expected, expected)


def _counts(connection: sqlite3.Connection, version: int) -> tuple[int, int]:
    chunks = connection.execute("SELECT count(*) FROM text_chunks WHERE embedding_version_id = ?", [version]).fetchone()
    vectors = connection.execute("SELECT count(*) FROM embeddings WHERE version_id = ?", [version]).fetchone()
    return chunks[0], vectors[0]


def _prepare(connection: sqlite3.Connection) -> None:
    present = tables_of(connection)
    for table, statement in CREATE.items():
        if table not in present:
            connection.execute(statement)
    if lacks_version_in_key(connection):
        _rebuild_text_chunks(connection)


def _rebuild_text_chunks(connection: sqlite3.Connection) -> None:
    """Give text_chunks a unique key with the version; rows, ids and other indexes stay."""
    columns = connection.execute("PRAGMA table_info('text_chunks')").fetchall()
    indexes = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'text_chunks' AND sql IS NOT NULL"
    ).fetchall()
    described = [_column(*column) for column in columns]
    connection.execute(f"CREATE TABLE text_chunks_rebuilt ({', '.join(described)}, UNIQUE ({', '.join(NEW_KEY)}))")
    connection.execute("INSERT INTO text_chunks_rebuilt SELECT * FROM text_chunks")
    connection.execute("DROP TABLE text_chunks")
    connection.execute("ALTER TABLE text_chunks_rebuilt RENAME TO text_chunks")
    for (statement,) in indexes:
        if "UNIQUE" not in statement.upper():
            connection.execute(statement)
    log.info("text_chunks is unique by %s now", ", ".join(NEW_KEY))


def _column(_: int, name: str, kind: str, required: int, default: str | None, key: int) -> str:
    parts = [quoted(name), kind, "PRIMARY KEY" if key else "", "NOT NULL" if required and not key else ""]
    return " ".join(part for part in [*parts, f"DEFAULT {default}" if default is not None else ""] if part)


def _insert(connection: sqlite3.Connection, version: Version, chunks: Iterable[VersionedChunk], expected: int) -> None:
    found = connection.execute("SELECT id FROM embedding_versions WHERE version_name = ?", [version.name]).fetchone()
    if found:  # whole but not active, or damaged by somebody else: written anew
        connection.execute("DELETE FROM embeddings WHERE version_id = ?", found)
        connection.execute("DELETE FROM text_chunks WHERE embedding_version_id = ?", found)
        number = found[0]
    else:
        statement = (
            "INSERT INTO embedding_versions (version_name, chunking_strategy, model_name, is_active, metadata) "
            "VALUES (?, ?, ?, 0, ?)"
        )
        metadata = json.dumps(version.metadata, ensure_ascii=False, sort_keys=True)
        cursor = connection.execute(statement, [version.name, version.strategy, version.model, metadata])
        number = cursor.lastrowid
    (first,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM text_chunks").fetchone()
    columns = {row[1] for row in connection.execute("PRAGMA table_info('text_chunks')")}
    names = [name for name in _chunk_row(0, None, version, 0) if name in columns]  # type: ignore[arg-type]
    insert_chunk = f"INSERT INTO text_chunks ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    insert_vector = "INSERT INTO embeddings (chunk_id, model, dim, vector, version_id) VALUES (?, ?, ?, ?, ?)"
    for k, chunk in enumerate(chunks):
        row = _chunk_row(first + k, chunk, version, number)
        connection.execute(insert_chunk, [row[name] for name in names])
        connection.execute(insert_vector, [first + k, version.model, version.dimension, chunk.vector, number])
    counts = _counts(connection, number)
    if counts != (expected, expected):
        raise RuntimeError(f"{counts[0]} chunks and {counts[1]} vectors were written, {expected} expected")
    connection.execute("UPDATE embedding_versions SET is_active = (id = ?)", [number])


def _chunk_row(number: int, chunk: VersionedChunk | None, version: Version, version_id: int) -> dict[str, Any]:
    document = chunk.document_id if chunk else ""
    kind, slash, name = document.partition("/")
    return {
        "id": number,
        "source_type": kind if slash else "document",
        "source_id": name if slash else document,
        "level": "chunk",
        "chunk_index": chunk.index if chunk else 0,
        "start_char": chunk.start if chunk else 0,
        "end_char": chunk.end if chunk else 0,
        "overlap_chars": None,
        "text": chunk.text if chunk else "",
        "token_count": chunk.tokens if chunk else 0,
        "meta": None,
        "chunking_strategy": version.strategy,
        "chunk_size_category": None,
        "query_type": None,
        "chunk_group_id": document,
        "original_document_id": document,
        "embedding_version_id": version_id,
    }
