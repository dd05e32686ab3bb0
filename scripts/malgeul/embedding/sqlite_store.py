"""Documents and embedding versions in an SQLite file."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import socket
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.embedding.database import connect, faults_named, file_state, quoted, read_documents, survey, tables_of
from malgeul.embedding.documents import Document, Survey
from malgeul.embedding.migration import (
    broken_references,
    lacks_version_in_key,
    migrate,
    migration,
    rehearse,
    settles_conflicts,
)
from malgeul.embedding.pragmas import leave_unprotected, tune, write_ahead
from malgeul.embedding.settings import Database
from malgeul.embedding.store import Store
from malgeul.embedding.versions import Version, stored
from malgeul.models.host import memory
from malgeul.shards.files import publish, remove, sync_file
from malgeul.shards.locks import alive

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

OF_THE_OWNER = stat.S_IRUSR | stat.S_IWUSR
"""Rights of a copy's owner."""


class SqliteStore(Store):
    """An SQLite file; ``alone`` says that it is a copy which nobody reads yet and which a failure throws away."""

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self.path, self.alone = path, alone

    def state(self) -> dict[str, list[int]]:
        """Return size and modification time of the file and of its write-ahead log."""
        return file_state(self.path)

    def survey(self, settings: Database) -> Survey:
        """Return the ids and digests of all documents."""
        return survey(self.path, settings)

    def documents(self, settings: Database, bucket: int, buckets: int) -> Iterator[Document]:
        """Yield the documents of a bucket in the order of their ids, each with its fault."""
        return read_documents(self.path, settings, bucket, buckets)

    def rehearse(self, *, copied: bool = False) -> None:
        """Raise OSError or RuntimeError when a version could not be written."""
        with closing(connect(self.path)) as connection, faults_named(self.path):
            rehearse(connection, migration(connection))
        if not (copied or self.alone):
            self._check_place()

    def _check_place(self) -> None:
        """Raise OSError when the file and its folder cannot be written, or hold no copy before the key changes."""
        file = self.path.resolve()  # where a link leads: there SQLite keeps its log
        places = [file, file.parent]
        to_copy = self.needs_backup()
        if to_copy:
            places.append(self.backup_place().parent)
        for place in places:
            if not os.access(place, os.W_OK, effective_ids=True):
                raise PermissionError(
                    f"no version can be written into it: {place} is not writable (SQLite keeps its log, and a copy "
                    "before a unique key changes, beside the database). Allow it, or set documents.write_back: copy"
                )
        size, free = file.stat().st_size, shutil.disk_usage(places[-1]).free
        if to_copy and size > free:
            raise OSError(
                f"no version can be written into it: its unique key changes, a copy is kept before as "
                f"{self.backup_place()}, and takes {size / 1e6:,.1f} MB, of which {free / 1e6:,.1f} MB are free. Make "
                "room, or set documents.write_back: copy"
            )

    def require_room(self, version: Version) -> None:
        """Raise OSError when the disk has no room for the vectors of a version that are not written yet.

        On a disk that a version has filled nobody else could read the database, beside which readers make a file.
        """
        with self.session() as session:
            found = next(iter(stored(session, version.name)), None)
            unused = session.unused()
        needed = 4 * version.dimension * (version.chunks - (found.vectors if found else 0)) - unused
        free = shutil.disk_usage(self.path.resolve().parent).free
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"{version.name} is not written: its vectors alone need {needed / 1e6:,.1f} MB more, of which "
                f"{free / 1e6:,.1f} MB are free. Make room and run again",
                str(self.path),
            )

    def backup_place(self) -> Path:
        """Return where a copy is kept before a unique key changes: the first name that is free."""
        names = (f"{self.path.stem}.before-malgeul{number}" for number in chain([""], (f"-{k}" for k in count(2))))
        places = (self.path.with_name(f"{name}{self.path.suffix}") for name in names)
        return next(place for place in places if not place.exists())

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """Give a copy of the database beside it, which vanishes when the block ends unless it was renamed.

        Its name is this process's own, since others may be at the same; copies that killed ones left are removed.
        """
        name = f".{self.path.name}.before-malgeul.{socket.gethostname()}"
        for left in self.path.parent.iterdir():
            found = re.fullmatch(rf"{re.escape(name)}\.(\d+)\.part(-journal)?", left.name)
            if found and not alive(int(found[1])):
                remove(left)
        place = self.path.with_name(f"{name}.{os.getpid()}.part")
        try:
            copy_database(self.path, place)
            sync_file(place)
            yield place
        finally:
            remove(place)

    def needs_backup(self) -> bool:
        """Tell whether the migration changes a table that is there."""
        with closing(connect(self.path)) as connection:
            return "text_chunks" in tables_of(connection) and lacks_version_in_key(connection)

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[SqliteSession]:
        """Open a connection for the tables of versions."""
        with closing(connect(self.path, write=write)) as connection, faults_named(self.path):
            session = SqliteSession(self, connection)
            if write:
                session.tune()
            yield session
            if write:
                session.finish()


