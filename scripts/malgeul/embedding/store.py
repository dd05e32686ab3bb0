"""Stores: databases with documents and embedding versions, an SQLite file or a PostgreSQL server, of one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from malgeul.embedding import versions
from malgeul.embedding.documents import Document, Survey
from malgeul.embedding.session import Session
from malgeul.embedding.settings import Database, is_server
from malgeul.embedding.versions import Batches, Changes, Record, Stored, Version
from malgeul.shards.verify import Damage, readable_ledgers


class Store(ABC):
    """A database with documents and embedding versions. Only write, activate and drop change it."""

    @abstractmethod
    def state(self) -> dict[str, list[int]] | None:
        """Return what tells cheaply that nothing has changed, or None where nothing does."""

    @abstractmethod
    def survey(self, settings: Database) -> Survey:
        """Return the ids and digests of all documents."""

    @abstractmethod
    def documents(self, settings: Database, bucket: int, buckets: int) -> Iterator[Document]:
        """Yield the documents of a bucket in the order of their ids, each with its fault.

        Of documents with one id the first in the order of the database is the document, the others are faults.
        """

    @abstractmethod
    def rehearse(self, *, copied: bool = False) -> None:
        """Raise OSError or RuntimeError when a version could not be written, as far as that can be told beforehand.

        ``copied`` says that it is a copy that is written into. Costs milliseconds and changes nothing.
        """

    @abstractmethod
    def require_room(self, version: Version) -> None:
        """Raise OSError when the disk has no room for the vectors of a version that are not written yet."""

    @abstractmethod
    def session(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Open a connection for the tables of versions."""

    def migration(self) -> list[str]:
        """Return the statements that make the database ready for versions side by side; none where it is.

        Raises RuntimeError when its unique key cannot be changed.
        """
        with self.session() as session:
            return session.migration()

    def standing(self, record: Record) -> Stored | None:
        """Return the active version where it is whole and made of these documents, and the tables are ready."""
        with self.session() as session:
            return None if session.migration() else versions.standing(session, record)

    def versions(self) -> list[Stored]:
        """Return the versions, oldest first."""
        with self.session() as session:
            return versions.stored(session)

    def loss(self, name: str) -> str | None:
        """Return what became of a version that was written whole and active, or None where it stands."""
        with self.session() as session:
            return versions.loss(session, name)

    def changes(self, survey: Survey) -> Changes | None:
        """Compare documents with those that the active version was made of; None when it does not say."""
        with self.session() as session:
            return versions.changes(session, survey)

    def read_settings(self) -> dict[str, Any] | None:
        """Return how the documents of the active version were read; None when it does not say."""
        with self.session() as session:
            return versions.read_settings(session)

    def write(self, version: Version, batches: Batches, record: Record) -> bool:
        """Write a version and make it the active one; False when it is that already (see versions.write).

        Of the same documents and settings it is so in a database that cannot be written, too. Raises also what
        rehearse() and require_room() raise.
        """
        there = self.standing(record)
        if there and there.name == version.name and versions.is_noted(there, version, record):
            return False
        self.rehearse()
        self.require_room(version)
        with self.session(write=True) as session:
            return versions.write(session, version, batches, record)

    def activate(self, name: str) -> None:
        """Make a version the active one; raises LookupError for one that is not there, ValueError for one not whole."""
        with self.session(write=True) as session:
            versions.activate(session, name)

    def drop(self, name: str) -> str:
        """Remove a version and return how its space is given back.

        Raises LookupError for one that is not there, ValueError for the active one, RuntimeError when other rows refer
        to its chunks.
        """
        with self.session(write=True) as session:
            versions.drop(session, name)
            return session.free_space()


def open_store(address: str | Path) -> Store:
    """Return the store at a path, or at a PostgreSQL address; nothing is opened yet."""
    if isinstance(address, str) and is_server(address):
        from malgeul.embedding.postgres import PostgresStore

        return PostgresStore(address)
    from malgeul.embedding.sqlite_store import SqliteStore

    return SqliteStore(Path(address))


def lost_versions(results: Path, addresses: Mapping[str, str]) -> Iterator[Damage]:
    """Yield the ledgers of a run that vouch for a version which its database does not hold any more.

    ``addresses`` are those of the databases that were written into, by name.
    """
    for file, ledger in readable_ledgers(results, "write_back"):
        if ledger is None or ledger.shard not in addresses or not ledger.measured.get("chunks"):
            continue
        name, address = ledger.measured["version"], addresses[ledger.shard]
        if lost := open_store(address).loss(name):
            what = f"says that the version {name} stands in {address}, but it {lost}"
            yield Damage(ledger.stage, ledger.shard, str(file.relative_to(results)), what)
