"""What the start of a run refuses, and does to the results of the last one; a dry run does nothing."""

import errno
import os
import sqlite3
import time

import pytest

from malgeul import ROOT, startup
from malgeul.embedding.settings import Database
from malgeul.embedding.store import open_store
from malgeul.embedding.versions import Record
from malgeul.shards.files import write_json
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.locks import OWNER
from malgeul.shards.retries import failed_before, note_failure
from unit.embedding.versioning import a_version, batches


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Give a function that starts a run with a text, as the Snakefile does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OWNER, "0")
    monkeypatch.setattr(startup, "_held", [])
    (tmp_path / "a.txt").write_text("글")
    config = {"run": "small", "text": {"sources": [{"path": "a.txt", "format": "txt"}]}}
    return lambda *argv, **more: startup.start(config | more, ROOT, main=True, argv=list(argv))


@pytest.mark.parametrize("option", ["--dry-run", "--list-input-changes", "--list-untracked", "--report"])
def test_a_look_changes_nothing(begin, tmp_path, option):
    begin("--cores", "1", option)
    assert not (tmp_path / "results").exists()


def test_a_report_after_the_run_has_a_run_before_it(begin, tmp_path):
    begin("--cores", "1", "--report", "report.zip", "--report-after-run")
    assert (tmp_path / "results/small/plan.json").exists()


def test_a_profile_is_not_looked_for_where_directory_leads(begin, tmp_path, capsys):
    begin("--cores", "1", "--profile", "mine", "--directory", str(tmp_path))
    assert (tmp_path / "results/small/plan.json").exists()
    begin("--profile", "mine", "--dry-run")
    assert capsys.readouterr().err == ""


def test_every_option_that_only_looks_is_one_of_snakemakes():
    assert vars(startup.parse_options([])).keys() > {*startup.LOOKS_ONLY}


def test_a_model_that_is_gone_from_where_it_was_is_fetched_again(begin, tmp_path, capsys):
    models = tmp_path / "results/small/models"
    (models / "quantized").mkdir(parents=True)
    (models / "quantized/cut.json").write_text('{"folder": ')
    for name, folder in (("there", tmp_path), ("gone", tmp_path / "gone")):
        write_json(models / f"{name}.json", {"folder": str(folder)})
    begin("--cores", "1", "--dry-run")
    assert {file.name for file in models.rglob("*.json")} == {"there.json", "gone.json", "cut.json"}
    begin("--cores", "1")
    assert {file.name for file in models.rglob("*.json")} == {"there.json"}
    assert "gone.json names no model that is there; it is had again" in capsys.readouterr().err


def test_a_clock_that_was_set_back_is_told_and_a_dry_run_changes_no_time(begin, tmp_path, capsys):
    ledger = tmp_path / "results/small/ledger/ingest/a-0000.json"
    write_json(ledger, Ledger("ingest", "a-0000", Units("record", "document")).to_json())
    tomorrow = time.time() + 86400
    os.utime(ledger, (tomorrow, tomorrow))
    begin("--cores", "1", "--dry-run")
    assert ledger.stat().st_mtime == pytest.approx(tomorrow)
    begin("--cores", "1")
    assert "the clock was set back: the times of 1 files" in capsys.readouterr().err
    assert ledger.stat().st_mtime <= time.time()


def test_a_shard_that_is_not_made_of_the_files_there_are_loses_its_ledger(begin, tmp_path, capsys):
    state = begin("--cores", "1", "--dry-run").plan.state_of("ingest", "a-0000")
    ledger = tmp_path / "results/small/ledger/ingest/a-0000.json"
    write_json(ledger, Ledger("ingest", "a-0000", Units("record", "document"), state=state).to_json())
    begin("--cores", "1")
    assert ledger.exists()
    assert "input" not in capsys.readouterr().err
    (tmp_path / "a.txt").write_text("다른 글")
    begin("--cores", "1", "--dry-run")
    told = "malgeul: not made of the input as it is now: ingest a-0000; "
    assert capsys.readouterr().err == f"{told}a run makes them again\n"
    for target in ("verify", "prune"):
        begin(target, "--cores", "1")
    begin("--lint")
    startup.start({"run": "small"}, ROOT, main=False, argv=[])
    assert ledger.exists(), "nothing is removed that is not made again"
    assert capsys.readouterr().err == ""
    assert begin("--cores", "1").damage == []
    assert not ledger.exists()
    assert capsys.readouterr().err == f"{told}made again\n"
    begin("--cores", "1")
    assert capsys.readouterr().err == "", "it is told once"


def test_what_no_plan_holds_is_not_told_to_be_made_again(begin, tmp_path, capsys):
    for shard in ("a-0000", "gone-0000"):
        ledger = Ledger("ingest", shard, Units("record", "document"))
        ledger.outputs = {f"text/{shard}.parquet": {"size": 1, "mtime_ns": 0, "inode": 0, "sha256": ""}}
        write_json(tmp_path / f"results/small/ledger/ingest/{shard}.json", ledger.to_json())
    begin("--cores", "1")
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("; ")[2] for line in told] == [
        "it is made again",
        "it is removed: its input is gone",
    ]


