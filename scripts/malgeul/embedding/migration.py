"""Making an SQLite database ready for versions side by side: its tables, its indexes, the version in its unique key.

All of it is a list of statements, so that it can be shown, and tried on the definitions alone, before a change.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, count

from malgeul.embedding.database import quoted, tables_of

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
    "malgeul_documents": """CREATE TABLE malgeul_documents (version_id INTEGER NOT NULL, document_id TEXT NOT NULL,
        digest BLOB NOT NULL, PRIMARY KEY (version_id, document_id)) WITHOUT ROWID""",
}
"""The tables of versions, for a database that has none yet."""

NEEDED = {
    "embedding_versions": frozenset(
        {"id", "version_name", "chunking_strategy", "model_name", "is_active", "metadata"},
    ),
    "text_chunks": frozenset({"id", "embedding_version_id"}),
    "embeddings": frozenset({"chunk_id", "model", "dim", "vector", "version_id"}),
    "malgeul_documents": frozenset({"version_id", "document_id", "digest"}),
}
"""Columns that are written whatever a chunk is; of text_chunks, the others are where it has them."""

KNOWN_OF_CHUNKS = frozenset(
    {
        "source_type", "source_id", "level", "chunk_index", "start_char", "end_char", "overlap_chars", "text",
        "token_count", "chunking_strategy", "chunk_size_category", "chunk_group_id", "original_document_id",
        "chunk_id", "document_id", "source",
    }
)  # fmt: skip
"""Columns of text_chunks that every chunk has a value for (see batches.py), where the table has them."""

NUMBERED = (
    ("embedding_versions", "id"),
    ("text_chunks", "id"),
    ("text_chunks", "embedding_version_id"),
    ("embeddings", "version_id"),
)
"""Columns that hold numbers given by malgeul, of which the largest is asked for."""

BY_VERSION = {
    "text_chunks": "CREATE INDEX malgeul_chunks_of_version ON text_chunks (embedding_version_id)",
    "embeddings": "CREATE INDEX malgeul_vectors_of_version ON embeddings (version_id)",
}
"""Indexes that count, read or remove one version among many without reading all vectors. New rows go to their end."""

CHUNK_COLUMN, VERSION_COLUMN = "chunk_index", "embedding_version_id"
"""Columns of text_chunks: a unique key with the first must have the second."""

OWN = frozenset({*CREATE.values(), *BY_VERSION.values()})
"""Statements that add something of our own and change nothing that is there."""

REBUILT = "text_chunks_rebuilt"
"""Name of the new text_chunks until it takes the place of the old one; with a number where that name is taken."""

TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|\S""", re.DOTALL
)
"""A comment, string, quoted name, word or sign of SQL."""


