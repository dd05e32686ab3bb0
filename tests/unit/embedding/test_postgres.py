"""PostgreSQL is the second store: the promises of the first, kept by a real server with pgvector."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from malgeul.embedding import postgres
from malgeul.embedding.documents import Survey
from malgeul.embedding.session import Locked
from malgeul.embedding.settings import Database
from malgeul.embedding.store import open_store
from malgeul.embedding.versions import Record
from malgeul.shards.faults import is_transient
from malgeul.shards.stopping import Stopped
from servers import postgres_server

from .versioning import RECORD, a_record, a_version, batches

psycopg = pytest.importorskip("psycopg")

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
ACTIVE = """SELECT c.text, e.vector::text FROM embedding_versions v JOIN text_chunks c ON c.embedding_version_id = v.id
    JOIN embeddings e ON e.chunk_id = c.id AND e.version_id = v.id WHERE v.is_active ORDER BY c.chunk_index"""
NEW = [(f"조각 {k}", f"[{k},{k}]") for k in range(3)]


@pytest.fixture(scope="module")
def server():
    """The address of a server that runs while this module's tests do."""
    with postgres_server() as address:
        yield address


@pytest.fixture
def address(server, request):
    """The address of an empty database."""
    name = f"t{abs(hash(request.node.name))}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def store(address):
    return open_store(address)


def rows(address, query):
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else None


def fill_law(address):
    rows(
        address,
        """
        CREATE TABLE statute_articles (id integer PRIMARY KEY, law_name text, text text, since date, facts jsonb);
        CREATE TABLE case_paragraphs (id serial, case_id integer, para_index integer, text text);
        INSERT INTO statute_articles SELECT k, '법', '제' || k || '조 내용', '2020-01-01', '{"b": 1, "a": 2}'
            FROM generate_series(0, 19) k;
        INSERT INTO case_paragraphs (case_id, para_index, text) VALUES (1, 2, '셋째'), (1, 0, '첫째'), (1, 1, '둘째')
        """,
    )


def settings(address, **more):
    return Database(path=address, rows_per_shard=5, **more)


# Documents


def test_documents_of_the_law_layout_are_read_whole_and_in_order(address, store):
    fill_law(address)
    found = {d.id: d for bucket in range(8) for d in store.documents(settings(address), bucket, 8)}
    assert len(found) == 21
    assert found["case/1"].text == "첫째\n\n둘째\n\n셋째"
    assert found["statute/3"].text == "제3조 내용"
    assert found["statute/3"].meta == {
        "law_name": "법", "since": "2020-01-01", "facts": {"a": 2, "b": 1}, "kind": "statute"
    }  # fmt: skip


def test_paragraphs_are_joined_in_their_order_whatever_their_columns_are_declared_as(address, store):
    rows(address, "CREATE TABLE decision_paragraphs (decision_id text, para_index text, text text)")
    values = ", ".join(f"('{name}', '{number}', '{name}{number}')" for number in (10, 2, 1) for name in ("a", "A"))
    rows(address, f"INSERT INTO decision_paragraphs VALUES {values}")
    texts = {d.id: (d.text, d.fault) for d in store.documents(settings(address), 0, 1)}
    assert texts == {"decision/A": ("A1\n\nA2\n\nA10", None), "decision/a": ("a1\n\na2\n\na10", None)}


def test_a_column_of_the_law_layout_that_is_missing_is_named_with_its_table(address, store):
    rows(address, "CREATE TABLE case_paragraphs (case_id int, number int, text text)")
    problem = "there is no column 'para_index' in case_paragraphs; there are case_id, number, text"
    with pytest.raises(ValueError, match=problem):
        store.survey(settings(address))


def test_one_changed_row_changes_one_bucket(address, store):
    fill_law(address)
    before = store.survey(settings(address)).buckets(8)
    assert sum(n for n, _ in before) == 21
    rows(address, "UPDATE statute_articles SET text = '고친 조문' WHERE id = 3")
    after = store.survey(settings(address)).buckets(8)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_export_and_plan_hash_the_same_rows(address, store):
    fill_law(address)
    survey = store.survey(settings(address))
    documents = list(store.documents(settings(address), 0, 1))
    assert {d.id: d.digest for d in documents} == survey.contents()


