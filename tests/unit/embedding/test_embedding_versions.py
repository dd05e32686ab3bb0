"""The command line over versions: it says what is there, switches, removes, and what is wrong in one line."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedding_versions import tell_plan
from malgeul.embedding.settings import Database
from malgeul.embedding.sqlite_store import SqliteStore
from malgeul.embedding.versions import Record

from .versioning import a_version, batches

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts/embedding_versions.py"
LAW = ROOT / "resources/demo/documents/law.sqlite"
SETTINGS = Database(path="law.sqlite")


def command(*arguments):
    finished = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    return finished.returncode, (finished.stdout or finished.stderr).strip()


@pytest.fixture
def law(tmp_path):
    return shutil.copy(LAW, tmp_path / "law.sqlite")


@pytest.fixture
def written(law):
    """The demo's database with a version of malgeul beside the forerunner's."""
    store = SqliteStore(law)
    store.write(a_version(), batches(), Record(store.survey(SETTINGS).contents(), SETTINGS))
    return law


def change(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_versions_are_listed_with_their_rows_and_state(written):
    code, said = command(written, "list")
    assert code == 0
    header, old, new = (line.split() for line in said.splitlines())
    assert header == ["name", "strategy", "model", "chunks", "vectors", "documents", "state"]
    assert old == ["old-version", "standard", "some/old-model", "128", "128", "not", "recorded", "whole"]
    assert new[:4] == ["*", "malgeul-1", "standard", "some/model"]
    assert new[-1] == "active"


def test_the_dry_run_names_the_backup_and_the_statements_and_writes_nothing(law, tmp_path):
    before = law.read_bytes()
    code, said = command(law, "plan")
    assert code == 0
    assert str(tmp_path / "law.before-malgeul.sqlite") in said
    assert "UNIQUE (source_type, source_id, chunk_index, embedding_version_id)" in said
    assert law.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["law.sqlite"]


@pytest.mark.parametrize("migrated", [False, True])
def test_the_dry_run_shows_the_statements_also_to_who_may_not_run_them(law, written, monkeypatch, migrated):
    if not migrated:
        written = shutil.copy(LAW, law)
    monkeypatch.setattr("malgeul.embedding.sqlite_store.os.access", lambda *_, **__: False)
    said = tell_plan(SqliteStore(Path(written)))
    assert ("UNIQUE (source_type, source_id, chunk_index, embedding_version_id)" in said) == (not migrated)
    assert ("nothing to change" in said) == migrated
    assert said.splitlines()[-1].startswith(f"-- no version can be written into it: {written} is not writable")


def test_after_the_migration_the_dry_run_has_nothing_to_say(written):
    assert command(written, "plan") == (0, "nothing to change: versions can stand side by side")


def test_switching_back_and_removing_are_one_command_each(written):
    assert command(written, "activate", "old-version") == (0, "old-version is the active version now")
    code, said = command(written, "drop", "malgeul-1")
    assert code == 0
    assert "malgeul-1 is gone" in said
    assert "VACUUM" in said
    assert [version.name for version in SqliteStore(written).versions()] == ["old-version"]


def test_ctrl_c_ends_a_removal_without_a_traceback_and_nothing_is_gone(written):
    """While another program writes, the removal waits."""
    assert command(written, "activate", "old-version")[0] == 0
    writer = sqlite3.connect(written, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with subprocess.Popen([sys.executable, SCRIPT, written, "drop", "malgeul-1"], stderr=subprocess.PIPE) as removal:
        deadline = time.monotonic() + 60
        while str(written) not in map(os.path.realpath, Path(f"/proc/{removal.pid}/fd").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        removal.send_signal(signal.SIGINT)
        assert removal.stderr.read() == b""
    assert removal.returncode == -signal.SIGINT
    writer.close()
    assert [version.name for version in SqliteStore(written).versions()] == ["old-version", "malgeul-1"]


def test_of_a_result_it_is_said_that_the_next_run_makes_it_again(written, tmp_path):
    results = tmp_path / "results/demo"
    (results / "ledger").mkdir(parents=True)
    (results / "database").mkdir()
    copied = shutil.copy(written, results / "database/law.sqlite")
    code, said = command(copied, "activate", "old-version")
    assert code == 0
    assert "the next run finds it altered" in said


def test_what_changed_since_the_active_version_is_told_by_number_and_by_name(written):
    code, said = command(written, "status")
    assert (code, said) == (0, "nothing to do: documents 0 new, 0 changed, 0 removed since malgeul-1 was made")
    change(written, "DELETE FROM statute_articles WHERE id = 1")
    change(written, "UPDATE case_paragraphs SET text = '고친 문단' WHERE case_id = 2 AND para_index = 0")
    change(written, "INSERT INTO decision_paragraphs (decision_id, para_index, text) VALUES (99999, 0, '새 결정')")
    code, said = command(written, "status", "--ids")
    assert said.splitlines() == [
        "documents 1 new, 1 changed, 1 removed since malgeul-1 was made",
        "new\tdecision/99999",
        "changed\tcase/2",
        "removed\tstatute/1",
    ]


def test_documents_may_be_in_another_database_than_the_versions(written, law, tmp_path):
    original = shutil.copy(LAW, tmp_path / "original.sqlite")
    change(original, "DELETE FROM statute_articles WHERE id = 1")
    code, said = command(written, "status", "--documents", original)
    assert (code, said.split(" since")[0]) == (0, "documents 0 new, 0 changed, 1 removed")


def test_nothing_to_do_is_said_in_under_a_second_for_15000_documents(tmp_path):
    path = tmp_path / "notes.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?, ?)", ((k, f"문서 {k} " * 150) for k in range(15_000)))
    connection.close()
    settings = Database(path="notes.sqlite", layout="table", table="notes")
    store = SqliteStore(path)
    store.write(a_version(), batches(), Record(store.survey(settings).contents(), settings))
    survey = store.survey(settings)
    assert len(survey.ids) == 15_000
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, said = command(path, "status")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (code, said.split(":")[0]) == (0, "nothing to do")
    # Of the processor: other programs run on this machine too.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["drop", "malgeul-1"], "malgeul-1 is the active version; activate another one before you drop it"),
        (["drop", "no-such"], "there is no version no-such; there are: old-version, malgeul-1"),
        (["activate", "no-such"], "there is no version no-such; there are: old-version, malgeul-1"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_status(written, arguments, said):
    assert command(written, *arguments) == (1, f"malgeul: {written}: {said}")


def test_a_file_that_is_no_database_and_one_that_is_not_there_are_said(tmp_path):
    text = tmp_path / "text.sqlite"
    text.write_text("이것은 데이터베이스가 아니다. " * 200, encoding="utf-8")
    code, said = command(text, "list")
    assert code == 1
    assert "is no SQLite database" in said
    code, said = command(tmp_path / "nowhere.sqlite", "list")
    assert code == 1
    assert "no such file" in said
    assert len(said.splitlines()) == 1


def test_a_version_of_another_program_does_not_say_what_changed(law):
    code, said = command(law, "status")
    assert code == 1
    assert "does not say of which documents it was made" in said
