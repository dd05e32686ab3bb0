"""Documents come whole and in order; what counts for a rerun are their rows and nothing else."""

import json
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from malgeul.embedding.database import connect, file_state, read_documents, survey
from malgeul.embedding.documents import digest_of_rows
from malgeul.embedding.settings import Database

LAW = Database(path="x", rows_per_shard=5)


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "law.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE statute_articles (id INTEGER PRIMARY KEY, law_name TEXT, text TEXT);
            CREATE TABLE case_paragraphs (id INTEGER PRIMARY KEY, case_id INTEGER, para_index INTEGER, text TEXT);
            CREATE TABLE embeddings (vector BLOB);
            INSERT INTO case_paragraphs (case_id, para_index, text)
                VALUES (1, 2, '셋째'), (1, 0, '첫째'), (1, 1, '둘째');
            """
        )
        articles = [(k, "법", f"제{k}조 내용") for k in range(20)]
        connection.executemany("INSERT INTO statute_articles VALUES (?, ?, ?)", articles)
    connection.close()
    return path


def change(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def buckets_of(path, settings=LAW):
    found = survey(path, settings)
    return found.buckets(found.count_buckets(settings.rows_per_shard))


def everything(path, settings=LAW, buckets=1):
    return [document for bucket in range(buckets) for document in read_documents(path, settings, bucket, buckets)]


def test_paragraphs_are_joined_in_their_order(database):
    (case,) = [d for d in everything(database) if d.id == "case/1"]
    assert case.text == "첫째\n\n둘째\n\n셋째"


def test_paragraphs_are_joined_in_their_order_whatever_their_columns_are_declared_as(database):
    change(database, "CREATE TABLE decision_paragraphs (decision_id TEXT COLLATE NOCASE, para_index TEXT, text TEXT)")
    rows = ", ".join(f"('{name}', '{number}', '{name}{number}')" for number in (10, 2, 1) for name in ("a", "A"))
    change(database, f"INSERT INTO decision_paragraphs VALUES {rows}")
    texts = {d.id: (d.text, d.fault) for d in everything(database) if d.id.startswith("decision/")}
    assert texts == {"decision/A": ("A1\n\nA2\n\nA10", None), "decision/a": ("a1\n\na2\n\na10", None)}


def test_tables_and_columns_of_the_law_layout_are_found_in_any_case(tmp_path):
    path = tmp_path / "law.sqlite"
    change(path, "CREATE TABLE Statute_Articles (ID INTEGER, Law_Name TEXT, Text TEXT)")
    change(path, "CREATE TABLE Case_Paragraphs (Case_ID INTEGER, Para_Index INTEGER, TEXT TEXT)")
    change(path, "INSERT INTO Statute_Articles VALUES (3, '법', '제3조')")
    change(path, "INSERT INTO Case_Paragraphs VALUES (1, 1, '둘째'), (1, 0, '첫째')")
    assert {d.id: (d.text, d.meta) for d in everything(path)} == {
        "case/1": ("첫째\n\n둘째", {"paragraphs": 2, "kind": "case"}),
        "statute/3": ("제3조", {"Law_Name": "법", "kind": "statute"}),
    }


def test_a_column_of_the_law_layout_that_is_missing_is_named_with_its_table(tmp_path):
    path = tmp_path / "law.sqlite"
    change(path, "CREATE TABLE case_paragraphs (case_id INTEGER, number INTEGER, text TEXT)")
    problem = "there is no column 'para_index' in case_paragraphs; there are case_id, number, text"
    with pytest.raises(ValueError, match=problem):
        survey(path, LAW)


def test_buckets_hold_every_document_once(database):
    buckets = buckets_of(database)
    assert len(buckets) == 8
    assert sum(n for n, _ in buckets) == 21
    ids = [d.id for d in everything(database, buckets=8)]
    assert sorted(ids) == sorted(d.id for d in everything(database))
    assert len(set(ids)) == 21


def test_one_changed_row_changes_one_bucket_and_embeddings_change_none(database):
    before = buckets_of(database)
    change(database, "INSERT INTO embeddings VALUES (x'00')")
    assert buckets_of(database) == before
    change(database, "UPDATE statute_articles SET text = '고친 조문' WHERE id = 3")
    after = buckets_of(database)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_any_table_and_any_query(database):
    table = Database(path="x", layout="table", table="statute_articles")
    assert len(everything(database, table)) == 20
    query = Database(
        path="x", layout="query", query="SELECT id AS key, text AS body FROM statute_articles", id="key", text="body"
    )
    assert everything(database, query)[0].text == "제0조 내용"


@pytest.mark.parametrize("query", [" ", "-- SELECT id, text FROM statute_articles"])
def test_a_query_that_yields_no_rows_is_said(database, query):
    with pytest.raises(ValueError, match="the query yields no rows; write a SELECT"):
        everything(database, Database(path="x", layout="query", query=query))


@pytest.mark.parametrize("twice", ["id", "text"])
def test_a_query_with_two_columns_of_one_name_is_said_and_none_is_chosen(database, twice):
    query = Database(path="x", layout="query", query=f"SELECT *, law_name AS {twice} FROM statute_articles")
    with pytest.raises(ValueError, match=f"there are several columns '{twice}'; there are id, law_name, text, {twice}"):
        everything(database, query)


def test_a_query_makes_no_file_beside_the_database(database, tmp_path):
    other = tmp_path / "other.sqlite"
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        everything(database, Database(path="x", layout="query", query=f"ATTACH '{other}' AS other"))
    assert not other.exists()


def test_a_table_with_a_hostile_name_is_a_name(database):
    hostile = 'x"; DROP TABLE statute_articles; --'
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        everything(database, Database(path="x", layout="table", table=hostile))
    assert len(everything(database)) == 21


def test_what_is_wrong_with_a_database_is_said(database, tmp_path):
    with pytest.raises(ValueError, match="there is no column 'body'; there are id, law_name, text"):
        everything(database, Database(path="x", layout="table", table="statute_articles", text="body"))
    other = tmp_path / "other.sqlite"
    other.write_text("this is a text and no database, though long enough to be looked at as one" * 20)
    with pytest.raises(ValueError, match="is no SQLite database"):
        buckets_of(other)
    with pytest.raises(FileNotFoundError):
        file_state(tmp_path / "nowhere.sqlite")


def test_a_transaction_that_a_dead_program_left_is_said_with_what_takes_it_back(tmp_path):
    path = tmp_path / "law.sqlite"
    sqlite3.connect(path).close()
    dies = f"""
