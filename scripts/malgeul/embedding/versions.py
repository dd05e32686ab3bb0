"""Embedding versions in a database: written beside the old ones, active when they are whole, gone when asked to go.

A version is written inactive, batch by batch, each batch committed with the number of chunks that are written so far;
so a killed writer's successor goes on where it was, and no log grows with the version. Then, in one transaction, its
rows are counted and it becomes the active one. A reader that asks for the active version

    SELECT c.text, e.vector FROM embedding_versions v
    JOIN text_chunks c ON c.embedding_version_id = v.id
    JOIN embeddings e ON e.chunk_id = c.id AND e.version_id = v.id
    WHERE v.is_active

sees the old one until the new one is whole, and never half of it. A reader that does not ask sees the rows of every
version in the database, of the one that is being written too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from malgeul.embedding.documents import Survey, sum_of
from malgeul.embedding.session import Session
from malgeul.embedding.settings import Database
from malgeul.shards.stopping import whole_batch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

VERSIONS, CHUNKS, VECTORS, DOCUMENTS = "embedding_versions", "text_chunks", "embeddings", "malgeul_documents"
"""The tables of versions; the last one, of our own, holds the digest of every document a version was made of."""

ROWS = ((CHUNKS, "embedding_version_id"), (VECTORS, "version_id"))
"""The tables with the rows of versions, and the column that says of which one a row is."""

READ = ("layout", "table", "query", "id", "text")
"""Settings that say how documents are found in a database."""


@dataclass(frozen=True)
class Version:
    """A version to write: its name, chunking strategy, model, dimension, number of chunks, and what else is known."""

    name: str
    strategy: str
    model: str
    dimension: int
    chunks: int
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Rows of text_chunks by column, without id and version, and their vectors: float32, one row a chunk."""

    columns: dict[str, list[Any]]
    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vectors)


Batches = Callable[[int], Iterator[Batch]]
"""Gives the batches of a version, in an order that its name decides, without the first so many chunks."""


@dataclass(frozen=True)
class Record:
    """Which documents a version is made of: the digest of each by id, and how they were read."""

    contents: Mapping[str, bytes]
    settings: Database

    def summary(self) -> dict[str, Any]:
        """Return what the version's metadata says of its documents."""
        return {**_summary(self.contents), "read": self.settings.model_dump(mode="json", include=set(READ))}


@dataclass(frozen=True)
class Stored:
    """A version as it stands in a database: number, name, model, strategy, its rows, and what it says of itself."""

    id: int
    name: str
    strategy: str | None
    model: str | None
    active: bool
    chunks: int
    vectors: int
    metadata: dict[str, Any]

    @property
    def written(self) -> int | None:
        """Chunks that are written so far, where the version is still being written."""
        return self.metadata.get("written")

    @property
    def problem(self) -> str | None:
        """Return why it is not whole, or None. One of another program is whole when every chunk has a vector."""
        if self.written is not None:
            return f"{self.written} of {self.metadata['chunks']} chunks are written"
        expected = self.metadata["chunks"] if "documents" in self.metadata else self.chunks
        if self.chunks == self.vectors == expected and expected:
            return None
        return f"it has {self.chunks} chunks and {self.vectors} vectors, and should have {expected or 'some'} of each"


@dataclass(frozen=True)
class Changes:
    """Ids of the documents that are new, changed or gone since a version was made (no name: there is none)."""

    version: str | None
    new: list[str]
    changed: list[str]
    removed: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """Return the three numbers."""
        return {"new": len(self.new), "changed": len(self.changed), "removed": len(self.removed)}


# Looking


def stored(session: Session, name: str | None = None) -> list[Stored]:
    """Return the versions, oldest first; of a ``name`` that one alone, without looking at the rows of others."""
    if not session.columns(VERSIONS):
        return []
    rows = session.execute(
        f"SELECT id, version_name, chunking_strategy, model_name, CAST(is_active AS INTEGER), metadata "  # noqa: S608
        f"FROM {VERSIONS} {'WHERE version_name = ?' if name else ''} ORDER BY id",
        [name] if name else [],
    )
    counts = _count_all_rows(session) if name is None else {row[0]: _count_rows(session, row[0]) for row in rows}
    return [
        Stored(number, name, strategy, model, bool(active), *counts.get(number, (0, 0)), parsed(facts))
        for number, name, strategy, model, active, facts in rows
    ]


