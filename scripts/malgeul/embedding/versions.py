"""Embedding versions in an SQLite database: a new one beside the old ones, active only when it is complete.

Everything happens in one transaction: a reader sees the old version until the new one is whole, and a kill leaves the
old one.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Iterable
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

CHUNK_COLUMN, VERSION_COLUMN = "chunk_index", "embedding_version_id"
"""Columns of text_chunks: a unique key with the first must have the second."""

REBUILT = "text_chunks_rebuilt"
"""Name of the new text_chunks until it takes the place of the old one."""

TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|\S""", re.DOTALL
)
"""A comment, string, quoted name, word or sign of SQL."""


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
    """Tell whether text_chunks is unique by the chunk's number without the version.

    Two versions of a chunk could not stand side by side then.
    """
    return bool(_short_keys(connection, "text_chunks") or _short_indexes(connection))


def _short_keys(connection: sqlite3.Connection, table: str) -> list[list[str]]:
    """Return the columns of the keys in a table's definition that have the chunk's number and lack the version."""
    query = "SELECT name FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'c'"
    keys = []
    for (name,) in connection.execute(query, [table]).fetchall():
        columns = connection.execute("SELECT name FROM pragma_index_info(?)", [name]).fetchall()
        keys.append([column for (column,) in columns])
    return [key for key in keys if _is_short(key)]


def _short_indexes(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Return the name of every CREATE UNIQUE INDEX that lacks the version, its text, and its text with the version."""
    query = """SELECT m.name, m.sql FROM pragma_index_list('text_chunks') i
        JOIN sqlite_master m ON m.type = 'index' AND m.name = i.name WHERE i."unique" AND i.origin = 'c'"""
    indexes = [(name, sql, _with_version(sql)) for name, sql in connection.execute(query)]
    return [index for index in indexes if index[1] != index[2]]


def _is_short(key: list[str]) -> bool:
    names = {name.lower() for name in key}
    return CHUNK_COLUMN in names and VERSION_COLUMN not in names


def _with_version(sql: str) -> str:
    """Return a CREATE TABLE or CREATE UNIQUE INDEX with the version in its short keys, all else word for word.

    Keys are recognised in parentheses only: ``UNIQUE (…)``, ``PRIMARY KEY (…)``, ``ON table (…)``. All three begin with
    a reserved word, which nothing else in such a statement can be unless it is quoted.
    """
    tokens = _tokens(sql)
    words = [token[0].upper() for token in tokens]
    opened: list[int] = []
    ends = []
    for k, word in enumerate(words):
        if word == "(":
            opened.append(k)
        elif word == ")":
            start = opened.pop()
            before = words[:start]
            is_key = before[-1] == "UNIQUE" or before[-2:] == ["PRIMARY", "KEY"] or before[-2] == "ON"
            if is_key and _is_short([token[0].strip("\"`'[]") for token in tokens[start + 1 : k]]):
                ends.append(tokens[k - 1].end())
    for end in reversed(ends):
        sql = f"{sql[:end]}, {VERSION_COLUMN}{sql[end:]}"
    return sql


def _tokens(sql: str) -> list[re.Match[str]]:
    """Return words, quoted names, strings and signs of an SQL statement, without its comments."""
    return [token for token in TOKEN.finditer(sql) if not token[0].startswith(("--", "/*"))]


def write_version(path: Path, version: Version, chunks: Iterable[VersionedChunk], expected: int) -> bool:
    """Write a version into a database and make it the active one; returns False when it stands there already.

    Raises RuntimeError when the counts do not come out or text_chunks cannot be made unique by version,
    sqlite3.OperationalError when the database stays locked; nothing has changed then.
    """
    with closing(connect(path, write=True)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = OFF")  # or a dropped table takes along the rows that refer to it
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
        _put_version_into_keys(connection)


def _put_version_into_keys(connection: sqlite3.Connection) -> None:
    """Make text_chunks unique by version; raises RuntimeError when its definition does not allow it."""
    broken = _broken_references(connection)
    try:
        if _short_keys(connection, "text_chunks"):
            _rebuild_text_chunks(connection)
        for name, _, sql in _short_indexes(connection):
            connection.execute(f"DROP INDEX {quoted(name)}")
            connection.execute(sql)
    except sqlite3.DatabaseError as error:
        # what the schema refuses; a full disk or a lock is another matter
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}:
            raise
        raise _not_changeable(str(error)) from error
    if (left := _broken_references(connection)) != broken:
        raise _not_changeable(f"another table refers to it ({left})")
    log.info("text_chunks is unique by %s now", VERSION_COLUMN)


def _not_changeable(reason: str) -> RuntimeError:
    return RuntimeError(
        f"text_chunks has a unique key with {CHUNK_COLUMN} and without {VERSION_COLUMN}, so that two versions cannot "
        f"stand side by side, and the key could not be changed: {reason}. Nothing was written. Add {VERSION_COLUMN} to "
        "that key yourself (https://www.sqlite.org/lang_altertable.html#otheralter), or set documents.write_back: off"
    )


def _rebuild_text_chunks(connection: sqlite3.Connection) -> None:
    """Put the version into the keys of text_chunks' definition, which SQLite can only do with a new table.

    Rows and everything else of the definition stay, and so do indexes, triggers, views and references by other tables.
    """
    (sql,) = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'text_chunks'"
    ).fetchone()
    dependent = connection.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'text_chunks' AND type IN ('index', 'trigger') AND sql <> ''"
    ).fetchall()
    name = _tokens(sql)[2]  # SQLite keeps every definition as CREATE TABLE name …
    connection.execute(_with_version(f"{sql[: name.start()]}{REBUILT}{sql[name.end() :]}"))
    if short := _short_keys(connection, REBUILT):
        raise _not_changeable(f"UNIQUE ({', '.join(short[0])}) was not found in its definition")

    columns = ", ".join(quoted(row[1]) for row in connection.execute("PRAGMA table_info('text_chunks')"))
    if "sqlite_sequence" in tables_of(connection):  # AUTOINCREMENT goes on where it was
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT ?, seq FROM sqlite_sequence WHERE name = 'text_chunks'",
            [REBUILT],
        )
    connection.execute(f"INSERT INTO {REBUILT} ({columns}) SELECT {columns} FROM text_chunks")  # noqa: S608
    connection.execute("DROP TABLE text_chunks")
    connection.execute("PRAGMA legacy_alter_table = ON")  # views, triggers and references go on naming text_chunks
    connection.execute(f"ALTER TABLE {REBUILT} RENAME TO text_chunks")
    for (statement,) in dependent:
        connection.execute(statement)


def _broken_references(connection: sqlite3.Connection) -> object:
    """Return how many rows of which table refer to nothing, or why that cannot be told; to be compared."""
    query = 'SELECT "table", parent, fkid, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2, 3'
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        return str(error)


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
