"""The rule export_documents: every row is accounted for, whatever its id, its text and its bytes are."""

import sqlite3

import pytest

from export_documents import export_documents
from malgeul.embedding.database import survey
from malgeul.embedding.settings import Database
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units, read_ledger
from malgeul.shards.tables import read_rows


@pytest.fixture
def export(tmp_path):
    """Put rows of (id, text) into a table and export it as one shard; returns the ledger and the documents."""

    def run(rows, **settings):
        path = tmp_path / "notes.sqlite"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (id, text)")
            connection.executemany("INSERT INTO notes VALUES (CAST(? AS TEXT), CAST(? AS TEXT))", rows)
        connection.close()
        settings = Database(path=str(path), **(settings or {"layout": "table", "table": "notes"}))
        ((n, digest),) = survey(path, settings).buckets(1)
        results = tmp_path / "results"
        job = Job(
            inputs={"ancient": [path]},
            outputs={
                "exported": results / "exported" / "notes.parquet",
                "ledger": results / "ledger" / "export" / "notes.json",
            },
            params={
                "settings": settings.model_dump(mode="json"),
                "bucket": 0,
                "buckets": 1,
                "rows": n,
                "digest": digest,
                "name": "notes",
                "min_chars": 1,
            },
            units=Units("row", "document"),
        )
        job.run(export_documents)
        documents = {row["id"]: row["text"] for row in read_rows(job.outputs["exported"])}
        return read_ledger(job.outputs["ledger"]), documents

    return run


def faults(ledger):
    assert ledger.imbalance() is None
    return [(fault["item"], fault["class"]) for fault in ledger.quarantined]


@pytest.mark.parametrize(
    "settings", [{"layout": "table", "table": "notes"}, {"layout": "query", "query": "SELECT * FROM notes"}]
)
def test_of_one_id_the_first_row_is_the_document(export, settings):
    ledger, documents = export([("b", "하나"), ("a", "둘"), ("b", "셋"), ("b", "넷")], **settings)
    assert documents == {"a": "둘", "b": "하나"}
    assert faults(ledger) == [("b", "DUPLICATE_ID"), ("b", "DUPLICATE_ID")]
    assert (ledger.taken.n, ledger.used.n, ledger.given.n, ledger.quarantined_ids.n) == (4, 2, 2, 2)


def test_rows_without_id_are_quarantined_each(export):
    ledger, documents = export([(None, "하나"), ("a", "둘"), (None, "셋"), ("(no id)", "넷")])
    assert documents == {"a": "둘", "(no id)": "넷"}
    assert faults(ledger) == [("(no id)", "MISSING_FIELD")] * 2
    assert ledger.quarantined[0]["reason"] == "the column id is NULL, so the document has no id"
    assert ledger.taken.n == 4


def test_bytes_that_are_no_utf8_are_quarantined(export):
    ledger, documents = export([("a", b"\xff\xfe"), ("b", "둘"), (b"c\xff", "셋")])
    assert documents == {"b": "둘"}
    assert faults(ledger) == [("a", "INVALID_UTF8"), ("c\\udcff", "INVALID_UTF8")]
