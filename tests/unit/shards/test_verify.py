"""Damage behind Snakemake's back is named and removed before the DAG is built (law 5)."""

import os
import time

import pytest

from malgeul.shards import verify
from malgeul.shards.files import sha256_of, write_json
from malgeul.shards.items import FinishedItems, items_folder
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.verify import (
    MEMORY,
    Damage,
    bring_back_times,
    find_damage,
    find_stale,
    ledger_files,
    prune,
    remove_damaged,
    remove_ledgers,
)
from unit.shards.test_job import Copier, make_job


@pytest.fixture
def results(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("a\n\nb\n")
    make_job(tmp_path, source).run(Copier())
    return tmp_path / "results" / "demo"


def test_untouched_results_have_no_damage(results):
    assert find_damage(results) == []


def test_a_touched_file_is_hashed_once_and_then_remembered(results, monkeypatch):
    file = results / "copies" / "s-0000.txt"
    os.utime(file, (1, 1))
    read = []
    monkeypatch.setattr(verify, "sha256_of", lambda path: (read.append(path), sha256_of(path))[1])
    for _ in range(2):
        assert find_damage(results) == []
    assert read == [file]
    (results / MEMORY).write_text("{")  # of a start that was killed
    assert find_damage(results) == []
    assert read == [file] * 2


def test_times_ahead_of_the_clock_are_brought_back_in_their_order(results):
    hour = 3600 * 10**9
    began = time.time_ns() + 1
    assert bring_back_times(results, began) == 0
    order = [results / name for name in ("plan.json", "copies/s-0000.txt", "ledger/copy/s-0000.json", ".audited")]
    for file, ago in zip(order, (hour, -hour, -1.5 * hour, -2 * hour), strict=True):
        file.touch()
        os.utime(file, ns=(began - int(ago), began - int(ago)))
    assert bring_back_times(results, began) == 4, "with the link that is kept of the output"
    times = [file.stat().st_mtime_ns for file in order]
    assert times[0] == began - hour
    assert times == sorted(set(times)), "none is as old as another"
    assert times[-1] == began
    assert find_damage(results) == []
    assert bring_back_times(results, began) == 0


def test_a_file_of_another_user_keeps_its_time_and_stops_no_run(results, monkeypatch):
    def refused(*_, **__):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert bring_back_times(results, time.time_ns() - 3600 * 10**9) == 0


@pytest.mark.parametrize(
    ("name", "damage", "what"),
    [
        ("copies/s-0000.txt", lambda file: file.write_text("x"), "has 1 bytes instead of 4"),
        ("copies/s-0000.txt", lambda file: file.write_text("wxyz"), "was altered"),
        ("copies/s-0000.txt", lambda file: file.unlink(), "is gone"),
        ("folders/s-0000/2.txt", lambda file: file.unlink(), "is gone"),
        ("folders/s-0000/2.txt", lambda file: file.write_text("x"), "was altered"),
    ],
)
def test_damage_is_named_and_its_output_and_ledger_are_removed(results, name, damage, what):
    damage(results / name)
    (found,) = find_damage(results)
    assert (found.stage, found.shard, found.file) == ("copy", "s-0000", name)
    assert what in found.what
    remove_damaged(results, [found])
    output = name if name.startswith("copies") else "folders/s-0000"
    assert not (results / output).exists()
    assert not (results / "ledger/copy/s-0000.json").exists()


def test_a_change_that_keeps_size_and_times_is_found_when_everything_is_hashed(results):
    file = results / "copies" / "s-0000.txt"
    before = file.stat()
    file.write_text("wxyz")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_damage(results) == []
    assert [bad.file for bad in find_damage(results, everything=True)] == ["copies/s-0000.txt"]


def test_a_damaged_ledger_is_damage(results):
    (results / "ledger/copy/s-0000.json").write_text("{")
    assert [bad.what for bad in find_damage(results)] == ["is no ledger"]


def test_prune_removes_shards_that_no_plan_holds(results):
    for shard in ("s-0000", "s-0001"):
        (results / "profile/copy" / shard).mkdir(parents=True)
        (results / "profile/copy" / shard / "trace.json.gz").write_bytes(b"x")
    (results / "benchmarks/copy_lines").mkdir(parents=True)
    (results / "benchmarks/copy_lines/s-0000.gpu.jsonl").write_text("{}\n")
    assert find_damage(results, everything=True) == [], "what no ledger vouches for is no damage"
    assert prune(results, {"copy": {"s-0000", "s-0001"}}) == []
    assert prune(results, {"copy": {"s-0001"}}) == ["copy/s-0000"]
    assert not (results / "copies/s-0000.txt").exists()
    assert not (results / "folders/s-0000").exists()
    assert not (results / "kept/copy/s-0000").exists()
    assert [place.name for place in (results / "profile/copy").iterdir()] == ["s-0001"]
    assert not (results / "ledger/copy/s-0000.json").exists()


def test_prune_removes_shards_whose_ledgers_went_before_their_jobs_ended(results):
    remove_ledgers(results, [("copy", "s-0000")])
    journal = results / "journal/copy/s-0000"
    journal.mkdir(parents=True)
    journal.with_suffix(".lock").touch()
    assert prune(results, {"copy": {"s-0000"}}) == []
    assert (journal.is_dir(), (results / "copies/s-0000.txt").is_file()) == (True, True)
    assert prune(results, {"copy": set()}) == ["copy/s-0000"]
    assert [file for file in results.rglob("*") if file.is_file()] == []
    assert not journal.exists()
    assert prune(results, {"copy": set()}) == []


def test_prune_leaves_finished_items_while_a_shard_is_still_to_be_made(results):
    FinishedItems(items_folder(results, "copy")).put("ab12", {"of": "a recording that has moved"})
    for wanted, value in (({"s-0000", "s-0001"}, {"of": "a recording that has moved"}), ({"s-0000"}, None)):
        prune(results, {"copy": wanted})
        assert FinishedItems(items_folder(results, "copy")).get("ab12") == value


def test_prune_removes_what_jobs_left_half_written(results):
    for name in (".index.part/vectors.npy", "copies/.s-0001.txt.part", "folders/.s-0001.part/0.txt"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("half")
    before = {file for file in results.rglob("*") if file.is_file() and ".part" not in str(file)}
    assert prune(results, {"copy": {"s-0000"}}) == []
    assert {file for file in results.rglob("*") if file.is_file()} == before


def test_prune_lets_jobs_of_its_own_run_finish_what_they_write(results, tmp_path):
    """As in ``snakemake all prune``."""
    began = time.time() - 1
    source = tmp_path / "source.txt"
    source.write_text("c\n")

    def work(job):
        Copier()(job)
        assert prune(results, {"copy": {"s-0000"}}, began) == []

    make_job(tmp_path, source).run(work)
    assert find_damage(results, everything=True) == []


def test_a_name_that_is_also_a_folder_of_ours_takes_nothing_else_along(tmp_path):
    for name in ("database/ledger/a", "database/dataset", "chunks/index", "dataset/train/0.arrow", "ledger/s/b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_damaged(tmp_path, [Damage("write_back", "database", "database/dataset", "is wrong")])
    remove_damaged(tmp_path, [Damage("merge", "all", "dataset/train/0.arrow", "is wrong")])
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"database/ledger/a", "chunks/index", "ledger/s/b.json"}


def test_a_shard_that_was_made_of_something_else_is_stale(tmp_path):
    for number, state in enumerate(["as planned", "of another plan", "", None]):
        ledger = Ledger("ingest", f"notes-000{number}", Units("record", "document"), state=state)
        write_json(tmp_path / f"ledger/ingest/{ledger.shard}.json", ledger.to_json())
    (tmp_path / "ledger/ingest/notes-0004.json").write_text("{")
    former = {key: value for key, value in ledger.to_json().items() if key != "state"}
    write_json(tmp_path / "ledger/ingest/notes-0005.json", former)
    states = {("ingest", f"notes-000{number}"): "as planned" for number in range(7)}
    stale = find_stale(tmp_path, states)
    assert stale == [("ingest", "notes-0001"), ("ingest", "notes-0002")]
    remove_ledgers(tmp_path, stale)
    assert [file.stem[-1] for file in ledger_files(tmp_path)] == ["0", "3", "4", "5"]