def test_times_stay_as_they_are_while_a_model_that_rules_read_is_ahead_of_the_clock_as_well(begin, tmp_path, capsys):
    """Results alone would be older than the model: all would be made again, by jobs that Snakemake has fail for it."""
    ledger, model = tmp_path / "results/small/ledger/ingest/a-0000.json", tmp_path / "model/tokenizer.json"
    write_json(ledger, Ledger("ingest", "a-0000", Units("record", "document")).to_json())
    write_json(model, {})
    tomorrow = time.time() + 86400
    for file in (ledger, model):
        os.utime(file, (tomorrow, tomorrow))
    begin("--cores", "1", tokenize={"tokenizer": "model"})
    assert "files that rules read are ahead of the clock (1, model/tokenizer.json among" in capsys.readouterr().err
    assert ledger.stat().st_mtime == pytest.approx(tomorrow)
    model.touch()
    startup._held.pop().close()
    begin("--cores", "1", tokenize={"tokenizer": "model"})
    assert ledger.stat().st_mtime <= time.time()


def test_of_a_shard_with_many_damaged_files_the_first_is_named(begin, tmp_path, capsys):
    for shard, n in (("a-0000", 300), ("b-0000", 1)):
        ledger = Ledger("transcribe", shard, Units("channel", "transcript"))
        ledger.outputs = {
            f"transcripts/{shard}/{k:03d}.json": {"size": 1, "mtime_ns": 0, "inode": 0, "sha256": ""} for k in range(n)
        }
        write_json(tmp_path / f"results/small/ledger/transcribe/{shard}.json", ledger.to_json())
    assert len(begin("--cores", "1").damage) == 301
    assert [line.partition("; ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "malgeul: damaged: transcribe a-0000: transcripts/a-0000/000.json is gone, and 299 more of its files",
        "malgeul: damaged: transcribe b-0000: transcripts/b-0000/000.json is gone",
    ]


def test_of_many_shards_a_few_are_named():
    assert startup._named([("convert", f"c-{n}") for n in range(7)]).endswith("convert c-4 and 2 more")


def test_what_failed_for_good_in_the_last_run_is_tried_again(begin, tmp_path):
    journal = tmp_path / "results/small/journal/train/names"
    note_failure(journal, ValueError("steps"))
    begin("--cores", "1", "--dry-run")
    assert failed_before(journal) == "ValueError: steps"
    begin("--cores", "1")
    assert failed_before(journal) is None


def test_a_cap_of_memory_that_is_none_is_told_before_the_first_job(begin, tmp_path, monkeypatch):
    monkeypatch.setenv("MAX_MEMORY_GB", "much")
    begin("--cores", "1", "--dry-run")
    with pytest.raises(SystemExit, match="MAX_MEMORY_GB='much' is no number of gigabytes over 0"):
        begin("--cores", "1")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_results_that_cannot_be_written_are_told_in_a_line(begin, tmp_path, monkeypatch, number):
    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(startup, "try_lock", refuse)
    begin("--cores", "1", "--dry-run")
    told = f"malgeul: results/small cannot be made ready for a run: .*{os.strerror(number)}: 'results/small/.run.lock'"
    with pytest.raises(SystemExit, match=told):
        begin("--cores", "1")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Give a function that starts a run whose version stands in a database of its user, and the database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OWNER, "0")
    monkeypatch.setattr(startup, "_held", [])
    database = tmp_path / "notes.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("INSERT INTO notes VALUES (1, '글')")
    connection.close()
    place = {"path": str(database), "layout": "table", "table": "notes"}
    settings, store = Database(**place), open_store(database)
    store.write(a_version(), batches(), Record(store.survey(settings).contents(), settings))
    ledger = Ledger("write_back", "notes", Units("vector", "vector"))
    ledger.measure(version="malgeul-1", chunks=3)
    write_json(tmp_path / "results/small/ledger/write_back/notes.json", ledger.to_json())
    config = {"run": "small", "documents": {"databases": [place], "write_back": "in_place"}}
    return lambda *argv: startup.start(config, ROOT, main=True, argv=["--cores", "1", *argv]), database


def test_a_version_that_somebody_removed_from_the_database_is_written_again(written, tmp_path, capsys):
    begin, database = written
    ledger = tmp_path / "results/small/ledger/write_back/notes.json"
    begin()
    assert ledger.exists()
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM embedding_versions")
    connection.close()
    begin("--dry-run")
    assert ledger.exists()
    assert [bad.shard for bad in begin().damage] == ["notes"]
    assert not ledger.exists()
    said = capsys.readouterr().err
    assert f"the version malgeul-1 stands in {database}, but it is not there; it is made again" in said


def test_a_version_without_chunks_is_none_that_could_be_missed(written, tmp_path):
    begin, _ = written
    ledger = Ledger("write_back", "notes", Units("vector", "vector"))
    ledger.measure(version="malgeul-0", chunks=0)
    write_json(tmp_path / "results/small/ledger/write_back/notes.json", ledger.to_json())
    assert begin().damage == []


def test_snakemakes_notice_of_a_profile_is_not_said_again(capsys):
    options = startup.parse_options(["--workflow-profile", str(ROOT / "profiles/default"), "--cores", "1"])
    assert startup.executes_jobs(options)
    assert capsys.readouterr().err == ""
