"""Documents of an SQLite database: the tables of a law firm, any table, any query. Read-only.

A document of the law layout is a statute article, or all paragraphs of a case, decision or interpretation in their
order.
"""

from __future__ import annotations

import errno
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from malgeul.embedding.documents import (
    LAW_TABLES,
    NO_ID,
    PARAGRAPH_TABLES,
    Document,
    Survey,
    digest_of_rows,
    fault_of,
    missing_id,
    require_columns,
)
from malgeul.embedding.session import PATIENCE, Locked
from malgeul.embedding.settings import Database
from malgeul.shards.buckets import bucket_of
from malgeul.shards.names import nfc

Row = tuple[Any, ...]

UNREADABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
"""What SQLite says of a database that is written ahead and beside which it can make no file."""


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a database, read-only unless asked; raises ValueError for a file that is none, PermissionError, Locked."""
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    mode = "rw" if write else "ro"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
    connection.text_factory = _decoded
    if not write:
        connection.set_authorizer(_attaches_nothing)
    try:
        with faults_named(path):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
            raise PermissionError(
                f"{path} was left within a transaction by a program that died, and a reader cannot take it back: open "
                f"it with that program, or have its owner run: sqlite3 {path} 'PRAGMA schema_version'"
            ) from error
        if _is_written_ahead(path) and error.sqlite_errorcode & 0xFF in UNREADABLE:
            raise PermissionError(
                f"{path} is written ahead (WAL), and then SQLite reads it only where it can write beside it: allow "
                f"this user to write into {path.resolve().parent}, name a copy elsewhere (with its -wal, where there "
                f"is one), or have its owner run: sqlite3 {path} 'PRAGMA journal_mode = DELETE'"
            ) from error
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise ValueError(f"{path} is no SQLite database ({error})") from error
    except Locked:
        connection.close()
        raise
    return connection


def _is_written_ahead(path: Path) -> bool:
    """Tell whether a database is written ahead, which bytes 18 and 19 of its file say (sqlite.org/fileformat2.html)."""
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\2\2"
    except OSError:
        return False


def _attaches_nothing(action: int, *_: str | None) -> int:
    """Forbid ATTACH: a file that it names would be made, although the database itself is open for reading alone."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _decoded(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "surrogateescape")


@contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Turn SQLite's "database is locked" into Locked, which says which database, who holds it and what to do.

    What it says of a full disk becomes an OSError with the database's name. Both are worth a retry.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise OSError(
                errno.ENOSPC, f"{error}. Make room and run again: what is done stays done", str(path)
            ) from error
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise
        who = ", ".join(holders(path)) or "a process that this one cannot see"
        raise Locked(
            f"{path} stayed locked for {PATIENCE:.0f} s by {who} ({error}). End its transaction (fuser -v {path} tells "
            "who has the file open) and run again: what is done stays done"
        ) from error


def holders(path: Path) -> list[str]:
    """Return the other processes of this machine that lock a database, as far as the kernel tells."""
    files = [file for file in (path, _beside(path, "-shm")) if file.exists()]
    wanted = set()
    for file in files:
        status = file.stat()
        device = status.st_dev
        wanted.add(f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}")
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found: dict[str, set[str]] = {"WRITE": set(), "READ": set()}
    for line in lines:
        fields = line.split()
        if fields[1] != "->" and fields[5] in wanted and fields[4] not in {str(os.getpid()), "-1"}:
            found[fields[3]].add(fields[4])
    return [_named(process) for process in sorted(found["WRITE"] or found["READ"], key=int)]


def _named(process: str) -> str:
    try:
        name = Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"process {process}"
    return f"process {process} ({name})"


def _beside(path: Path, suffix: str) -> Path:
    """Return a file of SQLite's own: beside the database, not beside a link that leads there."""
    file = path.resolve()
    return file.with_name(f"{file.name}{suffix}")


def file_state(path: Path) -> dict[str, list[int]]:
    """Return size and modification time of the database and of its write-ahead log."""
    state: dict[str, list[int]] = {}
    for file in (path, _beside(path, "-wal")):
        if file.is_file():
            status = file.stat()
            state[file.name] = [status.st_size, status.st_mtime_ns]
    if not state:
        raise FileNotFoundError(f"{path} {'is no file' if path.exists() else 'does not exist'}")
    return state