import os, sqlite3
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
for statement in ("PRAGMA cache_size = 2", "CREATE TABLE a (x)", "BEGIN", "INSERT INTO a VALUES (zeroblob(100000))"):
    connection.execute(statement)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", dies], check=False)
    with pytest.raises(PermissionError, match=r"left within a transaction by a program that died.*PRAGMA schema_ver"):
        connect(path)
    with sqlite3.connect(path) as owner:
        owner.execute("PRAGMA schema_version")
    owner.close()
    connect(path).close()


def test_what_is_written_ahead_is_noticed_also_through_a_link(tmp_path):
    link = tmp_path / "law.sqlite"
    (tmp_path / "data").mkdir()
    link.symlink_to("data/law.sqlite")
    owner = sqlite3.connect(tmp_path / "data/law.sqlite", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "CREATE TABLE a (x)"):
        owner.execute(statement)
    before = file_state(link)
    owner.execute("INSERT INTO a VALUES (1)")
    assert file_state(link) != before
    owner.close()


def test_a_blob_and_a_column_named_kind_are_facts_of_a_statute(database):
    change(database, "ALTER TABLE statute_articles ADD COLUMN seal BLOB DEFAULT x'00ff'")
    change(database, "ALTER TABLE statute_articles ADD COLUMN kind TEXT DEFAULT '민법'")
    assert sum(n for n, _ in buckets_of(database)) == 21
    (article,) = [d for d in everything(database) if d.id == "statute/3"]
    assert article.meta == {"law_name": "법", "seal": "00ff", "kind": "statute"}