class SqliteSession:
    """An open connection to an SQLite file."""

    blob = "BLOB"
    active_if = "(id = ?)"

    def __init__(self, store: SqliteStore, connection: sqlite3.Connection) -> None:
        self._store, self._connection = store, connection

    def tune(self) -> None:
        """Set the connection for writing."""
        # Or a dropped table takes along the rows that refer to it.
        self._connection.execute("PRAGMA foreign_keys = OFF")
        tune(self._connection, memory())
        if self._store.alone:
            leave_unprotected(self._connection)

    def finish(self) -> None:
        """Move the log into the file, unless somebody is reading: then the last one who closes the file does it."""
        if not self._store.alone:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return self._connection.execute(statement, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Be the one writer while the block runs; all of it is committed, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction and not self._store.alone:  # SQLite rolls back itself on a full disk
                self._connection.execute("ROLLBACK")
            raise

    def columns(self, table: str) -> list[str]:
        """Return the columns of a table that can be written, in lower case; none where there is no such table."""
        return [row[1].lower() for row in self._connection.execute(f"PRAGMA table_info({quoted(table)})")]

    def last_given(self, table: str) -> int:
        """Return the last id of a table with AUTOINCREMENT, 0 for others."""
        if "sqlite_sequence" not in tables_of(self._connection):
            return 0
        query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE lower(name) = ?"
        return int(self._connection.execute(query, [table]).fetchone()[0])

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows; raises ValueError where a key, check or trigger of the database refuses one.

        A key that would take another row away for one of these (ON CONFLICT REPLACE) refuses it, too. OR ABORT would
        hold for what triggers insert as well, so it stands only where such a key is.
        """
        names, places = ", ".join(map(quoted, columns)), ", ".join("?" * len(columns))
        insert = "INSERT OR ABORT" if settles_conflicts(self._connection, table) else "INSERT"
        alone = not self._connection.in_transaction  # rows of a temporary table: not a transaction each
        if alone:
            self._connection.execute("BEGIN")
        try:
            self._connection.executemany(f"{insert} INTO {table} ({names}) VALUES ({places})", rows)
        except sqlite3.IntegrityError as error:
            raise ValueError(
                f"{self._store.path} refuses a row of {table}: {error}. These rows were taken back, and the version "
                "before it stays active. Change what refuses it, or set documents.write_back: off"
            ) from error
        if alone:
            self._connection.execute("COMMIT")

    def vectors(self, matrix: npt.NDArray[np.float32]) -> Iterator[memoryview]:
        """Yield the rows of a matrix as little-endian float32; nothing is copied on a little-endian machine."""
        import numpy as np

        raw = memoryview(np.ascontiguousarray(matrix, dtype="<f4").data).cast("B")
        width = 4 * matrix.shape[1]
        return (raw[start : start + width] for start in range(0, len(raw), width))

    def migration(self) -> list[str]:
        """Return the statements that make the tables ready for versions side by side."""
        return migration(self._connection)

    def prepare(self) -> None:
        """Make the tables ready for versions side by side, after a backup where a unique key changes.

        Other readers are never blocked afterwards: the database writes ahead (WAL).
        """
        store, needed = self._store, migration(self._connection)
        with ExitStack() as stack:
            copy: Path | None = None
            if needed:
                rehearse(self._connection, needed)
                if store.needs_backup() and not store.alone:
                    copy = stack.enter_context(store.copied())
            # not before: how it is written is kept in the file, which stays as it is until the copy is there
            if not store.alone and not write_ahead(self._connection):
                log.warning("%s cannot be written ahead where it lies: readers wait for commits", store.path)
            if not needed:
                return
            with self.transaction():
                statements = migration(self._connection)  # again: now nobody else can change the schema
                is_changed = lacks_version_in_key(self._connection)
                migrate(self._connection, statements)
                if copy and is_changed:  # before the commit: a kill leaves one copy too many, never none
                    place = store.backup_place()
                    publish(copy, place)
                    log.info("%s is a copy of %s before its unique key changes", place, store.path)
        for statement in statements:
            log.info("%s", statement)

    def broken_references(self) -> Counter[str]:
        """Return how many rows of which table refer to nothing."""
        return broken_references(self._connection)

    def unused(self) -> int:
        """Return how many bytes of the file are free."""
        (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(pages * size)

    def free_space(self) -> str:
        """Return how the space of removed rows is given back."""
        path = self._store.path
        return (
            f"{self.unused() / 1e6:,.1f} MB in {path} are free and are used by the next version. To give them back: "
            f"sqlite3 {path} VACUUM (it needs as much free disk as the file has, and nobody else may write meanwhile)"
        )


def copy_database(source: Path, target: Path) -> None:
    """Copy a database with SQLite's backup, which is whole also while others write; who may not read it reads no copy.

    Its owner may write a copy, though the database itself may be read-only.
    """
    target.touch(mode=OF_THE_OWNER)
    with closing(connect(source)) as old, closing(sqlite3.connect(target)) as new, faults_named(source):
        old.backup(new)
    target.chmod(stat.S_IMODE(source.stat().st_mode) | OF_THE_OWNER)