def migration(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that make a database ready, none where it is; nothing is changed.

    Raises RuntimeError when versions do not fit into the tables, or a unique key without the version cannot be changed.
    """
    present = tables_of(connection)
    refuse_unfit({table: _columns(connection, table) for table in NEEDED.keys() & present}, _no_tables(connection))
    statements = [create for table, create in CREATE.items() if table not in present]
    if "text_chunks" in present:
        statements += _put_version_into_keys(connection)
    for table, index in BY_VERSION.items():
        if table not in present or not _has_index(connection, table, index):
            statements.append(index)
    return statements


@dataclass(frozen=True)
class Column:
    """A column that is there: whether every row must bring a value for it, and whether numbers become text in it."""

    name: str
    required: bool
    is_text: bool


def refuse_unfit(tables: Mapping[str, Sequence[Column]], problems: Sequence[str] = ()) -> None:
    """Raise RuntimeError, which tells all that is wrong, when rows of versions do not fit into the tables there are.

    ``problems`` are those that only the one kind of database has.
    """
    found = [*problems]
    names = {table: {column.name for column in columns} for table, columns in tables.items()}
    if lacking := sorted(f"{table}.{name}" for table in tables for name in NEEDED[table] - names[table]):
        found.append(f"there is no {', '.join(lacking)}")
    for table, columns in sorted(tables.items()):
        filled = NEEDED[table] | (KNOWN_OF_CHUNKS if table == "text_chunks" else frozenset())
        found += [
            f"{table}.{column.name} must have a value (NOT NULL without a default), and malgeul has none for it"
            for column in columns
            if column.required and column.name not in filled
        ]
        found += [
            f"{table}.{column.name} holds text, and the numbers of versions and chunks go into it"
            for column in columns
            if column.is_text and (table, column.name) in NUMBERED
        ]
    if found:
        raise RuntimeError(
            f"versions cannot be written: {'; '.join(found)}. Nothing was written. Change these tables (ALTER TABLE "
            "adds a column), rename them so that malgeul makes its own, or set documents.write_back: off"
        )


def _no_tables(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with those of the names of our tables that are no plain tables."""
    query = "SELECT lower(name), type, sql LIKE 'CREATE VIRTUAL %' FROM sqlite_master WHERE type IN ('table', 'view')"
    return [
        f"{name} is a {'view' if kind == 'view' else 'virtual table'}, and no table with rows of its own"
        for name, kind, virtual in connection.execute(query)
        if name in NEEDED and (kind == "view" or virtual)
    ]


def _columns(connection: sqlite3.Connection, table: str) -> list[Column]:
    """Return the columns of a table that are not generated; their names in lower case, as SQLite compares them."""
    columns = []
    found = connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
    query = "SELECT 1 FROM pragma_table_list(?) WHERE schema = 'main' AND wr"
    has_rowid = connection.execute(query, [table]).fetchone() is None
    has_rowid &= sum(key > 0 for *_, key in found) == 1
    for _, name, declared, not_null, default, key in found:
        kind = declared.upper()
        numbers_itself = has_rowid and key and kind == "INTEGER"  # sqlite.org/rowidtable.html
        is_text = "INT" not in kind and any(word in kind for word in ("CHAR", "CLOB", "TEXT"))
        columns.append(Column(name.lower(), bool(not_null and default is None and not numbers_itself), is_text))
    return columns


def _has_index(connection: sqlite3.Connection, table: str, index: str) -> bool:
    """Tell whether an index of all rows begins with the column of the given one."""
    column = index[index.rindex("(") + 1 : -1]
    query = """SELECT 1 FROM pragma_index_list(?) i JOIN pragma_index_info(i.name) c
        WHERE NOT i.partial AND c.seqno = 0 AND lower(c.name) = ?"""
    return connection.execute(query, [table, column]).fetchone() is not None


def migrate(connection: sqlite3.Connection, statements: list[str]) -> None:
    """Run the statements of a migration within a transaction.

    Raises RuntimeError when the rows or other tables do not allow a changed key; the caller rolls back.
    """
    broken = broken_references(connection)
    for statement in statements:
        try:
            connection.execute(statement)
        except sqlite3.DatabaseError as error:
            # what the schema refuses; a full disk or a lock is another matter
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}:
                raise
            if statement in OWN:
                raise not_addable(statement, str(error)) from error
            raise not_changeable(str(error)) from error
    if newly := broken_references(connection) - broken:
        raise not_changeable(f"another table refers to it ({', '.join(newly)})")


def rehearse(connection: sqlite3.Connection, statements: list[str]) -> None:
    """Run the statements of a migration in memory, on the definitions of a database without its rows.

    Whatever of them SQLite would refuse, or would break in others, depends on the definitions alone: the new key holds
    for all rows that the old one holds for. Raises RuntimeError as migrate() does; nothing is changed.
    """
    shadows = "SELECT name FROM pragma_table_list WHERE type = 'shadow'"  # the virtual table makes them
    definitions = connection.execute(
        f"SELECT sql FROM sqlite_master WHERE sql <> '' AND name NOT LIKE 'sqlite#_%' ESCAPE '#' "  # noqa: S608
        f"AND name NOT IN ({shadows}) ORDER BY instr('table index view trigger', type)"
    ).fetchall()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        copy.execute("PRAGMA foreign_keys = OFF")
        for (definition,) in definitions:
            with suppress(sqlite3.Error, UnicodeEncodeError):  # of a module or function that only its own program has
                copy.execute(definition)
        copy.execute("BEGIN")
        migrate(copy, statements)


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