def quoted(name: str) -> str:
    """Return an identifier as SQL spells it."""
    return '"' + name.replace('"', '""') + '"'


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Return the names of tables and views in lower case, as SQLite compares them."""
    rows = connection.execute("SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')")
    return {name for (name,) in rows}


def survey(path: Path, settings: Database) -> Survey:
    """Return the ids and digests of all documents; rows are hashed as they are stored, nothing is decoded."""
    found = Survey()
    for shelf, value, rows in _scan(path, settings):
        name = shelf.name(value)
        found.add(name, digest_of_rows(name, rows))
    return found


def read_documents(path: Path, settings: Database, bucket: int, buckets: int) -> Iterator[Document]:
    """Yield the documents of a bucket in the order of their ids, each with its fault.

    Rows of one id are in one bucket and stay in the order of the database.
    """
    mine = []
    for shelf, value, rows in _scan(path, settings):
        if bucket_of(shelf.name(value), buckets) == bucket:
            mine.append(shelf.document(value, rows))
    former = None
    for document in sorted(mine, key=lambda document: document.id):
        fault = fault_of(document, former)
        yield replace(document, fault=fault)
        if document.fault is None:
            former = document.id


@dataclass(frozen=True)
class _Shelf:
    """A query whose rows make documents: one each, or as many as follow each other with one id, where ``joined``."""

    query: str
    id: str
    text: str
    kind: str | None = None
    joined: bool = False
    columns: tuple[str, ...] = ()

    def name(self, value: Any) -> str:
        """Return the id of the document whose column ``id`` has the value."""
        kind = type(value)
        if kind is bytearray:
            name = _decoded(value)
        elif kind is bytes:
            name = value.hex()
        else:
            name = NO_ID if value is None else str(value)
        return f"{self.kind}/{name}" if self.kind else name

    def document(self, value: Any, rows: list[Row]) -> Document:
        """Return the document that rows make."""
        name = self.name(value)
        fields = [dict(zip(self.columns, row, strict=True)) for row in rows]
        if self.joined:
            paragraphs = [_text(row[self.text]).strip() for row in fields]
            text = "\n\n".join(filter(None, paragraphs))
            meta: dict[str, Any] = {"paragraphs": len(paragraphs)}
        else:
            (row,) = fields
            text = _text(row[self.text])
            meta = {key: _plain(part) for key, part in row.items() if key not in {self.id, self.text}}
        if self.kind:
            meta["kind"] = self.kind
        fault = missing_id(self.id) if value is None else None
        return Document(name, text, meta, digest_of_rows(name, rows), fault)


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return nfc(_decoded(value))
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON takes it: text decoded, a BLOB in hex, an endless number in words as PostgreSQL has it."""
    if isinstance(value, bytearray):
        return _decoded(value)
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value.hex() if isinstance(value, bytes) else value


def _scan(path: Path, settings: Database) -> Iterator[tuple[_Shelf, Any, list[Row]]]:
    """Yield every document's shelf, the value of its id, and its rows: text undecoded (bytearray), a BLOB as bytes.

    All of it is one state of the database, whoever writes meanwhile.
    """
    with closing(connect(path)) as connection, faults_named(path):
        connection.execute("BEGIN")
        shelves = _shelves(connection, settings)
        connection.text_factory = bytearray
        for shelf in shelves:
            cursor = connection.execute(shelf.query)
            if cursor.description is None:
                raise ValueError("the query yields no rows; write a SELECT")
            columns = tuple(column[0] for column in cursor.description)
            require_columns((shelf.id, shelf.text), columns)
            known, place = replace(shelf, columns=columns), columns.index(shelf.id)
            if shelf.joined:
                for _, group in groupby(cursor, key=itemgetter(place)):
                    rows = list(group)
                    yield known, rows[0][place], rows
            else:
                for row in cursor:
                    yield known, row[place], [row]


def _shelves(connection: sqlite3.Connection, settings: Database) -> list[_Shelf]:
    if settings.layout == "table":
        query = f"SELECT * FROM {quoted(settings.table or '')}"  # noqa: S608 - an identifier, quoted
        return [_Shelf(query, settings.id, settings.text)]
    if settings.layout == "query":
        return [_Shelf(settings.query or "", settings.id, settings.text)]
    present = tables_of(connection)
    if not present & LAW_TABLES:
        raise ValueError(f"none of the tables {', '.join(sorted(LAW_TABLES))}; for others set layout: table or query")
    shelves = []
    if "statute_articles" in present:
        names = _columns(connection, "statute_articles", ("id", "text"))
        query = "SELECT * FROM statute_articles ORDER BY id"
        shelves.append(_Shelf(query, names["id"], names["text"], "statute"))
    for kind, (table, column) in PARAGRAPH_TABLES.items():
        if table in present:
            # Whatever the columns are declared as: ids are one when their bytes are, numbers kept as text are numbers.
            order = f"{column} COLLATE BINARY, para_index + 0, para_index"
            _columns(connection, table, (column, "text", "para_index"))
            query = f"SELECT {column} AS {column}, text AS text FROM {table} ORDER BY {order}"  # noqa: S608 - our own
            shelves.append(_Shelf(query, column, "text", kind, joined=True))
    return shelves


def _columns(connection: sqlite3.Connection, table: str, needed: Sequence[str]) -> dict[str, str]:
    """Return how a table spells its columns, which SQLite finds in any case; raises ValueError for a missing one."""
    spelled = {row[1].lower(): row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})")}
    require_columns(needed, list(spelled), table)
    return spelled
