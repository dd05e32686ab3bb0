"""What was finished once is found by its key from any shard, until no ledger names it."""

import os

import pytest

from malgeul.shards.files import sha256_of, write_json
from malgeul.shards.items import FinishedFiles, FinishedItems, entries, is_intact, items_folder
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.verify import forget_gone_items, prune

KEY, OTHER = "ab" * 16, "cd" * 16


def test_a_value_comes_back_and_the_last_one_counts(tmp_path):
    items = FinishedItems(tmp_path)
    assert items.get(KEY) is None
    items.put(KEY, {"text": "여보세요", "name": "a.wav"})
    items.put(KEY, {"text": "여보세요", "name": "b.wav"})
    assert FinishedItems(tmp_path).get(KEY) == {"text": "여보세요", "name": "b.wav"}
    assert FinishedItems(tmp_path).get(OTHER) is None
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 1


def test_a_value_whose_bytes_were_altered_is_none_and_can_be_put_again(tmp_path):
    items = FinishedItems(tmp_path)
    items.put(KEY, ["a"])
    ((_, file),) = entries(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    assert items.get(KEY) is None
    items.put(KEY, ["a"])
    assert items.get(KEY) == ["a"]


def test_what_no_ledger_names_is_forgotten(tmp_path):
    ledger = Ledger("transcribe", "calls-0000", Units("channel", "recording"), items={KEY: ["transcripts/a.json"]})
    write_json(tmp_path / "ledger/transcribe/calls-0000.json", ledger.to_json())
    items = FinishedItems(items_folder(tmp_path, "transcribe"))
    items.put(KEY, 1)
    items.put(OTHER, 2)
    FinishedItems(items_folder(tmp_path, "diarize")).put(KEY, 3)
    half = items_folder(tmp_path, "transcribe") / "ab" / f".{KEY}.0.1"
    half.write_bytes(b"1")
    assert forget_gone_items(tmp_path) == 3
    assert (items.get(KEY), items.get(OTHER)) == (1, None)
    assert not half.exists()


def test_pruning_forgets_nothing_that_a_shard_may_look_for_which_is_still_to_be_made(tmp_path):
    """Its ledger went when its job started, which was killed; or a recording has moved to it from the shard pruned."""
    gone = Ledger("transcribe", "calls-0000", Units("channel", "recording"), items={KEY: ["transcripts/a.json"]})
    write_json(tmp_path / "ledger/transcribe/calls-0000.json", gone.to_json())
    items = FinishedItems(items_folder(tmp_path, "transcribe"))
    items.put(KEY, 1)
    wanted = {"transcribe": {"calls-0001"}}
    assert prune(tmp_path, wanted) == ["transcribe/calls-0000"]
    assert items.get(KEY) == 1
    made = Ledger("transcribe", "calls-0001", Units("channel", "recording"))
    write_json(tmp_path / "ledger/transcribe/calls-0001.json", made.to_json())
    assert prune(tmp_path, wanted) == []
    assert items.get(KEY) is None


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_kept_whole_whatever_becomes_of_it(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    files = FinishedFiles(tmp_path / "finished")
    assert files.paths() == []
    for text in ("하나", "둘", "둘"):
        (tmp_path / "a.parquet").write_text(text)
        files.put(tmp_path / "a.parquet")
        files.put(tmp_path / "a.parquet")
        (tmp_path / "a.parquet").unlink()
    assert sorted(file.read_text() for file in files.paths()) == ["둘", "하나"]
    assert len([file for file in files.folder.rglob("*") if file.is_file()]) == 2
    altered, good = files.paths()
    altered.write_text("셋")
    for file, intact in ((altered, False), (good, True)):
        with file.open("rb") as opened:
            opened.read(1)
            assert is_intact(opened, file) == intact


def test_a_file_goes_when_no_ledger_has_it_for_its_output(tmp_path):
    files = FinishedFiles(items_folder(tmp_path, "embed"))
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        files.put(tmp_path / name)
    ledger = Ledger("embed", "law-0000", Units("chunk", "vector"))
    ledger.outputs = {"embeddings/law-0000.parquet": {"sha256": sha256_of(tmp_path / "a")}}
    write_json(tmp_path / "ledger/embed/law-0000.json", ledger.to_json())
    half = files.folder / "ab/.abcd.17"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"1")
    assert half not in files.paths()
    assert forget_gone_items(tmp_path) == 2
    assert [file.read_text() for file in files.paths()] == ["a"]
    ledger_file = tmp_path / "ledger/embed/law-0000.json"
    ledger_file.unlink()
    assert forget_gone_items(tmp_path) == 1