def test_any_table_and_any_query_and_what_is_wrong_with_them(address, store):
    fill_law(address)
    table = settings(address, layout="table", table="public.statute_articles")
    assert len(store.survey(table).ids) == 20
    query = settings(
        address,
        layout="query",
        query="SELECT id AS key, text AS body FROM statute_articles WHERE text LIKE '제1%'; -- {all}",
        id="key",
        text="body",
    )
    query = query.model_copy(update={"query": query.query.replace(";", "")})
    assert len(store.survey(query).ids) == 11
    with pytest.raises(ValueError, match="there is no column 'body'; there are id, law_name"):
        store.survey(settings(address, layout="table", table="statute_articles", text="body"))
    twice = query.model_copy(update={"query": "SELECT id AS key, text AS body, law_name AS body FROM statute_articles"})
    with pytest.raises(ValueError, match="there are several columns 'body'; there are key, body, body"):
        store.survey(twice)
    with pytest.raises(ValueError, match="no_such_table"):
        store.survey(settings(address, layout="table", table="no_such_table"))
    hostile = 'x"; DROP TABLE statute_articles; --'
    with pytest.raises(ValueError, match="does not exist"):
        store.survey(settings(address, layout="table", table=hostile))
    assert len(store.survey(table).ids) == 20


def test_a_column_may_be_called_as_the_row_is_in_the_query(address, store):
    rows(address, """CREATE TABLE notes (id int, text text, t jsonb, title text)""")
    rows(address, """INSERT INTO notes VALUES (1, '글', '{"a": 1}', '제목')""")
    (document,) = store.documents(settings(address, layout="table", table="notes"), 0, 1)
    assert document.meta == {"t": {"a": 1}, "title": "제목"}


def test_rows_without_id_and_rows_of_one_id_are_faults(address, store):
    rows(address, "CREATE TABLE notes (id text, text text)")
    rows(address, "INSERT INTO notes VALUES ('a', '하나'), (NULL, '둘'), ('a', '셋')")
    found = list(store.documents(settings(address, layout="table", table="notes"), 0, 1))
    assert [(d.id, d.fault.kind if d.fault else None) for d in found] == [
        ("(no id)", "MISSING_FIELD"),
        ("a", None),
        ("a", "DUPLICATE_ID"),
    ]


# Versions


def test_versions_are_written_switched_and_removed(address, store):
    assert "CREATE EXTENSION vector" in store.migration()
    assert store.write(a_version(), batches(), RECORD)
    assert store.migration() == []
    assert rows(address, ACTIVE) == NEW
    assert not store.write(a_version(), batches(watch=pytest.fail), RECORD)
    assert store.write(a_version("malgeul-2", 5, 4), batches(5, dimension=4), RECORD)
    assert [(v.name, v.active, v.chunks, v.vectors, v.problem) for v in store.versions()] == [
        ("malgeul-1", False, 3, 3, None),
        ("malgeul-2", True, 5, 5, None),
    ]
    store.activate("malgeul-1")
    assert rows(address, ACTIVE) == NEW
    with pytest.raises(ValueError, match="malgeul-1 is the active version"):
        store.drop("malgeul-1")
    assert "VACUUM FULL" in store.drop("malgeul-2")
    assert rows(address, "SELECT count(*), min(vector_dims(vector)) FROM embeddings") == [(3, 2)]


def test_a_version_that_somebody_took_away_is_missed_and_written_again(address, store):
    assert store.loss("malgeul-1") == "is not there"
    store.write(a_version(), batches(), RECORD)
    assert store.loss("malgeul-1") is None
    rows(address, "DELETE FROM embeddings WHERE chunk_id = 2")
    assert store.loss("malgeul-1") == "is not whole: it has 3 chunks and 2 vectors, and should have 3 of each"
    assert store.write(a_version(), batches(), RECORD)
    assert rows(address, ACTIVE) == NEW


def test_vectors_arrive_bit_by_bit_and_pgvector_finds_the_nearest(address, store):
    store.write(a_version(), batches(), RECORD)
    query = "SELECT text FROM embeddings JOIN text_chunks ON id = chunk_id ORDER BY vector <-> '[1.9,2.1]' LIMIT 1"
    assert rows(address, query) == [("조각 2",)]
    values = np.array([[0.1, -3.4e38], [1e-30, 7.0]], dtype=np.float32)
    with store.session() as session:
        sent = list(session.vectors(values))
    assert [np.frombuffer(row[4:], dtype=">f4").tolist() for row in sent] == values.tolist()


