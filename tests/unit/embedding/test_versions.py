"""Readers see the old version until the new one is complete; a failure leaves it; writing twice changes nothing."""

import sqlite3

import pytest

from malgeul.embedding.versions import Version, VersionedChunk, lacks_version_in_key, write_version

VERSION = Version("malgeul-1", "standard", "some/model", 2, {"run": "demo"})


@pytest.fixture
def database(tmp_path):
    """A database with the forerunner's defect: the version is not in the unique key."""
    path = tmp_path / "law.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE embedding_versions (id INTEGER PRIMARY KEY, version_name TEXT UNIQUE, chunking_strategy TEXT,
                model_name TEXT, is_active INTEGER, metadata TEXT);
            CREATE TABLE text_chunks (id INTEGER PRIMARY KEY, source_type TEXT NOT NULL, source_id INTEGER NOT NULL,
                chunk_index INTEGER NOT NULL, text TEXT NOT NULL, extra TEXT DEFAULT 'x', embedding_version_id INTEGER,
                UNIQUE (source_type, source_id, chunk_index));
            CREATE INDEX by_source ON text_chunks (source_id);
            CREATE TABLE embeddings (chunk_id INTEGER, model TEXT, dim INTEGER, vector BLOB, version_id INTEGER);
            INSERT INTO embedding_versions VALUES (1, 'old', 'standard', 'old/model', 1, NULL);
            INSERT INTO text_chunks (id, source_type, source_id, chunk_index, text, embedding_version_id)
                VALUES (7, 'case', 1, 0, '옛 조각', 1);
            INSERT INTO embeddings VALUES (7, 'old/model', 8, x'00', 1);
            """
        )
    connection.close()
    return path


def chunks(n=3):
    for k in range(n):
        yield VersionedChunk(f"law/case/1#{k}", "case/1", k, 10 * k, 10 * k + 10, f"조각 {k}", 4, b"\x00" * 8)


def rows(path, query):
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_a_new_version_stands_beside_the_old_one_and_becomes_active(database):
    assert write_version(database, VERSION, chunks(), 3)
    assert rows(database, "SELECT version_name, is_active FROM embedding_versions") == [("old", 0), ("malgeul-1", 1)]
    assert rows(database, "SELECT id, text FROM text_chunks WHERE embedding_version_id = 1") == [(7, "옛 조각")]
    assert rows(database, "SELECT count(*) FROM embeddings e JOIN text_chunks c ON c.id = e.chunk_id") == [(4,)]
    assert rows(database, "SELECT source_id FROM text_chunks WHERE embedding_version_id = 2") == [(1,)] * 3


def test_the_unique_key_gets_the_version_and_other_indexes_stay(database):
    write_version(database, VERSION, chunks(), 3)
    with sqlite3.connect(database) as connection:
        assert not lacks_version_in_key(connection)
        names = [row[1] for row in connection.execute("PRAGMA index_list('text_chunks')")]
    connection.close()
    assert "by_source" in names
    assert rows(database, "SELECT extra FROM text_chunks WHERE id = 7") == [("x",)]


def test_writing_a_version_twice_changes_nothing(database):
    write_version(database, VERSION, chunks(), 3)
    before = rows(database, "SELECT * FROM text_chunks") + rows(database, "SELECT * FROM embedding_versions")
    assert not write_version(database, VERSION, chunks(), 3)
    assert rows(database, "SELECT * FROM text_chunks") + rows(database, "SELECT * FROM embedding_versions") == before


@pytest.mark.parametrize("failure", ["too few", "in the middle"])
def test_a_failure_leaves_the_old_version_as_it_was(database, failure):
    def breaking():
        yield from chunks(2)
        if failure == "in the middle":
            raise KeyboardInterrupt

    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        write_version(database, VERSION, breaking(), 3)
    assert rows(database, "SELECT version_name, is_active FROM embedding_versions") == [("old", 1)]
    assert rows(database, "SELECT count(*) FROM text_chunks") == [(1,)]


def test_readers_see_the_old_version_until_the_new_one_is_whole(database):
    seen = []

    def watched():
        for chunk in chunks():
            seen.append(rows(database, "SELECT version_name FROM embedding_versions WHERE is_active"))
            seen.append(rows(database, "SELECT count(*) FROM text_chunks"))
            yield chunk

    write_version(database, VERSION, watched(), 3)
    assert seen == [[("old",)], [(1,)]] * 3


def test_a_database_without_the_tables_gets_them(tmp_path):
    path = tmp_path / "plain.sqlite"
    sqlite3.connect(path).close()
    assert write_version(path, VERSION, chunks(), 3)
    assert rows(path, "SELECT count(*) FROM embeddings") == [(3,)]
