"""Readers see the old version until the new one is complete; a failure leaves it; writing twice changes nothing."""

import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from malgeul.embedding import database as database_module
from malgeul.embedding.session import Locked
from malgeul.embedding.sqlite_store import SqliteSession, SqliteStore
from malgeul.embedding.versions import Record
from malgeul.shards.faults import is_transient
from malgeul.shards.stopping import Stopped

from .versioning import RECORD, SETTINGS, a_record, a_version, batches

ACTIVE = """SELECT c.text, e.vector FROM embedding_versions v JOIN text_chunks c ON c.embedding_version_id = v.id
    JOIN embeddings e ON e.chunk_id = c.id AND e.version_id = v.id WHERE v.is_active ORDER BY c.chunk_index"""
"""What a reader that asks for the active version sees."""


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


@pytest.fixture
def store(database):
    return SqliteStore(database)


PATHS = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[3] / "scripts")]

OLD = [("옛 조각", b"\x00")]
NEW = [(f"조각 {k}", 2 * [b"\x00\x00\x00\x00", b"\x00\x00\x80?", b"\x00\x00\x00@"][k]) for k in range(3)]


def rows(path, query, *parameters):
    with sqlite3.connect(path) as connection:
        found = connection.execute(query, parameters).fetchall()
    connection.close()
    return found


def change(path, statement):
    rows(path, statement)


def dump(path):
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


def test_a_new_version_stands_beside_the_old_one_and_becomes_active(store, database):
    assert store.write(a_version(), batches(), RECORD)
    assert rows(database, "SELECT version_name, is_active FROM embedding_versions") == [("old", 0), ("malgeul-1", 1)]
    assert rows(database, "SELECT id, text FROM text_chunks WHERE embedding_version_id = 1") == [(7, "옛 조각")]
    assert rows(database, ACTIVE) == NEW
    assert rows(database, "SELECT source_id FROM text_chunks WHERE embedding_version_id = 2") == [(1,)] * 3
    assert rows(database, "SELECT DISTINCT model, dim FROM embeddings WHERE version_id = 2") == [("some/model", 2)]


def test_two_versions_of_different_dimensions_and_as_many_chunks_as_one_likes_stand_side_by_side(store, database):
    store.write(a_version(), batches(), RECORD)
    store.write(a_version("malgeul-2", 5, 4), batches(5, dimension=4), RECORD)
    assert [(v.name, v.active, v.chunks, v.vectors, v.problem) for v in store.versions()] == [
        ("old", False, 1, 1, None),
        ("malgeul-1", False, 3, 3, None),
        ("malgeul-2", True, 5, 5, None),
    ]


def test_a_version_that_is_not_whole_says_what_it_has_and_what_it_should_have(store, database):
    store.write(a_version(), batches(), RECORD)
    for statement in (
        "DELETE FROM embeddings WHERE version_id = 1 OR chunk_id = (SELECT max(chunk_id) FROM embeddings)",
        "DELETE FROM text_chunks WHERE embedding_version_id = 2 AND id NOT IN (SELECT chunk_id FROM embeddings)",
        "INSERT INTO embedding_versions (id, version_name) VALUES (9, 'bare')",
    ):
        change(database, statement)
    assert {version.name: version.problem for version in store.versions()} == {
        "old": "it has 1 chunks and 0 vectors, and should have 1 of each",
        "malgeul-1": "it has 2 chunks and 2 vectors, and should have 3 of each",
        "bare": "it has 0 chunks and 0 vectors, and should have some of each",
    }


def test_the_unique_key_gets_the_version_and_other_indexes_stay(store, database):
    assert store.migration()
    store.write(a_version(), batches(), RECORD)
    assert store.migration() == []
    assert ("by_source",) in rows(database, "SELECT name FROM pragma_index_list('text_chunks')")
    assert rows(database, "SELECT extra FROM text_chunks WHERE id = 7") == [("x",)]


