"""Two versions of a chunk stand side by side whatever the unique key was; all else of the database stays as it is."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from malgeul.embedding.batches import RENAMED
from malgeul.embedding.migration import KNOWN_OF_CHUNKS
from malgeul.embedding.sqlite_store import SqliteStore, copy_database
from malgeul.shards.tables import CHUNKS

from .versioning import RECORD, a_record, a_version, batches


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
    assert rows(path, "SELECT seq FROM sqlite_sequence") == [(903,)], "it goes on where it was"


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


@pytest.mark.parametrize(
    ("definition", "statements", "problem"),
    [
        (
            COLUMNS + ")",
            ["ALTER TABLE text_chunks ADD COLUMN lawyer TEXT NOT NULL DEFAULT 'x'"],
            None,
        ),
        (
            f"{COLUMNS}, lawyer TEXT NOT NULL)",
            [],
            "text_chunks.lawyer must have a value .NOT NULL without a default., and malgeul has none for it",
        ),
        (
            COLUMNS.replace("id INTEGER PRIMARY KEY", "id TEXT PRIMARY KEY", 1) + ")",
            [],
            "text_chunks.id holds text, and the numbers of versions and chunks go into it",
        ),
        (COLUMNS + ")", ["CREATE VIEW embeddings AS SELECT id FROM text_chunks"], "embeddings is a view, and no table"),
        (
            COLUMNS + ")",
            ["CREATE TABLE malgeul_documents (name TEXT)"],
            "no malgeul_documents.digest, malgeul_documents.document_id, malgeul_documents.version_id",
        ),
        (
            COLUMNS + ")",
            ["CREATE TABLE embeddings (chunk_id INTEGER, model TEXT, dim INTEGER, vector BLOB, version_id TEXT)"],
            "embeddings.version_id holds text",
        ),
        (
            COLUMNS + ")",
            [
                "CREATE TABLE embeddings (id INTEGER PRIMARY KEY, chunk_id INTEGER, model TEXT, dim INTEGER, "
                "vector BLOB, version_id INTEGER) WITHOUT ROWID"
            ],
            "embeddings.id must have a value",
        ),
        (
            COLUMNS + ")",
            [
                "CREATE TABLE embeddings (id INTEGER NOT NULL, chunk_id INTEGER, model TEXT, dim INTEGER, "
                "vector BLOB, version_id INTEGER, PRIMARY KEY (id, chunk_id))"
            ],
            "embeddings.id must have a value",
        ),
        *(
            (
                COLUMNS + ")",
                [
                    f"CREATE TABLE embeddings ({more}, chunk_id INTEGER, model TEXT, dim INTEGER, vector BLOB, "
                    "version_id NUMERIC)"
                ],
                problem,
            )
            for more, problem in (
                ("number INTEGER PRIMARY KEY NOT NULL", None),
                ("number CHAR PRIMARY KEY NOT NULL", "embeddings.number must have a value"),
                ("number INTEGER PRIMARY KEY, more INTEGER NOT NULL", "embeddings.more must have a value"),
                ("text TEXT NOT NULL", "embeddings.text must have a value"),
            )
        ),
        (
            f"{COLUMNS}, {SHORT_KEY})",
            ["CREATE INDEX malgeul_chunks_of_version ON text_chunks (text)"],
            "index malgeul_chunks_of_version already exists .CREATE INDEX ",
        ),
    ],
)
def test_what_keeps_versions_out_is_said_before_any_work(tmp_path, definition, statements, problem):
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE text_chunks ({definition}")
        for statement in statements:
            connection.execute(statement)
    connection.close()
    store = SqliteStore(path)
    before = path.read_bytes()
    if problem is None:
        store.rehearse()
        assert path.read_bytes() == before
        assert store.write(a_version(), batches(), RECORD)
        return
    for asked in (store.rehearse, lambda: store.write(a_version(), batches(), RECORD)):
        with pytest.raises(
            RuntimeError, match=rf"^versions cannot be written: .*{problem}.*Nothing was written"
        ) as error:
            asked()
        assert "unique key" not in str(error.value), "it is not what is in the way"
    assert path.read_bytes() == before, "not even how it is written"
    assert [file.name for file in tmp_path.iterdir()] == ["a.sqlite"]


def test_tables_and_columns_in_another_case_are_the_same_tables(tmp_path):
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE Embedding_Versions (ID INTEGER PRIMARY KEY, Version_Name TEXT UNIQUE, Chunking_Strategy TEXT,
                Model_Name TEXT, Is_Active INTEGER, Metadata TEXT);
            CREATE TABLE Text_Chunks (ID INTEGER PRIMARY KEY AUTOINCREMENT, Source_Type TEXT NOT NULL,
                Source_ID TEXT NOT NULL, Chunk_Index INTEGER NOT NULL, Text TEXT NOT NULL, Embedding_Version_ID INTEGER,
                UNIQUE (Source_Type, Source_ID, Chunk_Index));
            CREATE INDEX By_Text ON Text_Chunks (Text);
            CREATE TABLE Embeddings (Chunk_ID INTEGER, Model TEXT, Dim INTEGER, Vector BLOB, Version_ID INTEGER);
            INSERT INTO Text_Chunks VALUES (7, 'case', '1', 0, '옛 조각', 99);
            """
        )
    connection.close()
    store = SqliteStore(path)
    store.rehearse()
    assert store.write(a_version(), batches(), RECORD)
    assert rows(path, "SELECT text FROM text_chunks ORDER BY id") == [("옛 조각",), *[(f"조각 {k}",) for k in range(3)]]
    assert {"Text_Chunks", "By_Text"} <= schema(path).keys()