def _count_all_rows(session: Session) -> dict[int, tuple[int, int]]:
    """Return how many chunks and vectors carry the number of each version, reading both tables once."""
    chunks, vectors = (
        dict(session.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY {column}"))  # type: ignore[arg-type] # noqa: S608
        if session.columns(table)
        else {}
        for table, column in ROWS
    )
    return {number: (chunks.get(number, 0), vectors.get(number, 0)) for number in chunks.keys() | vectors.keys()}


def _count_rows(session: Session, number: int) -> tuple[int, int]:
    """Return how many chunks and vectors carry the number of a version."""
    chunks, vectors = (
        session.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", [number])[0][0]  # noqa: S608
        if session.columns(table)
        else 0
        for table, column in ROWS
    )
    return chunks, vectors


def loss(session: Session, name: str) -> str | None:
    """Return what became of a version that was written whole and active, or None where it stands.

    One that is whole while another is active stands: somebody switched.
    """
    found = next(iter(stored(session, name)), None)
    if found is None:
        return "is not there"
    if found.problem:
        return f"is not whole: {found.problem}"
    return None if _active(session) else "is not active, and neither is another"


def standing(session: Session, record: Record) -> Stored | None:
    """Return the active version where it is whole and made of these documents, read in this way; else None."""
    active = _active(session)
    found = next(iter(stored(session, active[1])), None) if active else None
    whole = found and not found.problem and found.metadata.get("documents") == record.summary()
    return found if whole else None


def parsed(metadata: Any) -> dict[str, Any]:
    """Return what the column metadata (text, or PostgreSQL's jsonb) says; of a version of another program nothing.

    That one may use the same words, such as {"documents": 13841, "chunks": 32583}.
    """
    try:
        value = json.loads(metadata) if isinstance(metadata, str) else metadata
    except ValueError:
        return {}
    return value if isinstance(value, dict) and _is_our_own(value) else {}


def _is_our_own(facts: dict[str, Any]) -> bool:
    """Tell whether :func:`_facts` made these, of a version that is being written or of a whole one."""
    documents = facts.get("documents")
    whole = isinstance(documents, dict) and "digest" in documents
    return isinstance(facts.get("chunks"), int) and (whole or isinstance(facts.get("written"), int))


def _find(session: Session, name: str) -> Stored:
    versions = stored(session)
    for version in versions:
        if version.name == name:
            return version
    names = ", ".join(version.name for version in versions) or "none"
    raise LookupError(f"there is no version {name}; there are: {names}")


def _active(session: Session) -> tuple[int, str, dict[str, Any]] | None:
    """Return number, name and metadata of the active version without counting its rows."""
    if not session.columns(VERSIONS):
        return None
    query = f"SELECT id, version_name, metadata FROM {VERSIONS} WHERE CAST(is_active AS INTEGER) = 1 ORDER BY id DESC"  # noqa: S608
    rows = session.execute(query)
    return (rows[0][0], rows[0][1], parsed(rows[0][2])) if rows else None


def read_settings(session: Session) -> dict[str, Any] | None:
    """Return how the documents of the active version were read; None when it does not say."""
    active = _active(session)
    found: dict[str, Any] | None = active[2].get("documents", {}).get("read") if active else None
    return found


# What has changed since


def changes(session: Session, survey: Survey) -> Changes | None:
    """Compare documents with those of which the active version was made; None when it does not say.

    Where there is no active version, all are new.
    """
    contents = survey.contents()
    active = _active(session)
    if active is None:
        return Changes(None, sorted(contents), [], [])
    number, name, facts = active
    known = facts.get("documents")
    if known is None or not session.columns(DOCUMENTS):
        return None
    if _summary(contents).items() <= known.items():
        return Changes(name, [], [], [])
    session.execute(f"CREATE TEMPORARY TABLE present (document_id TEXT PRIMARY KEY, digest {session.blob} NOT NULL)")
    session.load("present", ["document_id", "digest"], ((_storable(name), digest) for name, digest in contents.items()))
    found = [
        [document for (document,) in session.execute(query, [number])]
        for query in (
            f"SELECT p.document_id FROM present p LEFT JOIN {DOCUMENTS} d "  # noqa: S608
            "ON d.version_id = ? AND d.document_id = p.document_id WHERE d.document_id IS NULL ORDER BY 1",
            f"SELECT p.document_id FROM present p JOIN {DOCUMENTS} d "  # noqa: S608
            "ON d.version_id = ? AND d.document_id = p.document_id WHERE d.digest <> p.digest ORDER BY 1",
            f"SELECT d.document_id FROM {DOCUMENTS} d LEFT JOIN present p "  # noqa: S608
            "ON p.document_id = d.document_id WHERE d.version_id = ? AND p.document_id IS NULL ORDER BY 1",
        )
    ]
    session.execute("DROP TABLE present")
    return Changes(name, *found)


def _summary(contents: Mapping[str, bytes]) -> dict[str, Any]:
    return {"n": len(contents), "digest": sum_of(contents.values())}


def _storable(name: str) -> str:
    """Return an id with what is no UTF-8 in it spelled out, since a column of text cannot hold it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# Writing


def write(session: Session, version: Version, batches: Batches, record: Record) -> bool:
    """Write a version and make it the active one; False when it is that already.

    Goes on where a killed writer was. Raises RuntimeError when counts do not come out, another program writes the same
    version, or a unique key cannot be changed; Locked; and Stopped after SIGTERM, once the batch is finished.
    """
    session.prepare()
    found = next(iter(stored(session, version.name)), None)
    if found and found.active and not found.problem:
        _keep_record(session, found, version, record)
        return False
    if found and found.active:  # damaged by somebody: readers keep it until there is a whole one
        with session.transaction():
            name = f"{found.name} (damaged {found.id})"
            session.execute(f"UPDATE {VERSIONS} SET version_name = ? WHERE id = ?", [name, found.id])  # noqa: S608
        log.warning("the active version %s is not whole (%s): it is called %s now", found.name, found.problem, name)
        found = None
    if found and not found.problem:
        number, written = found.id, found.chunks
    else:
        number, written = _begin(session, version, found)
        if written:
            log.info("%d of %d chunks of %s were written before", written, version.chunks, version.name)
        _write_batches(session, version, number, written, batches)
    _switch(session, version, number, record)
    return True


def is_noted(found: Stored, version: Version, record: Record) -> bool:
    """Tell whether a version that is there says of which documents and with which settings it would be made now."""
    noted = (found.metadata.get("documents"), found.metadata.get("settings"))
    return noted == (record.summary(), version.metadata.get("settings"))


def _keep_record(session: Session, found: Stored, version: Version, record: Record) -> None:
    """Note the documents and settings of a version that stands there already: not every change changes vectors."""
    if is_noted(found, version, record):
        return
    with session.transaction():
        _note_documents(session, found.id, version, record)


def _begin(session: Session, version: Version, found: Stored | None) -> tuple[int, int]:
    """Return the number of an inactive version and how many of its chunks are written."""
    if found and found.written == found.chunks == found.vectors:
        return found.id, found.chunks
    with session.transaction():
        if found:  # somebody else wrote or removed rows of it
            _delete_rows(session, found.id)
            number = found.id
            session.execute(f"UPDATE {VERSIONS} SET metadata = ? WHERE id = ?", [_facts(version, 0), number])  # noqa: S608
        else:
            number = _free_number(session)
            facts = (version.name, version.strategy, version.model, 0, _facts(version, 0))
            columns = ("id", "version_name", "chunking_strategy", "model_name", "is_active", "metadata")
            session.load(VERSIONS, columns, [(number, *facts)])
    return number, 0


def _free_number(session: Session) -> int:
    """Return a number above those of all versions and rows: rows of a version that was removed may still be there."""
    return 1 + max(_last_id(session, VERSIONS), *(_largest(session, table, column) for table, column in ROWS))


def _last_id(session: Session, table: str) -> int:
    """Return the largest id in a table, or of a row that is gone where the table gives none twice."""
    return max(_largest(session, table, "id"), session.last_given(table))


def _largest(session: Session, table: str, column: str) -> int:
    """Return the largest number in a column, 0 where there is none.

    Raises RuntimeError for text, which SQLite keeps in a column of numbers too and takes to be larger than all of them.
    """
    ((largest,),) = session.execute(f"SELECT max({column}) FROM {table}")  # noqa: S608
    if isinstance(largest, str | bytes):
        raise RuntimeError(
            f"{table}.{column} holds {largest!r}, which is no number, and the numbers of versions and chunks go into "
            "it. Change such rows, or set documents.write_back: off"
        )
    return int(largest or 0)


def _facts(version: Version, written: int | None, record: Record | None = None) -> str:
    """Return the column metadata of a version, while it is written and once it is whole."""
    facts = {**version.metadata, "chunks": version.chunks}
    if written is not None:
        facts["written"] = written
    if record is not None:
        facts["documents"] = record.summary()
    return json.dumps(facts, ensure_ascii=False, sort_keys=True)


def _write_batches(session: Session, version: Version, number: int, written: int, batches: Batches) -> None:
    columns = set(session.columns(CHUNKS))
    for batch in batches(written):
        with whole_batch(), session.transaction():
            _compare_progress(session, version, number, written)
            _insert(session, version, number, batch, columns)
            written += len(batch)
            facts = _facts(version, written)
            session.execute(f"UPDATE {VERSIONS} SET metadata = ? WHERE id = ?", [facts, number])  # noqa: S608


def _compare_progress(session: Session, version: Version, number: int, written: int) -> None:
    rows = session.execute(f"SELECT metadata FROM {VERSIONS} WHERE id = ?", [number])  # noqa: S608
    found = parsed(rows[0][0]).get("written") if rows else None
    if found != written:
        raise RuntimeError(
            f"another program writes the version {version.name} too: it stands at {found} chunks, not at the {written} "
            "that this one wrote; let it end and run again"
        )


def _insert(session: Session, version: Version, number: int, batch: Batch, columns: set[str]) -> None:
    first = _last_id(session, CHUNKS) + 1
    ids = range(first, first + len(batch))
    # what is nowhere known is left out: the table may have a default for it
    known = {name: values for name, values in batch.columns.items() if name in columns and values != [None] * len(ids)}
    rows = zip(ids, *known.values(), repeat(number))
    session.load(CHUNKS, ["id", *known, "embedding_version_id"], rows)
    vectors = session.vectors(batch.vectors)
    rows = zip(ids, repeat(version.model), repeat(version.dimension), vectors, repeat(number))
    session.load(VECTORS, ["chunk_id", "model", "dim", "vector", "version_id"], rows)


def _switch(session: Session, version: Version, number: int, record: Record) -> None:
    """Count the rows of a version and make it the active one, in one transaction."""
    with session.transaction():
        counts = _count_rows(session, number)
        if counts != (version.chunks, version.chunks):
            raise RuntimeError(
                f"the version {version.name} has {counts[0]} chunks and {counts[1]} vectors, {version.chunks} of each "
                "expected; it stays inactive"
            )
        _note_documents(session, number, version, record)
        _make_active(session, number)


def _note_documents(session: Session, number: int, version: Version, record: Record) -> None:
    session.execute(f"DELETE FROM {DOCUMENTS} WHERE version_id = ?", [number])  # noqa: S608
    rows = ((number, _storable(name), digest) for name, digest in sorted(record.contents.items()))
    session.load(DOCUMENTS, ["version_id", "document_id", "digest"], rows)
    facts = _facts(version, None, record)
    session.execute(f"UPDATE {VERSIONS} SET metadata = ? WHERE id = ?", [facts, number])  # noqa: S608


def _delete_rows(session: Session, number: int) -> None:
    for table, column in reversed(ROWS):  # a server refuses to remove a chunk that has a vector
        session.execute(f"DELETE FROM {table} WHERE {column} = ?", [number])  # noqa: S608


# Switching and removing


def _make_active(session: Session, number: int) -> None:
    """Make a version the only active one; first there is none, since a unique index may not allow two for a moment."""
    for which in ("<>", "="):
        statement = f"UPDATE {VERSIONS} SET is_active = {session.active_if} WHERE id {which} ?"  # noqa: S608
        session.execute(statement, [number, number])


def activate(session: Session, name: str) -> None:
    """Make a version the active one; raises LookupError for one that is not there, ValueError for one not whole."""
    with session.transaction():
        version = _find(session, name)
        if version.problem:
            raise ValueError(f"the version {name} is not whole: {version.problem}")
        _make_active(session, version.id)


def drop(session: Session, name: str) -> None:
    """Remove a version and its rows.

    Raises LookupError for one that is not there, ValueError for the active one, RuntimeError when other rows refer to
    its chunks.
    """
    with session.transaction():
        version = _find(session, name)
        if version.active:
            raise ValueError(f"{name} is the active version; activate another one before you drop it")
        broken = session.broken_references()
        _delete_rows(session, version.id)
        if session.columns(DOCUMENTS):
            session.execute(f"DELETE FROM {DOCUMENTS} WHERE version_id = ?", [version.id])  # noqa: S608
        session.execute(f"DELETE FROM {VERSIONS} WHERE id = ?", [version.id])  # noqa: S608
        if newly := session.broken_references() - broken:  # rows that referred to nothing before may have gone, too
            raise RuntimeError(f"other rows refer to chunks of {name} ({', '.join(newly)}); nothing was removed")
