"""SQLite's settings follow the memory of the machine."""

import itertools
import sqlite3

import pytest

from malgeul.embedding.pragmas import BY_MEMORY, GIB, tune, write_ahead


@pytest.fixture
def connection(tmp_path):
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    yield connection
    connection.close()


def settings(connection):
    names = ("cache_size", "mmap_size", "wal_autocheckpoint", "temp_store")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


@pytest.mark.parametrize(
    ("gigabytes", "megabytes_of_cache", "temp_store"), [(7.7, 64, 1), (15.4, 256, 2), (31, 512, 2), (128, 1024, 2)]
)
def test_cache_and_temporary_tables_grow_with_the_memory(connection, gigabytes, megabytes_of_cache, temp_store):
    tune(connection, int(gigabytes * GIB))
    found = settings(connection)
    assert found["cache_size"] == -1024 * megabytes_of_cache
    assert found["temp_store"] == temp_store


def test_commits_are_synced_each_unless_the_database_is_written_ahead(connection):
    tune(connection, GIB)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert write_ahead(connection)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)


def test_more_memory_never_means_less_of_anything(connection):
    found = []
    for setting in BY_MEMORY:
        tune(connection, int(min(setting.memory, 1024 * GIB)))
        found.append(settings(connection))
    for less, more in itertools.pairwise(found):
        assert more["cache_size"] <= less["cache_size"]  # negative: KiB
        assert more["mmap_size"] >= less["mmap_size"]
        assert more["wal_autocheckpoint"] >= less["wal_autocheckpoint"]


def test_caches_stay_a_small_share_of_the_memory():
    for setting in BY_MEMORY[:-1]:
        assert setting.cache + setting.log <= setting.memory / 20
