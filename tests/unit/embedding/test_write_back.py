"""The rule write_back: the version of a run in a copy or in the database itself, what changed, nothing done twice."""

import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malgeul.embedding.settings import Database
from malgeul.embedding.sqlite_store import SqliteStore
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Units, read_ledger
from malgeul.shards.tables import CHUNKS, embeddings_schema
from unit.embedding.conftest import WHOLE
from write_back import write_back

SETTINGS = Database(path="notes.sqlite", layout="table", table="notes")


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "notes.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (id TEXT, text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?, ?)", [(f"n{k}", f"글 {k}") for k in range(4)])
    connection.close()
    return path


@pytest.fixture
def run(database, results):
    """Run the rule over one shard with a chunk a document, as the ledgers of chunk and embed have it."""

    def write(way, key="1", before=lambda: None):
        survey = SqliteStore(database).survey(SETTINGS)
        ids = survey.ids
        place = {what: results / what / "notes-0000.parquet" for what in ("chunks", "embeddings")}
        for file in place.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        chunks = {
            "chunk_id": [f"notes/{name}#0" for name in ids],
            "document_id": ids,
            "source": ["notes"] * len(ids),
            "index": [0] * len(ids),
            "start": [0] * len(ids),
            "end": [3] * len(ids),
            "text": [f"조각 {name}" for name in ids],
            "n_tokens": [1] * len(ids),
            **{name: [value] * len(ids) for name, value in WHOLE.items()},
        }
        pq.write_table(pa.table(chunks, schema=CHUNKS), place["chunks"])
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(2 * len(ids), dtype=np.float32)), 2)
        schema = embeddings_schema(2)
        columns = {"chunk_id": chunks["chunk_id"], "vector": vectors, "key": [None] * len(ids)}
        pq.write_table(pa.table(columns, schema=schema), place["embeddings"])
        ledger = Ledger("embed", "notes-0000", Units("chunk", "vector"), content_key=key, measured={"dimension": 2})
        for chunk in chunks["chunk_id"]:
            ledger.use(chunk)
            ledger.give(chunk)
        write_json(results / "ledger/embed/notes-0000.json", ledger.to_json())
        job = Job(
            inputs={
                "ancient": [database],
                "chunks": [place["chunks"]],
                "embeddings": [place["embeddings"]],
                "ledger": [results / "ledger/embed/notes-0000.json"],
            },
            outputs={
                **({"database": results / "database/notes.sqlite"} if way == "copy" else {}),
                "ledger": results / "ledger/write_back/notes.json",
            },
            params={
                "settings": SETTINGS.model_dump(mode="json"),
                "buckets": [list(bucket) for bucket in survey.buckets(2)],
                "write_back": way,
                "strategy": "standard",
                "model": "some/model",
            },
            units=Units("vector", "vector"),
        )
        before()
        job.run(write_back)
        written = read_ledger(job.outputs["ledger"])
        assert written.imbalance() is None
        return written

    return write


def rows(path, query):
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def documents(ledger):
    return {what: number for what, number in ledger.measured.items() if what.startswith("documents_")}


def test_a_copy_gets_the_version_and_the_database_stays_byte_for_byte(run, database, results):
    before = database.read_bytes()
    ledger = run("copy")
    assert ledger.given.n == 4
    assert database.read_bytes() == before
    copy = results / "database/notes.sqlite"
    assert rows(copy, "SELECT text FROM text_chunks ORDER BY id") == [(f"조각 n{k}",) for k in range(4)]
    assert rows(copy, "SELECT version_name, is_active FROM embedding_versions") == [(ledger.measured["version"], 1)]
    assert [file.name for file in copy.parent.iterdir()] == ["notes.sqlite"]


@pytest.mark.parametrize("way", ["copy", "in_place"])
def test_the_ledger_says_how_many_documents_are_new_changed_and_gone(run, database, way):
    first = {"documents_new": 4, "documents_changed": 0, "documents_removed": 0}
    assert documents(run(way)) == ({} if way == "copy" else first), "a first copy follows no other"
    rows(database, "UPDATE notes SET text = '고침' WHERE id = 'n1'")
    rows(database, "DELETE FROM notes WHERE id IN ('n2', 'n3')")
    rows(database, "INSERT INTO notes VALUES ('n9', '새 글')")
    changed = {"documents_new": 1, "documents_changed": 1, "documents_removed": 2}
    assert documents(run(way, key="2")) == changed
    assert documents(run(way, key="2")) in (changed, dict.fromkeys(changed, 0)), "again, or taken again"


def test_in_place_the_same_version_is_written_once(run, database):
    run("in_place")
    before = database.read_bytes()
    assert run("in_place").given.n == 4
    assert database.read_bytes() == before


def test_documents_that_changed_after_the_plan_count_as_new_until_the_next_run(run, database):
    run("in_place", before=lambda: rows(database, "UPDATE notes SET text = '고침' WHERE id = 'n1'"))
    store = SqliteStore(database)
    changes = store.changes(store.survey(SETTINGS))
    assert "n1" in changes.new
    assert changes.changed == changes.removed == []
    assert len(changes.new) < 4, "those of other buckets are as planned"
