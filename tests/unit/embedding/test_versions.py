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


COLUMNS = """id INTEGER PRIMARY KEY, source_type TEXT NOT NULL, source_id INTEGER NOT NULL,
    chunk_index INTEGER NOT NULL, text TEXT NOT NULL, embedding_version_id INTEGER"""
SHORT_KEY = "UNIQUE (source_type, source_id, chunk_index)"


def with_chunks(path, definition, *statements):
    """Make a database whose text_chunks is defined so, holds chunk 7 of version 99, and has what statements add."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE text_chunks ({definition}")
        connection.execute(
            "INSERT INTO text_chunks (id, source_type, source_id, chunk_index, text, embedding_version_id) "
            "VALUES (7, 'case', 1, 0, '옛 조각', 99)"
        )
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def schema(path):
    return dict(rows(path, "SELECT name, sql FROM sqlite_master WHERE sql <> ''"))


def test_a_definition_changes_in_its_key_alone(tmp_path):
    """Checks, references, collations, defaults, comments and generated columns stay word for word."""
    definition = """
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- UNIQUE (chunk_index)
        source_type TEXT NOT NULL COLLATE NOCASE CHECK (source_type <> 'UNIQUE (chunk_index)'),
        [source_id] INTEGER NOT NULL DEFAULT (1 + 1), "chunk_index" INTEGER NOT NULL,
        text TEXT NOT NULL, chars INTEGER AS (length(text)), embedding_version_id INTEGER REFERENCES embedding_versions,
        parent INTEGER REFERENCES text_chunks (id), CONSTRAINT short CHECK (length(text) < 9999)
        CONSTRAINT once unique (source_type, source_id, "chunk_index" DESC -- one each
        ) ON CONFLICT ABORT"""
    path = with_chunks(tmp_path / "a.sqlite", definition + ")", "UPDATE sqlite_sequence SET seq = 900")
    assert write_version(path, VERSION, chunks(), 3)
    expected = definition.replace("DESC -- one each", "DESC, embedding_version_id -- one each")
    assert schema(path)["text_chunks"] == f'CREATE TABLE "text_chunks" ({expected})'
    assert rows(path, "SELECT id, text, chars FROM text_chunks WHERE embedding_version_id = 99") == [(7, "옛 조각", 4)]
    assert rows(path, "SELECT seq FROM sqlite_sequence") == [(900,)]


def test_triggers_views_indexes_and_references_stay(tmp_path):
    added = {
        "touched": """CREATE TRIGGER touched AFTER UPDATE ON text_chunks BEGIN INSERT INTO seen VALUES (new.id); END""",
        "elsewhere": "CREATE TRIGGER elsewhere AFTER INSERT ON seen BEGIN UPDATE text_chunks SET text = 'b'; END",
        "old_chunks": "CREATE VIEW old_chunks AS SELECT c.id FROM text_chunks c WHERE embedding_version_id = 99",
        "unique_looking": "CREATE INDEX unique_looking ON text_chunks (source_id, chunk_index)",
        "other": "CREATE TABLE other (chunk INTEGER REFERENCES text_chunks (id) ON DELETE CASCADE)",
    }
    path = tmp_path / "a.sqlite"
    fill = "INSERT INTO other VALUES (7), (8)"  # the second refers to nothing, and did so before
    with_chunks(path, f"{COLUMNS}, {SHORT_KEY})", "CREATE TABLE seen (id INTEGER)", *added.values(), fill)
    write_version(path, VERSION, chunks(), 3)
    assert {name: schema(path).get(name) for name in added} == added
    assert rows(path, "SELECT * FROM old_chunks") == [(7,)]
    assert rows(path, "SELECT * FROM other") == [(7,), (8,)]
    assert rows(path, "SELECT * FROM seen") == []


@pytest.mark.parametrize(
    "key",
    ["UNIQUE (text)", "UNIQUE (source_id, text)", "UNIQUE (chunk_index, source_id, source_type, embedding_version_id)"],
)
def test_other_unique_keys_set_nothing_off(tmp_path, key):
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {key})")
    before = schema(path)["text_chunks"]
    write_version(path, VERSION, chunks(), 3)
    assert schema(path)["text_chunks"] == before


def test_a_unique_index_is_replaced_and_the_table_left_alone(tmp_path):
    index = "CREATE UNIQUE INDEX once ON text_chunks (lower(source_type), source_id, chunk_index{}) WHERE (id > 0)"
    whole = "CREATE UNIQUE INDEX whole ON text_chunks (source_id, chunk_index, coalesce(embedding_version_id, 0))"
    texts = "CREATE UNIQUE INDEX texts ON text_chunks (text)"
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS})", index.format(""), whole, texts)
    before = schema(path)
    write_version(path, VERSION, chunks(), 3)
    after = schema(path)
    assert after["once"] == index.format(", embedding_version_id")
    assert {name: after[name] for name in ("text_chunks", "whole", "texts")} == {
        name: before[name] for name in ("text_chunks", "whole", "texts")
    }


def test_a_primary_key_of_several_columns_gets_the_version(tmp_path):
    definition = COLUMNS.replace("PRIMARY KEY", "") + ", PRIMARY KEY (source_type, source_id, chunk_index{}))"
    path = with_chunks(tmp_path / "a.sqlite", definition.format(""))
    write_version(path, VERSION, chunks(), 3)
    changed = definition.format(", embedding_version_id")
    assert schema(path)["text_chunks"] == f'CREATE TABLE "text_chunks" ({changed}'


@pytest.mark.parametrize(
    ("definition", "statements", "reason"),
    [
        (COLUMNS.replace("chunk_index INTEGER", "chunk_index INTEGER UNIQUE") + ")", [], "was not found in"),
        (f"{COLUMNS}, {SHORT_KEY}, CHECK (text_chunks.id > 0))", [], "no such column: text_chunks.id"),
        (
            f"{COLUMNS}, {SHORT_KEY})",
            [
                "CREATE TABLE other (a TEXT, b INTEGER, c INTEGER, FOREIGN KEY (a, b, c) "
                "REFERENCES text_chunks (source_type, source_id, chunk_index))"
            ],
            "another table refers to it .foreign key mismatch",
        ),
    ],
)
def test_a_key_that_cannot_be_changed_is_said_and_nothing_is_lost(tmp_path, definition, statements, reason):
    path = with_chunks(tmp_path / "a.sqlite", definition, *statements)
    before = schema(path), rows(path, "SELECT * FROM text_chunks")
    with pytest.raises(RuntimeError, match=rf"{reason}.*Nothing was written. Add embedding_version_id"):
        write_version(path, VERSION, chunks(), 3)
    assert (schema(path), rows(path, "SELECT * FROM text_chunks")) == before
