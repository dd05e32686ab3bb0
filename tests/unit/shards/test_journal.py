"""Finished items survive a kill at any byte (law 3)."""

import os
import shutil
import time

import pytest

from malgeul.shards.journal import Journal


@pytest.fixture
def written(tmp_path):
    journal = Journal(tmp_path)
    for k in range(3):
        journal.put(f"key{k}", {"n": k, "text": "가나다\n"}, bytes([k]) * 10)
    journal.close()
    return tmp_path


def test_entries_come_back_with_records_and_bytes(written):
    journal = Journal(written)
    assert list(journal) == ["key0", "key1", "key2"]
    assert journal.record("key1") == {"n": 1, "text": "가나다\n"}
    assert journal.blob("key2") == b"\x02" * 10


def test_a_part_of_the_bytes_is_read_by_its_place(written):
    journal = Journal(written)
    assert journal.offset("key2") == 20
    assert journal.read(journal.offset("key1") + 8, 4) == b"\x01\x01\x02\x02"


def test_a_kill_at_any_byte_of_the_journal_loses_at_most_the_last_entry(written):
    whole = {file: file.read_bytes() for file in (written / "journal.jsonl", written / "blobs.bin")}
    lines = whole[written / "journal.jsonl"]
    for cut in range(lines.rstrip(b"\n").rindex(b"\n") + 1, len(lines)):
        for file, held in whole.items():
            file.write_bytes(held)
        os.truncate(written / "journal.jsonl", cut)
        journal = Journal(written)
        assert list(journal) == ["key0", "key1"], cut
        journal.put("key2", {"n": 2}, b"again")
        journal.close()
        again = Journal(written)
        assert again.offset("key2") == 20, "bytes that no line names are cut off"
        assert [(again.record(key)["n"], again.blob(key)) for key in again] == [
            (0, b"\x00" * 10),
            (1, b"\x01" * 10),
            (2, b"again"),
        ], cut


def test_an_item_is_found_and_outlives_a_kill_as_soon_as_it_is_put(tmp_path):
    journal = Journal(tmp_path / "journal")
    for k in range(3):
        journal.put(f"key{k}", {"n": k}, bytes([k]) * 10)
        left = Journal(shutil.copytree(tmp_path / "journal", tmp_path / str(k)))  # what a kill would leave
        for one in (journal, left):
            assert list(one) == [f"key{n}" for n in range(k + 1)]
            assert (one.record(f"key{k}"), one.blob(f"key{k}")) == ({"n": k}, bytes([k]) * 10)


def test_a_machine_without_power_loses_a_second_of_work_at_most(tmp_path, monkeypatch):
    now, synced = 0.0, []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size > 0))
    journal = Journal(tmp_path)
    for now, files in ((0.5, 0), (1.5, 2), (2.0, 0), (2.6, 2)):
        synced.clear()
        journal.put(str(now), None, b"bytes")
        assert synced == [True] * files, now


def test_bytes_that_never_reached_the_disk_take_their_entry_with_them(written):
    os.truncate(written / "blobs.bin", 25)
    journal = Journal(written)
    assert list(journal) == ["key0", "key1"]


def test_an_altered_line_and_what_follows_is_not_trusted(written):
    file = written / "journal.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"n": 1', b'"n": 7'))
    assert list(Journal(written)) == ["key0"]


def test_an_item_whose_bytes_were_altered_is_not_finished(written):
    with (written / "blobs.bin").open("rb+") as blobs:
        blobs.seek(15)
        blobs.write(b"\xff")
    assert list(Journal(written)) == ["key0"]
