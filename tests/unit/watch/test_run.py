"""What became of every shard is read from outside, and nothing in the results is touched by looking."""

import os

import pytest

from malgeul.watch.run import RunReader, started_at
from unit.watch.conftest import GONE, NOW

HOUR = 3600.0


@pytest.fixture(autouse=True)
def processes_are_old(monkeypatch):
    """This process was started long before any lock of a fabricated run was written."""
    monkeypatch.setattr("malgeul.watch.run.started_at", lambda process: NOW - 1000 * HOUR)


def stages(view):
    return {one.name: one for one in view.stages}


def counts(view, stage):
    return {state: n for state, n in stages(view)[stage].shards.items() if n}


def files_of(results):
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(results.rglob("*"))}


def test_a_run_that_does_not_exist_is_absent(tmp_path):
    assert RunReader(tmp_path / "nothing").read(NOW).state == "absent"
    assert not (tmp_path / "nothing").exists()


def test_a_run_that_was_planned_has_all_its_shards_left(small):
    view = RunReader(small.results).read(NOW)
    assert view.state == "stopped"
    assert [one.name for one in view.stages] == ["export", "chunk", "embed", "index"]
    assert counts(view, "export") == {"left": 4}
    assert stages(view)["export"].total == 400, "rows are known from the plan"
    assert stages(view)["chunk"].total is None, "chunks are not known before their documents"


def test_a_running_run(small):
    small.drive(since=NOW - 100)
    small.done("export", 0, 100, given=80, started=NOW - 90, seconds=10)
    small.done("export", 1, 100, given=60, started=NOW - 80, seconds=10)
    small.running("export", 2, started=NOW - 5, done=40, total=100)
    small.done("chunk", 0, 80, given=400, started=NOW - 60, seconds=10)
    small.running("chunk", 1, started=NOW - 4, done=30, total=60)
    small.running("embed", 0, started=NOW - 9, done=150, total=300)  # 300 distinct texts of 400 chunks
    view = RunReader(small.results).read(NOW)
    assert view.state == "running"
    assert view.holder.startswith(f"process {os.getpid()} on ")
    assert counts(view, "export") == {"done": 2, "running": 1, "left": 1}
    assert (stages(view)["export"].items, stages(view)["export"].left) == (240, 160)
    assert counts(view, "chunk") == {"done": 1, "running": 1, "left": 2}
    chunk = stages(view)["chunk"]
    assert (chunk.items, chunk.total, chunk.estimated) == (110, 280, True)  # 70 a shard where it is not known
    assert stages(view)["embed"].items == 200, "progress in texts is taken in proportion"
    assert (stages(view)["export"].unit, chunk.unit) == ("row", "document")


def test_a_finished_run(small):
    small.drive(since=NOW - 100, process=GONE)
    for shard in range(4):
        for n, stage in enumerate(("export", "chunk", "embed")):
            small.done(stage, shard, 100, started=NOW - 90 + n, seconds=0.5)
    small.done("index", 0, 400, started=NOW - 20, seconds=1)
    view = RunReader(small.results).read(NOW)
    assert view.state == "finished"
    assert stages(view)["embed"].left == 0


def test_a_job_that_failed_is_told_with_its_log_while_the_run_goes_on(small):
    small.drive(since=NOW - 100)
    small.log("export_documents", "law-0000", "… ERROR malgeul: export law-0000 failed\nTraceback", written=NOW - 5)
    small.log("export_documents", "law-0001", "… ERROR malgeul: export law-0001 failed", written=NOW - 500)
    small.log("export_documents", "law-0002", "", written=NOW - 5)
    view = RunReader(small.results).read(NOW)
    assert counts(view, "export") == {"failed": 1, "running": 1, "left": 2}
    (failure,) = view.failures
    assert (failure.stage, failure.shard) == ("export", "law-0000")
    assert str(failure.log).endswith("logs/export_documents/law-0000.log")
    assert stages(view)["export"].left == 300, "nobody works on what failed"


@pytest.mark.parametrize(("said", "failures"), [("INFO fetch: 3 of 9 files", 0), ("ERROR fetch: no such model", 1)])
def test_a_model_that_could_not_be_had_is_told_and_one_on_its_way_is_not(small, said, failures):
    small.drive(since=NOW - 100)
    small.log("fetch_model", "org-model-0a1b2c", f"2026-01-01 00:00:00,000 {said}", written=NOW - 5)
    told = [(one.stage, one.shard) for one in RunReader(small.results).read(NOW).failures]
    assert told == [("fetch_model", "org-model-0a1b2c")] * failures


def test_a_stage_whose_shards_take_different_things_counts_items(small):
    small.done("export", 0, 100, started=NOW - 90, seconds=10)
    small.done("export", 1, 100, started=NOW - 90, seconds=10)
    file = small.results / "ledger" / "export" / "law-0001.json"
    file.write_text(file.read_text().replace('"row"', '"recording"'))
    assert stages(RunReader(small.results).read(NOW))["export"].unit == "item"


