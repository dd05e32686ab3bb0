"""Finished items survive a kill at any byte (law 3)."""

import os

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
    file = written / "journal.jsonl"
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for cut in range(last, len(whole)):
        file.write_bytes(whole[:cut])
        journal = Journal(written)
        assert list(journal) == ["key0", "key1"], cut
        journal.put("key2", {"n": 2}, b"again")
        journal.close()
        assert Journal(written).blob("key2") == b"again"


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