def settles_conflicts(connection: sqlite3.Connection, table: str) -> bool:
    """Tell whether a key of a table says itself what becomes of rows that conflict (ON CONFLICT REPLACE)."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = ?", [table])
    return any(token[0].upper() == "CONFLICT" for (sql,) in found for token in _tokens(sql))


def _tokens(sql: str) -> list[re.Match[str]]:
    """Return words, quoted names, strings and signs of an SQL statement, without its comments."""
    return [token for token in TOKEN.finditer(sql) if not token[0].startswith(("--", "/*"))]


def _put_version_into_keys(connection: sqlite3.Connection) -> list[str]:
    statements = _rebuild_text_chunks(connection) if _short_keys(connection, "text_chunks") else []
    for name, _, sql in _short_indexes(connection):
        statements += [f"DROP INDEX {quoted(name)}", sql]
    return statements


def _rebuild_text_chunks(connection: sqlite3.Connection) -> list[str]:
    """Put the version into the keys of text_chunks' definition, which SQLite can only do with a new table.

    Rows and everything else of the definition stay, and so do indexes, triggers, views and references by other tables.
    """
    table, sql = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND lower(name) = 'text_chunks'"
    ).fetchone()
    dependent = connection.execute(
        "SELECT sql FROM sqlite_master WHERE lower(tbl_name) = 'text_chunks' AND type IN ('index', 'trigger') "
        "AND sql <> ''"
    ).fetchall()
    taken = {name for (name,) in connection.execute("SELECT lower(name) FROM sqlite_master")}
    rebuilt = next(name for name in chain([REBUILT], (f"{REBUILT}_{k}" for k in count(2))) if name not in taken)
    name = _tokens(sql)[2]  # SQLite keeps every definition as CREATE TABLE name …
    create = _with_version(f"{sql[: name.start()]}{rebuilt}{sql[name.end() :]}")
    _try(create, rebuilt)
    # generated columns are no part of table_info
    columns = ", ".join(quoted(row[1]) for row in connection.execute("PRAGMA table_info('text_chunks')"))
    statements = [create]
    if "sqlite_sequence" in tables_of(connection):  # AUTOINCREMENT goes on where it was
        statements.append(
            f"INSERT INTO sqlite_sequence (name, seq) SELECT '{rebuilt}', seq FROM sqlite_sequence "  # noqa: S608
            "WHERE lower(name) = 'text_chunks'"
        )
    return [
        *statements,
        f"INSERT INTO {rebuilt} ({columns}) SELECT {columns} FROM text_chunks",  # noqa: S608 - identifiers, quoted
        "DROP TABLE text_chunks",
        "PRAGMA legacy_alter_table = ON",  # views, triggers and references go on naming text_chunks
        f"ALTER TABLE {rebuilt} RENAME TO {quoted(table)}",
        "PRAGMA legacy_alter_table = OFF",
        *(statement for (statement,) in dependent),
    ]


def _try(create: str, table: str) -> None:
    """Make the new table in a database in memory; raises RuntimeError when its keys still lack the version."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(create)
        except sqlite3.Error as error:
            raise not_changeable(str(error)) from error
        if short := _short_keys(connection, table):
            raise not_changeable(f"UNIQUE ({', '.join(short[0])}) was not found in its definition")


def broken_references(connection: sqlite3.Connection) -> Counter[str]:
    """Return how many rows of which table refer to nothing, or once why that cannot be told; to be compared."""
    query = 'SELECT "table", parent, fkid, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2, 3'
    try:
        found = connection.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        return Counter([str(error)])
    return Counter({f"{table} to {parent}, foreign key {number}": rows for table, parent, number, rows in found})


def not_addable(statement: str, reason: str) -> RuntimeError:
    """Return the error of a table or index of our own that the database does not take."""
    written = " ".join(statement.split())
    return RuntimeError(
        f"versions cannot be written: {reason} ({written}). Nothing was written. Rename what is in its way, or set "
        "documents.write_back: off"
    )


def not_changeable(reason: str) -> RuntimeError:
    """Return the error of a unique key without the version that cannot be changed."""
    return RuntimeError(
        f"text_chunks has a unique key with {CHUNK_COLUMN} and without {VERSION_COLUMN}, so that two versions cannot "
        f"stand side by side, and the key could not be changed: {reason}. Nothing was written. Add {VERSION_COLUMN} to "
        "that key yourself (SQLite wants the table made anew for it), or set documents.write_back: off"
    )