def test_before_the_unique_key_changes_a_copy_is_kept_and_only_then(store, database, tmp_path):
    before = dump(database)
    store.write(a_version(), batches(), RECORD)
    backup = tmp_path / "law.before-malgeul.sqlite"
    assert dump(backup) == before
    stamp = backup.stat().st_mtime_ns
    store.write(a_version("malgeul-2"), batches(), RECORD)
    assert backup.stat().st_mtime_ns == stamp
    plain = tmp_path / "plain.sqlite"
    sqlite3.connect(plain).close()
    SqliteStore(plain).write(a_version(), batches(), RECORD)
    assert {file.name for file in tmp_path.iterdir()} == {"law.sqlite", "law.before-malgeul.sqlite", "plain.sqlite"}


def test_a_copy_of_another_database_is_not_taken_for_one_of_this(store, database, tmp_path):
    delivered = database.read_bytes()
    store.write(a_version(), batches(), RECORD)
    first = tmp_path / "law.before-malgeul.sqlite"
    before = first.read_bytes()
    for file in tmp_path.glob("law.sqlite*"):
        file.unlink()
    database.write_bytes(delivered)
    change(database, "UPDATE text_chunks SET text = '새 조각'")
    expected = dump(database)
    store.write(a_version(), batches(), RECORD)
    assert first.read_bytes() == before
    assert dump(tmp_path / "law.before-malgeul-2.sqlite") == expected


