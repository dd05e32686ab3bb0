"""How SQLite is set for bulk writing, by the memory of the machine."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Setting:
    """What a machine with at most ``memory`` bytes gets, in bytes.

    cache: pages kept by the connection. A batch changes some 20 MiB, and the inner pages of all indexes should stay;
        what does not fit is written to the log before the transaction ends, and again afterwards.
    mmap: how much of the file is read through the page cache without copying. SQLite caps it below 2 GiB.
    log: size at which the write-ahead log is moved into the file. Each time costs an fsync, and pages that changed
        often since (the right edge of every index) are moved once; a reader has more log to look through, though.
    temp_in_memory: the temporary table of an anti-join over a million documents takes about 100 MiB.
    """

    memory: float
    cache: int
    mmap: int
    log: int
    temp_in_memory: bool


BY_MEMORY = (
    Setting(8 * GIB, 64 * MIB, 256 * MIB, 16 * MIB, temp_in_memory=False),
    Setting(16 * GIB, 256 * MIB, GIB, 64 * MIB, temp_in_memory=True),
    Setting(32 * GIB, 512 * MIB, 2 * GIB, 128 * MIB, temp_in_memory=True),
    Setting(float("inf"), GIB, 2 * GIB, 256 * MIB, temp_in_memory=True),
)
"""The first whose memory is not below the machine's. A machine of 8 GiB shows a little less, so it is the first."""


def setting_for(memory: int) -> Setting:
    """Return the setting for a machine with so many bytes of memory."""
    return next(setting for setting in BY_MEMORY if memory <= setting.memory)


def tune(connection: sqlite3.Connection, memory: int) -> None:
    """Set a connection for bulk writing on a machine with so many bytes of memory."""
    setting = setting_for(memory)
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    for pragma in (
        f"cache_size = -{setting.cache // 1024}",
        f"mmap_size = {setting.mmap}",
        f"wal_autocheckpoint = {setting.log // page}",
        f"temp_store = {'MEMORY' if setting.temp_in_memory else 'FILE'}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def write_ahead(connection: sqlite3.Connection) -> bool:
    """Let readers read on while the connection writes; False where the file system does not allow it.

    synchronous NORMAL: a loss of power may take the last batches back, which are then written again, and never leaves a
    file that is written ahead inconsistent; FULL costs an fsync a batch.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")
    return bool(mode == "wal")


def leave_unprotected(connection: sqlite3.Connection) -> None:
    """Set a connection for filling a file that nobody else sees: after a kill it is made again from nothing.

    So there is no log, no rollback and no fsync; whoever publishes the file syncs it.
    """
    for pragma in ("journal_mode = DELETE", "journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
        connection.execute(f"PRAGMA {pragma}")
