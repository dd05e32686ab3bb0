"""Progress tells onlookers how far a job is, and never gets in its way."""

import json
import shutil
import threading
import time

from malgeul.shards import progress as module
from malgeul.shards.progress import STATE, Progress


def state(folder):
    return json.loads((folder / STATE).read_text())


def test_what_a_job_has_done_and_found_done_is_in_a_file_beside_its_journal(tmp_path):
    folder = tmp_path / "journal/embed/s-0000"
    with Progress("embed s-0000", 10, "chunks", folder) as progress:
        assert state(folder)["done"] == 0
        progress.resume(4)
        progress.advance(3)
    found = state(folder)
    assert (found["done"], found["resumed"], found["total"], found["unit"]) == (7, 4, 10, "chunks")
    assert found["started"] <= found["written"]
    assert [file.name for file in folder.iterdir()] == [STATE]


def test_the_file_is_written_now_and_then_only(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Progress, "_tell", lambda self: written.append(self.done))
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with Progress("a", None, "items", tmp_path) as progress:
        for _ in range(1000):
            clock[0] += 0.004
            progress.advance()
    assert written == [0, 250, 500, 750, 1000, 1000]


def test_what_was_resumed_is_told_though_the_next_item_takes_long(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STATE_SECONDS", 0.05)
    with Progress("a", 10, "items", tmp_path) as progress:
        for _ in range(4):
            progress.resume(1)
        until = time.monotonic() + 10
        while state(tmp_path)["done"] != 4 and time.monotonic() < until:
            time.sleep(0.01)
        assert state(tmp_path)["done"] == state(tmp_path)["resumed"] == 4
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_what_is_told_late_does_not_bring_the_folder_of_a_finished_job_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STATE_SECONDS", 0.01)
    tell, begun, removed = Progress._tell, threading.Event(), threading.Event()

    def held_up(progress):
        if isinstance(threading.current_thread(), threading.Timer):
            begun.set()
            removed.wait(10)
        tell(progress)

    monkeypatch.setattr(Progress, "_tell", held_up)
    with Progress("a", 10, "items", tmp_path / "journal") as progress:
        progress.resume(1)
        late = progress._late
        assert begun.wait(10)
    shutil.rmtree(tmp_path / "journal")
    removed.set()
    late.join()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_end_the_job(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with Progress("a", 1, "items", blocked / "folder") as progress:
        progress.advance()
    assert progress.done == 1


def test_a_progress_of_no_shard_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Progress("a", 1, "items") as progress:
        progress.advance()
    assert list(tmp_path.iterdir()) == []