def test_a_table_with_the_name_of_the_new_one_is_left_alone(tmp_path):
    left = "CREATE TABLE text_chunks_rebuilt (a TEXT)"
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})", left)
    assert SqliteStore(path).write(a_version(), batches(), RECORD)
    assert schema(path)["text_chunks_rebuilt"] == left


def test_columns_that_every_chunk_fills_are_those_of_the_batches(tmp_path):
    """Those may be NOT NULL in a user's table, and no others."""
    filled = {RENAMED.get(field.name, field.name) for field in CHUNKS if not field.nullable}
    given = {"source_type", "source_id", "chunking_strategy", "chunk_group_id", "original_document_id"}
    assert filled | given == KNOWN_OF_CHUNKS


def test_a_migration_that_the_definitions_refuse_is_refused_before_any_work(tmp_path):
    other = """CREATE TABLE other (a TEXT, b INTEGER, c INTEGER,
        FOREIGN KEY (a, b, c) REFERENCES text_chunks (source_type, source_id, chunk_index))"""
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})", other)
    before = path.read_bytes()
    for copied in (True, False):
        with pytest.raises(RuntimeError, match="another table refers to it"):
            SqliteStore(path).rehearse(copied=copied)
    assert path.read_bytes() == before


@pytest.fixture
def open_folder():
    """A folder below which nobody is root: permissions count also where tests run as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def as_another_user():
    """Be a user without privileges."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_named_before_any_work(open_folder):
    path = with_chunks(open_folder / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})")
    path.chmod(0o666)
    open_folder.chmod(0o555)
    store = SqliteStore(path)
    with as_another_user():
        with pytest.raises(PermissionError, match=rf"{open_folder} is not writable.*write_back: copy"):
            store.rehearse()
        store.rehearse(copied=True)
    open_folder.chmod(0o777)
    with as_another_user():
        store.rehearse()


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_version_that_stands_asks_for_no_right_to_write(open_folder, journal):
    path = open_folder / "a.sqlite"
    sqlite3.connect(path).close()
    path.write_bytes(b"")
    store = SqliteStore(path)
    assert store.write(a_version(), batches(), RECORD)
    rows(path, f"PRAGMA journal_mode = {journal}")
    open_folder.chmod(0o777)
    path.chmod(0o444)
    with as_another_user():
        assert store.standing(RECORD).name == "malgeul-1"
        assert not store.write(a_version(), lambda _: pytest.fail("it was written"), RECORD)
        for version, record in ((a_version("malgeul-2"), RECORD), (a_version(), a_record(a="changed"))):
            with pytest.raises(PermissionError, match=rf"{path} is not writable.*write_back: copy"):
                store.write(version, batches(), record)


def test_room_for_the_copy_before_the_key_changes_is_looked_for_before_any_work(tmp_path, monkeypatch):
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})")
    store = SqliteStore(path)
    full = os.statvfs(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(full.f_blocks, full.f_blocks, 100))
    with pytest.raises(OSError, match=r"a copy is kept before as .*a\.before-malgeul\.sqlite.*Make room"):
        store.rehearse()
    store.rehearse(copied=True)


def test_the_copy_is_kept_before_anything_of_the_file_changes(tmp_path, monkeypatch):
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})")
    before = path.read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("malgeul.embedding.sqlite_store.copy_database", fails)
    with pytest.raises(OSError, match="No space left"):
        SqliteStore(path).write(a_version(), batches(), RECORD)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("mode", "of_the_copy"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644)])
def test_who_may_not_read_a_database_may_not_read_its_copy(tmp_path, mode, of_the_copy):
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})")
    path.chmod(mode)
    copy_database(path, tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == of_the_copy


def test_what_is_kept_before_the_key_changes_is_as_private_as_the_database(tmp_path):
    path = with_chunks(tmp_path / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})")
    path.chmod(0o600)
    SqliteStore(path).write(a_version(), batches(), RECORD)
    assert (tmp_path / "a.before-malgeul.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_database_that_is_written_ahead_and_cannot_be_read_where_it_lies_is_said(open_folder):
    path = with_chunks(open_folder / "a.sqlite", f"{COLUMNS}, {SHORT_KEY})")
    rows(path, "PRAGMA journal_mode = WAL")
    path.chmod(0o644)
    open_folder.chmod(0o555)
    path.chmod(0o666)
    for ask in (SqliteStore.versions, lambda store: store.activate("old")):
        told = rf"written ahead.*write into {open_folder}.*DELETE"
        with as_another_user(), pytest.raises(PermissionError, match=told):
            ask(SqliteStore(path))
    assert [file.name for file in open_folder.iterdir()] == ["a.sqlite"]