def test_facts_are_json_also_where_a_number_is_endless(database):
    change(database, "ALTER TABLE statute_articles ADD COLUMN rank REAL")
    change(database, "UPDATE statute_articles SET rank = CASE id WHEN 3 THEN 9e999 WHEN 4 THEN -9e999 ELSE 1.5 END")
    ranks = {d.id: json.loads(json.dumps(d.meta, allow_nan=False)).get("rank") for d in everything(database)}
    assert (ranks["statute/3"], ranks["statute/4"], ranks["statute/5"]) == ("Infinity", "-Infinity", 1.5)


def test_text_kept_as_bytes_is_text(database):
    change(database, "UPDATE statute_articles SET text = CAST('조문' AS BLOB) WHERE id = 3")
    change(database, "UPDATE case_paragraphs SET text = CAST('첫' AS BLOB) WHERE para_index = 0")
    texts = {d.id: d.text for d in everything(database)}
    assert (texts["statute/3"], texts["case/1"]) == ("조문", "첫\n\n둘째\n\n셋째")


def test_bytes_that_are_no_utf8_are_the_fault_of_their_document_alone(database):
    change(database, "UPDATE statute_articles SET text = CAST(x'eab080ff' AS TEXT) WHERE id = 3")
    change(database, "UPDATE statute_articles SET law_name = CAST(x'ff' AS TEXT) WHERE id = 4")
    assert sum(n for n, _ in buckets_of(database)) == 21
    faults = {d.id: (d.fault.kind, d.fault.reason) for d in everything(database) if d.fault}
    assert faults == {
        "statute/3": ("INVALID_UTF8", "text: the character at 1 is not UTF-8"),
        "statute/4": ("INVALID_UTF8", "law_name: the character at 0 is not UTF-8"),
    }


def test_paragraphs_of_no_case_are_a_document_without_id(database):
    change(database, "INSERT INTO case_paragraphs (case_id, para_index, text) VALUES (NULL, 0, 'a'), (NULL, 1, 'b')")
    assert sum(n for n, _ in buckets_of(database)) == 22
    ((name, fault),) = [(d.id, d.fault) for d in everything(database) if d.fault]
    assert (name, fault.kind) == ("case/(no id)", "MISSING_FIELD")


def test_a_document_and_its_export_have_one_digest(database):
    found = survey(database, LAW)
    assert {d.id: d.digest for d in everything(database)} == found.contents()


def test_two_kinds_of_document_with_one_number_are_two_documents(database):
    change(database, "CREATE TABLE decision_paragraphs (decision_id INTEGER, para_index INTEGER, text TEXT)")
    change(database, "INSERT INTO decision_paragraphs SELECT case_id, para_index, text FROM case_paragraphs")
    found = survey(database, LAW).contents()
    assert found["case/1"] != found["decision/1"]


def test_a_blob_for_an_id_is_named_in_hex(database):
    change(database, "CREATE TABLE notes (id BLOB, text TEXT)")
    change(database, "INSERT INTO notes VALUES (x'00ff', '글')")
    assert [d.id for d in everything(database, Database(path="x", layout="table", table="notes"))] == ["00ff"]


def test_documents_are_read_in_one_state_of_the_database(database):
    change(database, "PRAGMA journal_mode = WAL")
    documents = read_documents(database, LAW, 0, 1)
    first = next(documents)
    change(database, "DELETE FROM statute_articles")
    assert len([first, *documents]) == 21


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=6),
    st.binary(max_size=6).map(bytearray),
)
ROWS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3)


@given(ROWS, ROWS)
@example([(bytearray(b"a"), bytearray(b"b"))], [(bytearray(b"ab"), bytearray(b""))])
@example([(bytearray(b"a"), None)], [(b"a", None)])
@example([(1, None)], [(bytearray(b"1"), None)])
@example([(1, None), (2, None)], [(1, None)])
def test_rows_that_differ_have_digests_that_differ(one, other):
    def plain(rows):
        return [[(type(value), repr(value)) for value in row] for row in rows]

    same = plain(one) == plain(other)
    assert (digest_of_rows("n", one) == digest_of_rows("n", other)) is same
    assert digest_of_rows("n", one) != digest_of_rows("m", one)
