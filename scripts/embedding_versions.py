"""Look at the embedding versions of a database, switch between them, remove old ones.

    embedding_versions.py DATABASE list              the versions, their rows, which one is active
    embedding_versions.py DATABASE status            documents new, changed and removed since the active one was made
    embedding_versions.py DATABASE plan              dry run: what writing a version would change of the schema
    embedding_versions.py DATABASE activate NAME     make a version the active one: switch back, or forth
    embedding_versions.py DATABASE drop NAME         remove a version that is not the active one

DATABASE is an SQLite file (the user's own, or results/<run>/database/*.sqlite), postgresql://user@host/database or
service=NAME. The status is 0, or 1 with one line that says what is wrong.
"""

import argparse
import logging
import sqlite3
import sys
from pathlib import Path

from malgeul.embedding.settings import Database, check_address
from malgeul.embedding.sqlite_store import SqliteStore
from malgeul.embedding.store import Store, open_store
from malgeul.embedding.versions import Changes, Stored
from malgeul.shards.stopping import end_at_interrupt


def table_of(versions: list[Stored]) -> str:
    """Return the versions as a table, the oldest first."""
    header = ["", "name", "strategy", "model", "chunks", "vectors", "documents", "state"]
    rows = [
        [
            "*" if version.active else "",
            version.name,
            version.strategy or "",
            version.model or "",
            f"{version.chunks:,}",
            f"{version.vectors:,}",
            f"{version.metadata['documents']['n']:,}" if "documents" in version.metadata else "not recorded",
            version.problem or ("active" if version.active else "whole"),
        ]
        for version in versions
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def tell_status(changes: Changes, *, ids: bool) -> str:
    """Return what has changed in a line, with ``ids`` one more for every document."""
    counts = ", ".join(f"{number:,} {what}" for what, number in changes.counts.items())
    line = f"documents {counts} since {changes.version} was made"
    if not any(changes.counts.values()):
        return f"nothing to do: {line}"
    named = {"new": changes.new, "changed": changes.changed, "removed": changes.removed}
    return "\n".join([line, *(f"{what}\t{name}" for what, names in named.items() for name in names if ids)])


def find_changes(store: Store, documents: Store) -> Changes:
    """Compare documents with the active version; raises ValueError when it does not say how they were read."""
    read = store.read_settings()
    changes = store.changes(documents.survey(Database.model_validate({**read, "path": "recorded"}))) if read else None
    if changes is None:
        raise ValueError(
            "the active version does not say of which documents it was made (another program wrote it, or there is "
            "none), so what has changed cannot be told"
        )
    return changes


def tell_plan(store: Store) -> str:
    """Return the statements of the migration, what happens before them, and why this user cannot run them.

    Raises RuntimeError for what would keep a version out whoever writes it.
    """
    statements = store.migration()
    lines = ["nothing to change: versions can stand side by side"]
    if statements:
        lines = ["-- in one transaction:", *(f"{statement};" for statement in statements)]
        if isinstance(store, SqliteStore) and store.needs_backup():
            lines.insert(0, f"-- first a copy of the whole database is kept as {store.backup_place()}")
    try:
        store.rehearse()
    except OSError as error:
        lines.append(f"-- {error}")
    return "\n".join(lines)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the versions of the database")
    commands.add_parser("plan", help="dry run: what writing a version would change of the schema")
    status = commands.add_parser("status", help="what has changed since the active version was made")
    status.add_argument("--documents", help="the database with the documents, where the versions are in a copy of it")
    status.add_argument("--ids", action="store_true", help="name every document")
    for name, what in (("activate", "make a version the active one"), ("drop", "remove a version")):
        commands.add_parser(name, help=what).add_argument("name")
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        check_address(given.database)
    except ValueError as error:
        sys.exit(f"malgeul: {error}")  # without the address, which may hold a password
    try:
        print(run(given))
    except (OSError, ValueError, LookupError, RuntimeError, sqlite3.Error) as error:
        text = " ".join(str(part) for part in error.args) if isinstance(error, LookupError) else str(error)
        sys.exit(f"malgeul: {given.database}: {text}")


def run(given: argparse.Namespace) -> str:
    """Run one command and return what it has to say."""
    store = open_store(given.database)
    match given.command:
        case "list":
            versions = store.versions()
            return table_of(versions) if versions else "no versions"
        case "plan":
            return tell_plan(store)
        case "status":
            return tell_status(find_changes(store, open_store(given.documents or given.database)), ids=given.ids)
        case "activate":
            store.activate(given.name)
            said = f"{given.name} is the active version now"
        case _:
            said = f"{given.name} is gone; {store.drop(given.name)}"
    if _is_result(given.database):
        said += (
            "\nthis file is a result of malgeul: the next run finds it altered and makes it again; copy it to keep it"
        )
    return said


def _is_result(database: str) -> bool:
    """Tell whether a file lies in the results of a run."""
    folder = Path(database).absolute().parent
    return folder.name == "database" and (folder.parent / "ledger").is_dir()


if __name__ == "__main__":
    end_at_interrupt()
    main()