def test_a_migration_that_is_killed_leaves_no_second_copy(store, database, tmp_path):
    before = dump(database)
    code = """
import os, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from unit.embedding.versioning import RECORD, a_version, batches
from malgeul.embedding import sqlite_store
sqlite_store.migrate = lambda *_: os.kill(os.getpid(), 9)
sqlite_store.SqliteStore(Path(sys.argv[1])).write(a_version(), batches(), RECORD)
"""
    killed = subprocess.run([sys.executable, "-c", code.format(paths=PATHS), str(database)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store.write(a_version(), batches(), RECORD)
    (copy,) = tmp_path.glob("*before-malgeul*")
    assert (copy.name, dump(copy)) == ("law.before-malgeul.sqlite", before)


def test_what_a_kill_left_of_a_copy_goes_and_what_others_are_copying_stays(store, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    for owner in (f"{host}.{ended.pid}.part", f"{host}.{ended.pid}.part-journal", f"{host}.1.part", "elsewhere.2.part"):
        (tmp_path / f".law.sqlite.before-malgeul.{owner}").touch()
    store.write(a_version(), batches(), RECORD)
    assert {file.name for file in tmp_path.glob(".*.part*")} == {
        f".law.sqlite.before-malgeul.{host}.1.part",
        ".law.sqlite.before-malgeul.elsewhere.2.part",
    }


def test_two_runs_that_change_the_key_at_once_keep_one_copy_and_write_both_versions(database, tmp_path):
    """Each wrote its copy to the same place before, and both failed."""
    before = dump(database)
    code = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from unit.embedding.versioning import RECORD, a_version, batches
from malgeul.embedding import sqlite_store
copy = sqlite_store.copy_database
def copy_and_wait(*where):
    copy(*where)
    print("copied", flush=True)
    sys.stdin.readline()
sqlite_store.copy_database = copy_and_wait
sqlite_store.SqliteStore(Path(sys.argv[1])).write(a_version(sys.argv[2]), batches(), RECORD)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [
        subprocess.Popen([sys.executable, "-c", code.format(paths=PATHS), str(database), name], **pipes)
        for name in ("malgeul-1", "malgeul-2")
    ]
    assert [run.stdout.readline() for run in runs] == ["copied\n"] * 2
    for run in runs:
        run.communicate("\n")
        assert run.returncode == 0
    (copy,) = tmp_path.glob("*before-malgeul*")
    assert (copy.name, dump(copy)) == ("law.before-malgeul.sqlite", before)
    assert [(v.name, v.problem) for v in SqliteStore(database).versions()] == [
        ("old", None),
        ("malgeul-1", None),
        ("malgeul-2", None),
    ]


def test_the_dry_run_shows_every_statement_and_changes_nothing(store, database):
    before = database.read_bytes()
    statements = store.migration()
    assert database.read_bytes() == before
    assert any("UNIQUE (source_type, source_id, chunk_index, embedding_version_id)" in line for line in statements)
    with sqlite3.connect(database) as connection:
        for statement in statements:  # what is shown is what is done
            connection.execute(statement)
    connection.close()
    assert store.migration() == []


def test_writing_a_version_twice_changes_nothing(store, database):
    store.write(a_version(), batches(), RECORD)
    before = dump(database)
    assert not store.write(a_version(), batches(watch=pytest.fail), RECORD)
    assert dump(database) == before


def test_a_version_that_stands_there_whole_only_becomes_active(store, database):
    store.write(a_version(), batches(), RECORD)
    store.activate("old")
    assert rows(database, ACTIVE) == OLD
    assert store.write(a_version(), batches(watch=pytest.fail), RECORD)
    assert rows(database, ACTIVE) == NEW


@pytest.mark.parametrize("failure", ["too few", "in the middle"])
def test_a_failure_leaves_the_old_version_active_and_the_next_write_goes_on(store, database, failure):
    def breaking(start):
        if failure == "in the middle" and start:
            raise KeyboardInterrupt

    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        store.write(a_version(), batches(2 if failure == "too few" else 3, watch=breaking), RECORD)
    assert rows(database, ACTIVE) == OLD
    assert [v.problem for v in store.versions()] == [None, "2 of 3 chunks are written"]
    starts = []
    assert store.write(a_version(), batches(watch=starts.append), RECORD)
    assert starts == [2]
    assert rows(database, ACTIVE) == NEW


def test_readers_see_the_old_version_until_the_new_one_is_whole(store, database):
    seen = []
    store.write(a_version(chunks=9), batches(9, watch=lambda _: seen.append(rows(database, ACTIVE))), RECORD)
    assert seen == [OLD] * 5
    assert len(rows(database, ACTIVE)) == 9


def test_a_reader_in_the_middle_of_its_reading_blocks_nobody_and_keeps_what_it_began_with(store, database):
    store.write(a_version(), batches(), RECORD)
    with sqlite3.connect(database, isolation_level=None) as reader:
        reader.execute("BEGIN")
        assert reader.execute(ACTIVE).fetchall() == NEW
        store.write(a_version("malgeul-2", 1), batches(1), RECORD)
        assert reader.execute(ACTIVE).fetchall() == NEW
        reader.execute("COMMIT")
        assert reader.execute(ACTIVE).fetchall() == NEW[:1]
    reader.close()


def test_an_active_version_that_somebody_damaged_stays_readable_until_it_is_written_anew(store, database):
    store.write(a_version(), batches(), RECORD)
    change(database, "DELETE FROM embeddings WHERE rowid = (SELECT max(rowid) FROM embeddings)")
    seen = []
    store.write(a_version(), batches(watch=lambda _: seen.append(len(rows(database, ACTIVE)))), RECORD)
    assert seen == [2, 2]
    assert rows(database, ACTIVE) == NEW
    assert [v.name for v in store.versions()] == ["old", "malgeul-1 (damaged 2)", "malgeul-1"]


def test_rows_that_somebody_removed_from_an_unfinished_version_are_written_again(store, database):
    with pytest.raises(RuntimeError, match="it stays inactive"):
        store.write(a_version(), batches(2), RECORD)
    change(database, "DELETE FROM text_chunks WHERE chunk_index = 0 AND embedding_version_id = 2")
    store.write(a_version(), batches(), RECORD)
    assert rows(database, ACTIVE) == NEW


def test_two_writers_of_one_version_do_not_mix_their_rows(store, database):
    def write_too(start):
        if start == 2:
            store.write(a_version(), batches(), RECORD)

    with pytest.raises(RuntimeError, match="another program writes the version malgeul-1 too"):
        store.write(a_version(), batches(watch=write_too), RECORD)
    assert rows(database, ACTIVE) == NEW


def test_a_database_without_the_tables_gets_them(tmp_path):
    path = tmp_path / "plain.sqlite"
    sqlite3.connect(path).close()
    assert SqliteStore(path).write(a_version(), batches(), RECORD)
    assert rows(path, ACTIVE) == NEW


def test_a_copy_that_nobody_reads_yet_is_one_file(tmp_path, database):
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    SqliteStore(database, alone=True).write(a_version(), batches(), RECORD)
    assert [file.name for file in tmp_path.iterdir()] == ["law.sqlite"]
    assert rows(database, ACTIVE) == NEW
    assert rows(database, "PRAGMA journal_mode") == [("delete",)]


# Switching back, removing


def test_switching_back_is_one_command_and_a_version_that_is_not_whole_is_refused(store, database):
    store.write(a_version(), batches(), RECORD)
    store.activate("old")
    assert rows(database, ACTIVE) == OLD
    with pytest.raises(RuntimeError):
        store.write(a_version("malgeul-2", 4), batches(2), RECORD)
    with pytest.raises(ValueError, match="malgeul-2 is not whole: 2 of 4 chunks are written"):
        store.activate("malgeul-2")
    with pytest.raises(LookupError, match="there is no version 3; there are: old, malgeul-1, malgeul-2"):
        store.activate("3")
    assert rows(database, ACTIVE) == OLD


def test_versions_are_switched_both_ways_where_an_index_allows_one_active_version_only(store, database):
    change(database, "CREATE UNIQUE INDEX one ON embedding_versions (is_active) WHERE is_active")
    store.write(a_version(), batches(), RECORD)
    assert rows(database, ACTIVE) == NEW
    store.activate("old")
    assert rows(database, ACTIVE) == OLD
    store.activate("malgeul-1")
    assert rows(database, ACTIVE) == NEW


@pytest.mark.parametrize(
    "metadata",
    [
        '{"documents": 13841, "chunks": 32583}',
        '{"documents": {"case": 120}, "chunks": 7}',
        '{"written": "2024-05-01"}',
        '{"documents": ["case/1"]}',
    ],
)
def test_what_another_program_says_of_its_version_is_not_read_as_our_own(store, database, metadata):
    rows(database, "UPDATE embedding_versions SET metadata = ?", metadata)
    store.write(a_version(), batches(), RECORD)
    store.activate("old")
    assert [version.problem for version in store.versions()] == [None, None]
    assert store.read_settings() is None
    assert store.changes(survey_of(a="one")) is None
    assert store.write(a_version(), batches(), RECORD)
    assert rows(database, ACTIVE) == NEW


def test_old_versions_go_when_asked_and_the_active_one_never(store, database):
    store.write(a_version(), batches(), RECORD)
    with pytest.raises(ValueError, match="malgeul-1 is the active version; activate another one"):
        store.drop("malgeul-1")
    assert "VACUUM" in store.drop("old")
    assert rows(database, ACTIVE) == NEW
    assert rows(database, "SELECT count(*) FROM text_chunks") == rows(database, "SELECT count(*) FROM embeddings")
    assert rows(database, "SELECT count(*) FROM text_chunks") == [(3,)]
    store.write(a_version("malgeul-2"), batches(), RECORD)
    store.drop("malgeul-1")
    assert rows(database, "SELECT DISTINCT version_id FROM malgeul_documents") == [(3,)]


def test_a_version_to_whose_chunks_others_refer_is_not_removed(store, database):
    store.write(a_version(), batches(), RECORD)
    change(database, "CREATE TABLE marks (chunk INTEGER REFERENCES text_chunks (id))")
    change(database, "INSERT INTO marks VALUES (7)")
    before = dump(database)
    with pytest.raises(RuntimeError, match=r"other rows refer to chunks of old .marks to text_chunks, foreign key 0.;"):
        store.drop("old")
    assert dump(database) == before


@pytest.mark.parametrize(
    "broken",
    [
        ["CREATE TABLE cases (id INTEGER PRIMARY KEY)", "ALTER TABLE text_chunks ADD x INTEGER REFERENCES cases"],
        ["ALTER TABLE embeddings ADD x INTEGER REFERENCES text_chunks (id)"],
    ],
)
def test_a_version_with_rows_that_refer_to_nothing_is_removed_all_the_same(store, database, broken):
    for statement in broken:
        change(database, statement)
    change(database, f"UPDATE {broken[-1].split()[2]} SET x = 99")
    store.write(a_version(), batches(), RECORD)
    assert "VACUUM" in store.drop("old")
    assert rows(database, ACTIVE) == NEW


# What changed since


def test_new_changed_and_removed_documents_are_found(store, database):
    assert store.changes(survey_of(a="one")) is None, "a version of another program does not say"
    store.write(a_version(), batches(), RECORD)
    assert store.changes(survey_of(b="two", a="one")).counts == {"new": 0, "changed": 0, "removed": 0}
    changes = store.changes(survey_of(a="one", b="changed", c="new", d="new"))
    assert (changes.version, changes.new, changes.changed, changes.removed) == ("malgeul-1", ["c", "d"], ["b"], [])
    assert store.changes(survey_of(b="two")).removed == ["a"]
    assert store.read_settings()["table"] == "notes"


def test_without_any_version_all_documents_are_new(tmp_path):
    path = tmp_path / "plain.sqlite"
    sqlite3.connect(path).close()
    assert SqliteStore(path).changes(survey_of(a="one")).new == ["a"]


def test_documents_that_changed_without_another_vector_are_noted(store):
    store.write(a_version(), batches(), RECORD)
    other = a_record(a="one", b="another title")
    assert not store.write(a_version(), batches(watch=pytest.fail), other)
    assert store.changes(survey_of(a="one", b="another title")).counts == {"new": 0, "changed": 0, "removed": 0}


def test_settings_that_changed_without_another_vector_are_noted(store):
    """The model's name was spelled otherwise, say: a database that cannot be written later is asked what they are."""
    for settings in ({"model": "/models/e5"}, {"model": "intfloat/e5"}):
        store.write(replace(a_version(), metadata={"settings": settings}), batches(), RECORD)
        assert store.standing(RECORD).metadata["settings"] == settings
    assert not store.write(replace(a_version(), metadata={"settings": settings}), batches(watch=pytest.fail), RECORD)


def survey_of(**contents):
    from malgeul.embedding.documents import Survey

    survey = Survey()
    for name, digest in a_record(**contents).contents.items():
        survey.add(name, digest)
    return survey


# Other processes

WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from unit.embedding.versioning import RECORD, a_version, batches
from malgeul.embedding.sqlite_store import SqliteSession, SqliteStore
def tell(start):
    print(start, flush=True)
    sys.stdin.readline()
SqliteStore(Path(sys.argv[1])).write(a_version(chunks=4000), batches(4000, size=40, watch=tell), RECORD)
"""


def start_writer(database):
    code = WRITER.format(paths=PATHS)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, str(database)], **pipes, text=True, bufsize=1)


def written(store):
    return next((v.written or v.chunks for v in store.versions() if v.name == "malgeul-1"), 0)


def test_sigkill_at_any_moment_loses_nothing_and_leaves_a_consistent_database(store, database):
    rng = random.Random(7)
    progress = []
    for _ in range(8):
        process = start_writer(database)
        for _ in range(rng.randrange(1, 11)):  # of the hundred batches, each of which waits for a line
            process.stdout.readline()
            process.stdin.write("\n")
        time.sleep(rng.uniform(0.0, 0.003))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert rows(database, "PRAGMA integrity_check") == [("ok",)]
        assert rows(database, ACTIVE) == OLD
        progress.append(written(store))
    assert 0 < progress[-1] < 4000
    assert progress == sorted(progress), "what was committed stays"
    process = start_writer(database)
    process.communicate()
    assert process.returncode == 0
    assert [text for text, _ in rows(database, ACTIVE)] == [f"조각 {k}" for k in range(4000)]
    assert rows(database, "PRAGMA integrity_check") == [("ok",)]


def test_sigterm_finishes_the_batch_and_the_next_run_goes_on_there(store, database, sigterm_at):
    with sigterm_at(2), pytest.raises(Stopped):
        store.write(a_version(chunks=6), batches(6), RECORD)
    assert [v.problem for v in store.versions()] == [None, "4 of 6 chunks are written"]
    assert rows(database, ACTIVE) == OLD
    starts = []
    store.write(a_version(chunks=6), batches(6, watch=starts.append), RECORD)
    assert starts == [4]


HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


@pytest.fixture
def lock(database):
    """Let another process hold the database for some seconds."""
    held = []

    def hold(seconds):
        command = [sys.executable, "-c", HOLDER, str(database), str(seconds)]
        held.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert held[-1].stdout.readline() == "locked\n"
        return held[-1]

    yield hold
    for process in held:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_locked_database_is_waited_for(store, database, lock):
    lock(1.0)
    assert store.write(a_version(), batches(), RECORD)
    assert rows(database, ACTIVE) == NEW


@pytest.mark.parametrize("wal", [False, True])
def test_a_database_that_stays_locked_is_a_clear_failure_worth_a_retry(store, database, lock, monkeypatch, wal):
    if wal:
        change(database, "PRAGMA journal_mode = WAL")
    monkeypatch.setattr(database_module, "PATIENCE", 0.2)
    holder = lock(60)
    with pytest.raises(Locked) as failure:
        store.write(a_version(), batches(), RECORD)
    assert is_transient(failure.value)
    for part in (str(database), f"process {holder.pid} (", "fuser -v", "run again"):
        assert part in str(failure.value)
    holder.kill()
    holder.wait()
    assert rows(database, ACTIVE) == OLD


def test_a_full_disk_is_told_with_the_database_and_worth_a_retry(store, database, monkeypatch):
    store.write(a_version(), batches(), RECORD)
    tune = SqliteSession.tune

    def tune_small(session):
        tune(session)
        session.execute("PRAGMA max_page_count = 1")  # SQLite takes the pages that there are

    with monkeypatch.context() as patched:
        patched.setattr(SqliteSession, "tune", tune_small)
        with pytest.raises(OSError, match=f"Make room and run again.*{database}") as failure:
            store.write(a_version("malgeul-2", 400, 256), batches(400, 40, 256), RECORD)
    assert is_transient(failure.value)
    assert rows(database, ACTIVE) == NEW
    assert store.write(a_version("malgeul-2", 400, 256), batches(400, 40, 256), RECORD)


def test_a_version_that_the_disk_has_no_room_for_is_not_begun(store, database, monkeypatch):
    store.write(a_version(), batches(), RECORD)
    store.write(a_version("malgeul-2", 400, 256), batches(400, 40, 256), RECORD)
    before = dump(database)
    free = 400 * 256 * 4 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - free, free))
    with pytest.raises(OSError, match=f"its vectors alone need 0.4 MB more.*{database}") as failure:
        store.write(a_version("malgeul-3", 400, 256), batches(400, 40, 256), RECORD)
    assert is_transient(failure.value)
    assert dump(database) == before
    store.activate("malgeul-1")
    assert store.write(a_version("malgeul-2", 400, 256), batches(watch=pytest.fail), RECORD), "it is written already"
    store.activate("malgeul-1")
    store.drop("malgeul-2")
    assert store.write(a_version("malgeul-3", 400, 256), batches(400, 40, 256), RECORD), "room in the file is room"


# What the forerunner got wrong


def test_while_the_new_version_is_written_no_row_of_the_old_one_goes(store, database):
    old = rows(database, "SELECT * FROM text_chunks"), rows(database, "SELECT * FROM embeddings")
    seen = []

    def look(_):
        chunks = rows(database, "SELECT * FROM text_chunks WHERE embedding_version_id = 1")
        seen.append((chunks, rows(database, "SELECT * FROM embeddings WHERE version_id = 1")))

    store.write(a_version(chunks=6), batches(6, watch=look), RECORD)
    look(None)
    assert seen == [old] * 4


def test_documents_of_a_version_that_a_crash_left_unfinished_are_still_listed(store):
    store.write(a_version(), batches(), a_record(a="one"))
    with pytest.raises(RuntimeError):
        store.write(a_version("malgeul-2", 5), batches(3), a_record(a="one", b="two"))
    assert store.changes(survey_of(a="one", b="two")).new == ["b"]


def test_removing_a_version_removes_its_rows_and_no_others(store, database):
    for number in (1, 2, 3):
        store.write(a_version(f"malgeul-{number}", number), batches(number), RECORD)
    store.drop("malgeul-2")
    assert [(v.name, v.chunks, v.vectors) for v in store.versions()] == [
        ("old", 1, 1),
        ("malgeul-1", 1, 1),
        ("malgeul-3", 3, 3),
    ]
    assert rows(database, "SELECT count(*) FROM text_chunks") == rows(database, "SELECT count(*) FROM embeddings")


def test_statements_are_asked_by_the_batch_and_not_by_the_chunk(store, monkeypatch):
    store.write(a_version("malgeul-0"), batches(), RECORD)
    asked = []
    execute = SqliteSession.execute

    def counted(session, statement, parameters=()):
        asked.append(statement)
        return execute(session, statement, parameters)

    monkeypatch.setattr(SqliteSession, "execute", counted)
    numbers = []
    for name, chunks in (("malgeul-1", 10), ("malgeul-2", 1000)):
        asked.clear()
        store.write(a_version(name, chunks), batches(chunks, size=1000), RECORD)
        numbers.append(len(asked))
    assert numbers[0] == numbers[1]


def test_progress_counts_what_was_written_before_a_kill(store, caplog):
    caplog.set_level("INFO")
    with pytest.raises(RuntimeError):
        store.write(a_version(chunks=5), batches(2), RECORD)
    store.write(a_version(chunks=5), batches(5), RECORD)
    assert "2 of 5 chunks of malgeul-1 were written before" in caplog.messages


def test_an_id_that_is_no_utf8_can_be_recorded(store):
    survey = survey_of(**{"c\udcff": "one"})
    store.write(a_version(), batches(), Record(survey.contents(), SETTINGS))
    assert store.changes(survey).counts == {"new": 0, "changed": 0, "removed": 0}
    assert store.changes(survey_of(**{"c\udcff": "two"})).changed == ["c\\xff"]


# What a run wrote and somebody took away


def removed_by_hand(database):
    change(database, "DELETE FROM embeddings WHERE version_id = 2")
    change(database, "DELETE FROM text_chunks WHERE embedding_version_id = 2")
    change(database, "DELETE FROM embedding_versions WHERE id = 2")


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        (removed_by_hand, "is not there"),
        (lambda database: change(database, "DELETE FROM embedding_versions WHERE id = 2"), "is not there"),
        (
            lambda database: change(database, "DELETE FROM embeddings WHERE version_id = 2 AND chunk_id > 8"),
            "is not whole: it has 3 chunks and 1 vectors",
        ),
        (
            lambda database: change(database, "UPDATE embedding_versions SET is_active = 0"),
            "is not active, and neither is another",
        ),
    ],
)
def test_a_version_that_somebody_took_away_is_missed_and_written_again(store, database, taken, told):
    store.write(a_version(), batches(), RECORD)
    assert store.loss("malgeul-1") is None
    store.activate("old")
    assert store.loss("malgeul-1") is None, "switching back is the user's choice"
    store.activate("malgeul-1")
    taken(database)
    assert told in store.loss("malgeul-1")
    assert store.write(a_version(), batches(), RECORD)
    assert rows(database, ACTIVE) == NEW
    assert store.loss("malgeul-1") is None


def test_a_version_that_was_dropped_is_missed_also_where_there_is_no_table(store, database):
    assert store.loss("malgeul-1") == "is not there"
    change(database, "DROP TABLE embedding_versions")
    assert store.loss("malgeul-1") == "is not there"


@pytest.mark.parametrize(
    ("table", "column", "key", "value"),
    [("embeddings", "version_id", "chunk_id", "'옛것'"), ("text_chunks", "embedding_version_id", "id", "x'01'")],
)
def test_text_in_a_column_of_numbers_is_named_and_keeps_a_version_out(store, database, table, column, key, value):
    store.write(a_version(), batches(), RECORD)
    change(database, f"UPDATE {table} SET {column} = {value} WHERE {key} = 7")
    with pytest.raises(RuntimeError, match=rf"{table}\.{column} holds .*, which is no number, .*Change such rows"):
        store.write(a_version("malgeul-2"), batches(), RECORD)
    assert [version.name for version in store.versions()] == ["old", "malgeul-1"]
    change(database, f"UPDATE {table} SET {column} = 1 WHERE {key} = 7")
    assert store.write(a_version("malgeul-2"), batches(), RECORD)


def test_rows_that_a_removed_version_left_behind_do_not_become_those_of_the_next(store, database):
    """SQLite gives the highest number again once its row is gone."""
    store.write(a_version(), batches(), RECORD)
    change(database, "DELETE FROM embedding_versions WHERE id = 2")
    assert store.write(a_version("malgeul-2"), batches(), RECORD)
    assert rows(database, ACTIVE) == NEW
    assert rows(database, "SELECT count(*) FROM text_chunks WHERE embedding_version_id = 2") == [(3,)]
    assert rows(database, "SELECT id FROM embedding_versions ORDER BY id") == [(1,), (3,)]


@pytest.mark.parametrize("clause", ["REPLACE", "IGNORE", "ROLLBACK"])
def test_a_key_that_takes_rows_away_on_conflict_takes_no_row_of_another_version(tmp_path, clause):
    """UNIQUE … ON CONFLICT REPLACE would remove the old version's row for the new one's, in silence."""
    path = tmp_path / "law.sqlite"
    change(
        path,
        f"""CREATE TABLE text_chunks (id INTEGER PRIMARY KEY, source_type TEXT, source_id INTEGER, chunk_index INTEGER,
            text TEXT, embedding_version_id INTEGER, UNIQUE (source_id, text) ON CONFLICT {clause})""",
    )
    change(path, "INSERT INTO text_chunks VALUES (7, 'case', 1, 0, '조각 1', 99)")
    with pytest.raises(ValueError, match=r"UNIQUE constraint failed: text_chunks\.source_id, text_chunks\.text"):
        SqliteStore(path).write(a_version(), batches(), RECORD)
    assert rows(path, "SELECT id, embedding_version_id FROM text_chunks WHERE text = '조각 1'") == [(7, 99)]


def test_what_a_trigger_does_on_conflict_is_left_to_it(store, database):
    change(database, "CREATE TABLE seen (source_id INTEGER PRIMARY KEY)")
    change(
        database,
        "CREATE TRIGGER noted AFTER INSERT ON text_chunks BEGIN INSERT OR IGNORE INTO seen VALUES (new.source_id); END",
    )
    assert store.write(a_version(), batches(), RECORD)
    assert rows(database, "SELECT source_id FROM seen") == [(1,)]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("CREATE UNIQUE INDEX texts ON text_chunks (source_id, text)", "UNIQUE constraint failed"),
        (
            "CREATE TRIGGER frozen BEFORE INSERT ON embeddings BEGIN SELECT RAISE(ABORT, 'closed for the year'); END",
            "closed for the year",
        ),
    ],
)
def test_a_rule_of_the_database_that_refuses_a_row_is_said_with_what_to_do(store, database, rule, told):
    change(database, rule)
    change(database, "UPDATE text_chunks SET text = '조각 1'")
    with pytest.raises(ValueError, match=rf"{database} refuses a row of .*{told}.*the version before it stays active"):
        store.write(a_version(), batches(), RECORD)
    assert rows(database, "SELECT version_name FROM embedding_versions WHERE is_active") == [("old",)]


def test_an_id_that_the_database_gave_once_is_not_given_again(tmp_path):
    """Others may have kept the ids of chunks that are gone; AUTOINCREMENT promises them that they name nothing else."""
    path = tmp_path / "law.sqlite"
    change(
        path,
        """CREATE TABLE text_chunks (id INTEGER PRIMARY KEY AUTOINCREMENT, source_type TEXT, source_id INTEGER,
            chunk_index INTEGER, text TEXT, embedding_version_id INTEGER)""",
    )
    change(
        path,
        """CREATE TABLE embedding_versions (id INTEGER PRIMARY KEY AUTOINCREMENT, version_name TEXT UNIQUE,
            chunking_strategy TEXT, model_name TEXT, is_active INTEGER, metadata TEXT)""",
    )
    store = SqliteStore(path)
    for name in ("malgeul-1", "malgeul-2", "malgeul-3"):
        store.write(a_version(name), batches(), RECORD)
    store.activate("malgeul-1")
    store.drop("malgeul-3")
    store.write(a_version("malgeul-4"), batches(size=1), RECORD)
    numbered = "SELECT embedding_version_id, id FROM text_chunks WHERE embedding_version_id > 2"
    assert rows(path, numbered) == [(4, 10), (4, 11), (4, 12)]
