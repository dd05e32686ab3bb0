"""Two versions of a chunk stand side by side whatever the unique key was; all else of the database stays as it is."""

import sqlite3

import pytest

from malgeul.embedding.sqlite_store import SqliteStore

from .versioning import RECORD, a_version, batches


def rows(path, query):
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


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
    assert SqliteStore(path).write(a_version(), batches(), RECORD)
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
    SqliteStore(path).write(a_version(), batches(), RECORD)
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
    SqliteStore(path).write(a_version(), batches(), RECORD)
    assert schema(path)["text_chunks"] == before


def test_a_unique_index_is_replaced_and_the_table_left_alone(tmp_path):
    index = "CREATE UNIQUE INDEX once ON text_chunks (lower(source_type), source_id, chunk_index{}) WHERE (id > 0)"
    whole = "CREATE UNIQUE INDEX whole ON text_chunks (source_id, chunk_index, coalesce(embedding_version_id, 0))"
    texts = "CREATE UNIQUE INDEX texts ON text_chunks (text)"
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS})", index.format(""), whole, texts)
    before = schema(path)
    SqliteStore(path).write(a_version(), batches(), RECORD)
    after = schema(path)
    assert after["once"] == index.format(", embedding_version_id")
    assert {name: after[name] for name in ("text_chunks", "whole", "texts")} == {
        name: before[name] for name in ("text_chunks", "whole", "texts")
    }


def test_a_primary_key_of_several_columns_gets_the_version(tmp_path):
    definition = COLUMNS.replace("PRIMARY KEY", "") + ", PRIMARY KEY (source_type, source_id, chunk_index{}))"
    path = with_chunks(tmp_path / "a.sqlite", definition.format(""))
    SqliteStore(path).write(a_version(), batches(), RECORD)
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
        SqliteStore(path).write(a_version(), batches(), RECORD)
    assert (schema(path), rows(path, "SELECT * FROM text_chunks")) == before


@pytest.mark.parametrize(
    ("statement", "lacking"),
    [
        ("ALTER TABLE text_chunks DROP COLUMN embedding_version_id", "text_chunks.embedding_version_id"),
        (
            "CREATE TABLE embeddings (chunk_id INTEGER, vector BLOB, Dim INTEGER)",
            "embeddings.model, embeddings.version_id",
        ),
    ],
)
def test_a_column_that_is_missing_is_named_before_anything_is_changed(tmp_path, statement, lacking):
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS})", statement)
    before = schema(path)
    with pytest.raises(RuntimeError, match=rf"there is no {lacking}\. Nothing was written"):
        SqliteStore(path).write(a_version(), batches(), RECORD)
    assert schema(path) == before
