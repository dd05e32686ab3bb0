"""Documents of an SQLite database: the tables of a law firm, any table, any query. Read-only.

A document of the law layout is a statute article, or all paragraphs of a case, decision or interpretation in their
order.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from malgeul.embedding.settings import Database
from malgeul.shards.buckets import bucket_of, power_of_two
from malgeul.shards.faults import Fault
from malgeul.shards.ledger import Tally
from malgeul.shards.names import nfc

BUSY_SECONDS = 30.0
"""How long a locked database is waited for."""

PARAGRAPH_TABLES = {
    "case": ("case_paragraphs", "case_id"),
    "decision": ("decision_paragraphs", "decision_id"),
    "interpretation": ("interpretation_paragraphs", "interpretation_id"),
}
"""Law layout: kind of document, its table, the column that names the document."""


@dataclass(frozen=True)
class Document:
    """A document: its id in the run (``case/2019다1234``), its text (NFC), and what else its rows say.

    ``fault`` is what keeps it out. Bytes that are not UTF-8 are lone surrogates (surrogateescape) in all of it.
    """

    id: str
    text: str
    meta: dict[str, Any]
    fault: Fault | None = None


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a database, read-only unless asked; raises ValueError for a file that is none."""
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    mode = "rw" if write else "ro"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.text_factory = _decoded
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise ValueError(f"{path} is no SQLite database ({error})") from error
    return connection


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def file_state(path: Path) -> dict[str, list[int]]:
    """Return size and modification time of the database and of its write-ahead log."""
    state: dict[str, list[int]] = {}
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.is_file():
            status = file.stat()
            state[file.name] = [status.st_size, status.st_mtime_ns]
    if not state:
        raise FileNotFoundError(2, f"{path} does not exist")
    return state


def all_documents(connection: sqlite3.Connection, settings: Database) -> Iterator[Document]:
    """Yield every document in the order of the database."""
    match settings.layout:
        case "law":
            yield from _law_documents(connection)
        case "table":
            query = f"SELECT * FROM {quoted(settings.table or '')}"  # noqa: S608 - an identifier, quoted
            yield from _rows(connection, query, settings)
        case "query":
            yield from _rows(connection, settings.query or "", settings)


def quoted(name: str) -> str:
    """Return an identifier as SQL spells it."""
    return '"' + name.replace('"', '""') + '"'


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Return the names of tables and views."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    return {name for (name,) in rows}


def _rows(connection: sqlite3.Connection, query: str, settings: Database) -> Iterator[Document]:
    cursor = connection.execute(query)
    columns = [column[0] for column in cursor.description]
    for needed in (settings.id, settings.text):
        if needed not in columns:
            raise ValueError(f"there is no column {needed!r}; there are {', '.join(columns)}")
    for row in cursor:
        fields = dict(zip(columns, row, strict=True))
        name, text = fields.pop(settings.id), fields.pop(settings.text)
        yield Document(_id(name), _text(text), _plain(fields), _missing(name, settings.id))


def _id(value: Any) -> str:
    return "(no id)" if value is None else str(value)


def _missing(value: Any, column: str) -> Fault | None:
    return Fault("MISSING_FIELD", f"the column {column} is NULL, so the document has no id") if value is None else None


def _text(value: Any) -> str:
    return nfc(_decoded(value) if isinstance(value, bytes) else str(value or ""))


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}


def _law_documents(connection: sqlite3.Connection) -> Iterator[Document]:
    present = tables_of(connection)
    known = {"statute_articles", *(table for table, _ in PARAGRAPH_TABLES.values())}
    if not present & known:
        raise ValueError(f"none of the tables {', '.join(sorted(known))}; for other tables set layout: table or query")
    if "statute_articles" in present:
        cursor = connection.execute("SELECT * FROM statute_articles ORDER BY id")
        columns = [column[0] for column in cursor.description]
        for row in cursor:
            fields = dict(zip(columns, row, strict=True))
            name, text = fields.pop("id"), fields.pop("text")
            meta = {**_plain(fields), "kind": "statute"}
            yield Document(f"statute/{_id(name)}", _text(text), meta, _missing(name, "id"))
    for kind, (table, column) in PARAGRAPH_TABLES.items():
        if table in present:
            yield from _paragraph_documents(connection, kind, table, column)


def _paragraph_documents(connection: sqlite3.Connection, kind: str, table: str, column: str) -> Iterator[Document]:
    query = f"SELECT {column}, text FROM {table} ORDER BY {column}, para_index"  # noqa: S608 - names of our own
    rows = connection.execute(query)
    for (name, missing), group in groupby(rows, key=lambda row: (_id(row[0]), _missing(row[0], column))):
        paragraphs = [_text(text).strip() for _, text in group]
        meta = {"kind": kind, "paragraphs": len(paragraphs)}
        yield Document(f"{kind}/{name}", "\n\n".join(filter(None, paragraphs)), meta, missing)


def bucket_digests(path: Path, settings: Database) -> list[tuple[int, str]]:
    """Return the number of documents and the digest of their rows for every bucket of document ids.

    The number of buckets is a power of two that follows the number of documents; embeddings written back do not count.
    """
    with closing(connect(path)) as connection:
        tallies: dict[int, Tally] = {}
        fine = 1 << 12  # buckets while counting; they fold into the power of two that fits
        for document in all_documents(connection, settings):
            tallies.setdefault(bucket_of(document.id, fine), Tally()).add(canonical(document))
    total = sum(tally.n for tally in tallies.values())
    buckets = min(fine, power_of_two(total / settings.rows_per_shard))
    folded = [Tally() for _ in range(buckets)]
    for number, tally in tallies.items():
        folded[number % buckets] += tally
    return [(tally.n, f"{tally.digest:032x}") for tally in folded]


def canonical(document: Document) -> str:
    """Return all that a document says in one line."""
    return json.dumps([document.id, document.text, document.meta], ensure_ascii=False, sort_keys=True)


def read_documents(path: Path, settings: Database, bucket: int, buckets: int) -> Iterator[Document]:
    """Return the documents of a bucket in the order of their ids, each with its fault.

    Faults are an id that is NULL (MISSING_FIELD), an id that an earlier document has (DUPLICATE_ID; rows of one id are
    in one bucket and in the order of the database), and bytes that are not UTF-8 (INVALID_UTF8).
    """
    with closing(connect(path)) as connection:
        mine = (d for d in all_documents(connection, settings) if bucket_of(d.id, buckets) == bucket)
        former = None
        for document in sorted(mine, key=lambda document: document.id):
            if document.fault:
                yield document
                continue
            yield replace(document, fault=_fault(document, former))
            former = document.id


def _fault(document: Document, former: str | None) -> Fault | None:
    if document.id == former:
        return Fault("DUPLICATE_ID", f"the id {document.id} was seen before in this database")
    for column, value in [("id", document.id), ("text", document.text), *document.meta.items()]:
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            return Fault("INVALID_UTF8", f"{column}: the character at {error.start} is not UTF-8")
    return None