def test_jobs_of_a_run_that_was_killed_failed(small):
    small.drive(since=NOW - 100, process=GONE)
    small.running("export", 0, started=NOW - 50, done=10, total=100, process=GONE, written=NOW - 40)
    small.log("export_documents", "law-0000", "", written=NOW - 50)
    view = RunReader(small.results).read(NOW)
    assert view.state == "stopped"
    assert counts(view, "export") == {"failed": 1, "left": 3}


def test_jobs_of_a_run_that_somebody_stopped_are_left_and_none_failed(small):
    small.drive(since=NOW - 100, process=GONE)
    small.log("export_documents", "law-0000", "… WARNING a: export law-0000: stopped by SIGINT\n", written=NOW - 50)
    small.log("fetch_model", "org-model-0a1b2c", "… WARNING malgeul: fetch: stopped by SIGINT\n", written=NOW - 50)
    view = RunReader(small.results).read(NOW)
    assert counts(view, "export") == {"left": 4}
    assert view.failures == []


def test_a_job_that_was_killed_in_a_run_that_lives_failed_when_it_has_been_silent(small):
    small.drive(since=NOW - 500)
    small.running("export", 0, started=NOW - 400, done=10, total=100, process=GONE, written=NOW - 300)
    small.log("export_documents", "law-0000", "", written=NOW - 300)
    assert counts(RunReader(small.results).read(NOW), "export") == {"failed": 1, "left": 3}


def test_a_ledger_that_is_older_than_what_it_was_made_of_does_not_count(small):
    small.drive(since=NOW - 100)
    small.done("export", 0, 100, started=NOW - 90, seconds=10)
    small.done("chunk", 0, 100, given=500, started=NOW - 9000, seconds=10)
    small.done("embed", 0, 500, started=NOW - 8000, seconds=10)
    view = RunReader(small.results).read(NOW)
    assert counts(view, "export")["done"] == 1
    assert counts(view, "chunk") == {"left": 4}
    assert counts(view, "embed") == {"left": 4}, "nor what was made of that"


def test_a_process_number_that_was_given_to_another_holds_nothing(small, monkeypatch):
    small.drive(since=NOW - 100)
    monkeypatch.setattr("malgeul.watch.run.started_at", lambda process: NOW - 10)
    assert RunReader(small.results).read(NOW).state == "stopped"


def test_a_job_on_another_machine_lives_as_long_as_it_writes(small):
    small.drive(since=NOW - 2000, host="elsewhere")
    small.running("export", 0, started=NOW - 1900, done=10, total=100, host="elsewhere", written=NOW - 20)
    small.running("export", 1, started=NOW - 1900, done=10, total=100, host="elsewhere", written=NOW - 1500)
    view = RunReader(small.results).read(NOW)
    assert view.state == "running"
    assert counts(view, "export") == {"running": 1, "left": 3}
    assert RunReader(small.results).read(NOW + 1000).state == "stopped"


def test_a_ledger_that_changes_is_read_again_and_one_that_does_not_is_not(small, monkeypatch):
    from malgeul.watch import run as module

    small.done("export", 0, 100, started=NOW - 90, seconds=10)
    opened = []
    read = module.read_ledger
    monkeypatch.setattr(module, "read_ledger", lambda file: (opened.append(file.stem), read(file))[1])
    reader = RunReader(small.results)
    reader.read(NOW)
    reader.read(NOW)
    assert opened == ["law-0000"]
    small.done("export", 0, 90, started=NOW - 90, seconds=10)
    assert stages(reader.read(NOW))["export"].items == 90


def test_half_a_progress_file_and_a_ledger_that_is_none_are_no_obstacle(small):
    small.drive(since=NOW - 100)
    small.running("export", 0, started=NOW - 5)
    (small.results / "journal/export/law-0000/progress.json").write_text('{"done": 1')
    (small.results / "ledger/export").mkdir(parents=True)
    (small.results / "ledger/export/law-0001.json").write_text("[]")
    view = RunReader(small.results).read(NOW)
    assert counts(view, "export") == {"running": 1, "left": 3}


def test_looking_touches_nothing(small):
    small.drive(since=NOW - 100)
    small.done("export", 0, 100, started=NOW - 90, seconds=10)
    small.running("export", 1, started=NOW - 5, done=40, total=100)
    before = files_of(small.results)
    RunReader(small.results).read(NOW)
    assert files_of(small.results) == before


def test_a_complete_run_of_every_stage_is_finished(complete_run):
    view = RunReader(complete_run.results).read()
    assert view.state == "finished"
    assert {one.name for one in view.stages} == set(complete_run.plan.shards_of())
    assert not view.failures


@pytest.fixture
def complete_run(tmp_path_factory):
    from unit.report.conftest import FabricatedRun

    fabricated = FabricatedRun(tmp_path_factory.mktemp("fabricated") / "results" / "made")
    fabricated.make_everything()
    return fabricated


def test_the_start_of_a_process_is_known_to_the_second(monkeypatch):
    monkeypatch.undo()
    import subprocess
    import sys
    import time

    before = time.time()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert before - 2 <= started_at(process.pid) <= time.time() + 2
    finally:
        process.communicate(b"\n")
    assert started_at(GONE) == float("inf")