def test_the_forerunners_unique_key_gets_the_version_and_its_rows_stay(address, store):
    rows(
        address,
        """
        CREATE EXTENSION vector;
        CREATE TABLE embedding_versions (id serial PRIMARY KEY, version_name text UNIQUE, chunking_strategy text,
            model_name text, is_active integer, metadata jsonb);
        CREATE TABLE text_chunks (id serial PRIMARY KEY, source_type text, source_id integer, chunk_index integer,
            text text, embedding_version_id integer, UNIQUE (source_type, source_id, chunk_index));
        CREATE UNIQUE INDEX again ON text_chunks (source_id, chunk_index);
        CREATE TABLE embeddings (chunk_id integer, model varchar(80), dim integer, vector vector, version_id integer);
        INSERT INTO embedding_versions (version_name, is_active) VALUES ('old', 1);
        INSERT INTO text_chunks (source_type, source_id, chunk_index, text, embedding_version_id)
            VALUES ('case', 1, 0, '옛 조각', 1);
        INSERT INTO embeddings VALUES (1, 'old/model', 1, '[5]', 1)
        """,
    )
    shown = "\n".join(store.migration())
    assert 'UNIQUE ("source_type", "source_id", "chunk_index", "embedding_version_id")' in shown
    assert 'CREATE UNIQUE INDEX "again" ON text_chunks ("source_id", "chunk_index", "embedding_version_id")' in shown
    assert rows(address, ACTIVE.replace("v.is_active", "v.is_active = 1")) == [("옛 조각", "[5]")]
    store.write(a_version(), batches(), RECORD)
    assert rows(address, ACTIVE.replace("v.is_active", "v.is_active = 1")) == NEW
    assert rows(address, "INSERT INTO text_chunks (text) VALUES ('x') RETURNING id") == [(5,)], "ids go on"
    store.activate("old")
    assert rows(address, ACTIVE.replace("v.is_active", "v.is_active = 1")) == [("옛 조각", "[5]")]


@pytest.mark.parametrize(
    ("moved", "following"),
    [("ALTER SEQUENCE text_chunks_id_seq RESTART 1000", 1000), ("SELECT setval('text_chunks_id_seq', 1000)", 1004)],
)
def test_a_sequence_that_somebody_moved_on_is_not_moved_back(address, store, moved, following):
    store.write(a_version(), batches(), RECORD)
    rows(address, moved)
    store.write(a_version("malgeul-2"), batches(), RECORD)
    insert = (
        "INSERT INTO text_chunks (source_type, source_id, chunk_index, text) VALUES ('a', 'b', 1, 'x') RETURNING id"
    )
    assert rows(address, insert) == [(following,)]
    rows(address, "UPDATE text_chunks SET id = 2000 WHERE source_type = 'a'")
    store.write(a_version("malgeul-3"), batches(), RECORD)
    assert rows(address, insert.replace("'b', 1", "'b', 2")) == [(2004,)], "behind the rows that are there"


def test_an_id_that_the_server_gave_once_is_not_given_again(address, store):
    for name in ("malgeul-1", "malgeul-2"):
        store.write(a_version(name), batches(), RECORD)
    store.activate("malgeul-1")
    store.drop("malgeul-2")
    store.write(a_version("malgeul-3"), batches(size=1), RECORD)
    assert rows(address, "SELECT embedding_version_id, id FROM text_chunks WHERE id > 3 ORDER BY id") == [
        (3, 7),
        (3, 8),
        (3, 9),
    ]


def test_a_unique_key_that_cannot_be_changed_is_said_and_nothing_is_lost(address, store):
    rows(address, "CREATE TABLE text_chunks (id int, source_id int, chunk_index int, embedding_version_id int)")
    rows(address, "CREATE UNIQUE INDEX partly ON text_chunks (source_id, chunk_index) WHERE id > 3")
    with pytest.raises(RuntimeError, match=r"the index partly is one of expressions.*Nothing was written"):
        store.write(a_version(), batches(), RECORD)
    assert rows(address, "SELECT to_regclass('embeddings')") == [(None,)]


def test_what_keeps_versions_out_is_said_before_any_work(address, store):
    store.rehearse()
    rows(address, "CREATE TABLE text_chunks (id uuid, embedding_version_id int, lawyer text NOT NULL)")
    rows(address, "CREATE TABLE embeddings (chunk_id int, model text, dim int, vector bytea)")
    for asked in (store.rehearse, lambda: store.write(a_version(), batches(), RECORD)):
        with pytest.raises(RuntimeError) as error:
            asked()
        for problem in (
            "embeddings.vector is bytea, and not pgvector's vector",
            "there is no embeddings.version_id",
            "text_chunks.lawyer must have a value",
            "text_chunks.id holds text",
        ):
            assert problem in str(error.value)
    assert rows(address, "SELECT to_regclass('embedding_versions')") == [(None,)]


