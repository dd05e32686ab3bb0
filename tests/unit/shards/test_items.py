"""What was finished once is found by its key from any shard, until no ledger names it."""

from malgeul.shards.files import write_json
from malgeul.shards.items import FinishedItems, items_folder
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.verify import forget_gone_items

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
    ((_, file),) = items.entries()
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