def test_a_user_who_may_not_write_is_told_before_any_work(address, store):
    store.write(a_version(), batches(), RECORD)
    rows(address, "DROP INDEX malgeul_chunks_of_version")
    rows(
        address,
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    )
    reader = open_store(address.replace("//postgres@", "//reader@"))
    assert reader.loss("malgeul-1") is None
    with pytest.raises(PermissionError) as error:
        reader.rehearse()
    assert "SELECT, INSERT, UPDATE and DELETE are not all allowed on text_chunks" in str(error.value)
    assert "text_chunks belongs to another, and its owner alone may run: CREATE INDEX" in str(error.value)
    rows(address, "DROP OWNED BY reader; DROP ROLE reader")


def test_rights_on_sequences_are_looked_at_before_any_work(address, store):
    store.write(a_version(), batches(), RECORD)
    rows(address, "DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN")
    rows(address, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer")
    rows(address, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer")
    writer = open_store(address.replace("//postgres@", "//writer@"))
    with pytest.raises(PermissionError) as error:
        writer.rehearse()
    for table in ("embedding_versions", "text_chunks"):
        sequence = f'"public"."{table}_id_seq"'
        assert f"SELECT and UPDATE are not both allowed on {sequence}, which numbers {table}" in str(error.value)
    rows(address, "GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO writer")
    writer.rehearse()
    assert writer.write(a_version("malgeul-2"), batches(), RECORD)
    rows(address, "DROP OWNED BY writer; DROP ROLE writer")


def test_the_right_to_temporary_tables_is_looked_at_before_any_work(address, store):
    store.write(a_version(), batches(), RECORD)
    ((database,),) = rows(address, "SELECT current_database()")
    rows(address, "DROP ROLE IF EXISTS comparer; CREATE ROLE comparer LOGIN")
    rows(address, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO comparer")
    rows(address, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO comparer")
    rows(address, f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC')
    comparer = open_store(address.replace("//postgres@", "//comparer@"))
    with pytest.raises(PermissionError, match="temporary tables, in which documents are compared, are not allowed"):
        comparer.rehearse()
    rows(address, f'GRANT TEMPORARY ON DATABASE "{database}" TO comparer')
    comparer.rehearse()
    survey = Survey()
    survey.add("a", b"another digest..")
    assert comparer.changes(survey).counts == {"new": 0, "changed": 1, "removed": 1}
    rows(address, f'DROP OWNED BY comparer; REVOKE ALL ON DATABASE "{database}" FROM comparer; DROP ROLE comparer')


def test_readers_see_the_old_version_until_the_new_one_is_whole(address, store):
    store.write(a_version(), batches(), RECORD)
    seen = []
    store.write(a_version("malgeul-2", 9), batches(9, watch=lambda _: seen.append(rows(address, ACTIVE))), RECORD)
    assert seen == [NEW] * 5
    assert len(rows(address, ACTIVE)) == 9


def test_sigterm_finishes_the_batch_and_the_next_run_goes_on_there(address, store, sigterm_at):
    with sigterm_at(2), pytest.raises(Stopped):
        store.write(a_version(chunks=6), batches(6), RECORD)
    assert [v.problem for v in store.versions()] == ["4 of 6 chunks are written"]
    starts = []
    store.write(a_version(chunks=6), batches(6, watch=starts.append), RECORD)
    assert starts == [4]


WRITER = """
import sys
sys.path[:0] = {paths!r}
from unit.embedding.versioning import RECORD, a_version, batches
from malgeul.embedding.store import open_store
tell = lambda start: print(start, flush=True)
open_store(sys.argv[1]).write(a_version(chunks=4000), batches(4000, size=40, watch=tell), RECORD)
"""


def test_sigkill_at_any_moment_loses_nothing(address, store):
    code = WRITER.format(paths=[str(SCRIPTS.parent / "tests"), str(SCRIPTS)])
    progress = []
    for lines in (1, 7, 13):
        process = subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE, text=True)
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.2)  # the server notices
        assert rows(address, "SELECT count(*) FROM embedding_versions WHERE is_active") == [(0,)]
        (version,) = store.versions()
        assert version.written == version.chunks == version.vectors
        progress.append(version.written)
    assert 0 < progress[-1] < 4000
    assert progress == sorted(progress)
    finished = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert [text for text, _ in rows(address, ACTIVE)] == [f"조각 {k}" for k in range(4000)]


def test_a_locked_table_is_waited_for_and_one_that_stays_locked_is_a_clear_failure(address, store, monkeypatch):
    store.write(a_version(), batches(), RECORD)
    with psycopg.connect(address) as holder:
        holder.execute("LOCK TABLE text_chunks IN ACCESS EXCLUSIVE MODE")
        released = threading.Timer(0.5, holder.rollback)
        released.start()
        store.activate("malgeul-1")
        released.join()
        holder.execute("LOCK TABLE text_chunks IN ACCESS EXCLUSIVE MODE")
        monkeypatch.setattr(postgres, "PATIENCE", 1)
        with pytest.raises(Locked, match=r"stayed locked for 1 s.*pg_stat_activity.*run again") as failure:
            store.activate("malgeul-1")
        assert is_transient(failure.value)


def test_a_server_that_is_not_there_is_worth_a_retry(address):
    nowhere = open_store("postgresql://postgres@127.0.0.1:9/law?connect_timeout=2")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1") as failure:
        nowhere.versions()
    assert is_transient(failure.value)


@pytest.mark.parametrize("name", ["IdleInTransactionSessionTimeout", "InternalError_", "DiskFull"])
def test_what_a_server_ends_of_itself_is_worth_a_retry(monkeypatch, name):
    """It ends a session that waited too long, or comes upon a table that another session is changing."""
    monkeypatch.setattr(postgres.psycopg, "connect", lambda *_, **__: nullcontext())
    with pytest.raises(ConnectionError) as failure, open_store("postgresql://server/law").session():
        raise getattr(psycopg.errors, name)("ended")
    assert is_transient(failure.value)


def test_new_changed_and_removed_documents_are_found(address, store):
    store.write(a_version(), batches(), RECORD)
    survey = Survey()
    for name, digest in a_record(b="changed", c="new").contents.items():
        survey.add(name, digest)
    changes = store.changes(survey)
    assert (changes.new, changes.changed, changes.removed) == (["c"], ["b"], ["a"])


# The command line, the config


def command(*arguments):
    script = SCRIPTS / "embedding_versions.py"
    finished = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    return finished.returncode, (finished.stdout or finished.stderr).strip()


def test_the_command_line_is_the_same(address, store):
    fill_law(address)
    code, said = command(address, "plan")
    assert code == 0
    assert "CREATE EXTENSION vector;" in said
    store.write(a_version(), batches(), Record(store.survey(settings(address)).contents(), settings(address)))
    assert command(address, "plan") == (0, "nothing to change: versions can stand side by side")
    assert command(address, "list")[1].splitlines()[1].split()[:2] == ["*", "malgeul-1"]
    assert command(address, "status")[1].startswith("nothing to do")
    rows(address, "DELETE FROM statute_articles WHERE id = 1")
    assert command(address, "status", "--ids")[1].splitlines()[1:] == ["removed\tstatute/1"]
    assert command(address, "drop", "malgeul-1")[0] == 1


@pytest.mark.parametrize("address", ["postgresql://u:secret@h/law", "postgresql://u@h/law?password=secret"])
def test_a_password_in_the_address_is_refused_and_not_shown(address):
    code, said = command(address, "list")
    assert code == 1
    assert "~/.pgpass" in said
    assert "secret" not in said
    from malgeul.config import ConfigError, read_config

    with pytest.raises(ConfigError) as error:
        read_config({"documents": {"databases": [{"path": address}], "write_back": "off"}})
    assert "~/.pgpass" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_service_names_a_database_without_its_password(address, tmp_path, monkeypatch):
    host = address.split("host=")[1]
    name = address.split("/")[3].split("?")[0]
    services = tmp_path / "services"
    services.write_text(f"[law]\nhost={host}\nuser=postgres\ndbname={name}\n", encoding="utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    fill_law(address)
    store = open_store("service=law")
    assert len(store.survey(Database(path="service=law")).ids) == 21


def test_the_plan_of_a_run_has_the_documents_of_a_server(address, tmp_path, monkeypatch):
    from malgeul.config import read_config
    from malgeul.plan import Plan, make_plan

    monkeypatch.chdir(tmp_path)
    fill_law(address)
    databases = [{"name": "law", "path": address, "rows_per_shard": 5}]
    config = read_config({"documents": {"databases": databases, "write_back": "in_place"}})
    plan = make_plan(config, tmp_path)
    assert sum(shard.rows for shard in plan.documents.values()) == 21
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert make_plan(config, tmp_path, plan) == plan
    rows(address, "UPDATE statute_articles SET text = '고친 조문' WHERE id = 3")
    changed = make_plan(config, tmp_path, plan)
    assert sum(changed.documents[name] != shard for name, shard in plan.documents.items()) == 1
