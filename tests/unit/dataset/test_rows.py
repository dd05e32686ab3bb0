"""A row masks the whole mention, keeps its particle, and says where every mention of the name stands."""

from collections import Counter

import pytest

from malgeul.dataset.rows import COLUMNS, IGNORED, row_of
from malgeul.dataset.samples import SPLITS, samples_of
from malgeul.dataset.saved import SplitWriter, describe, link_split, schema_of
from unit.dataset.test_samples import CHOICE


@pytest.fixture
def rows(tokenizer, document):
    samples = list(samples_of(document, tokenizer, CHOICE, Counter()))
    ids = tokenizer.ids([document["text"]])[0]
    return [(sample, row_of(sample, ids, tokenizer)) for sample in samples]


def test_labels_restore_the_text_and_the_loss_sees_the_masked_mention_only(rows, wordpiece):
    for sample, row in rows:
        masked = [k for k, label in enumerate(row["labels"]) if label != IGNORED]
        k = row["masked_index"]
        assert masked == list(range(row["mention_starts"][k], row["mention_ends"][k]))
        assert {row["input_ids"][position] for position in masked} == {wordpiece.mask_token_id}
        name = wordpiece.decode([row["labels"][position] for position in masked])
        assert name.replace(" ", "").replace("##", "") == sample["entity"]


def test_the_other_mentions_are_left_to_be_found(rows, wordpiece):
    for sample, row in rows:
        assert len(row["mention_starts"]) > 1
        for k, (start, end) in enumerate(zip(row["mention_starts"], row["mention_ends"], strict=True)):
            if k != row["masked_index"]:
                name = wordpiece.decode(row["input_ids"][start:end]).replace(" ", "").replace("##", "")
                assert name == sample["entity"]


def test_a_row_is_unpadded_and_no_longer_than_asked(rows, wordpiece):
    for _, row in rows:
        assert set(row) == set(COLUMNS)
        assert wordpiece.pad_token_id not in row["input_ids"]
        assert len(row["input_ids"]) <= CHOICE.capacity + 2
        assert (row["input_ids"][0], row["input_ids"][-1]) == (wordpiece.cls_token_id, wordpiece.sep_token_id)


def test_every_shard_and_the_merged_dataset_open_with_load_from_disk(rows, tmp_path):
    from datasets import concatenate_datasets, load_from_disk

    shards = []
    for number in range(3):
        folder = tmp_path / f"shard{number}"
        folder.mkdir()
        for split in SPLITS:
            with SplitWriter(folder / f"{split}.arrow", COLUMNS) as writer:
                for _, row in rows[number::3] if split == "train" else []:
                    writer.write(row)
        describe(folder, {split: [f"../{split}.arrow"] for split in SPLITS}, COLUMNS)
        shards.append(load_from_disk(str(folder)))
    merged = tmp_path / "merged"
    parts = {split: [tmp_path / f"shard{k}" / f"{split}.arrow" for k in range(3)] for split in SPLITS}
    describe(merged, {split: link_split(merged, split, parts[split], COLUMNS) for split in SPLITS}, COLUMNS)
    dataset = load_from_disk(str(merged))
    assert {split: len(dataset[split]) for split in SPLITS} == {"train": len(rows), "validation": 0, "test": 0}
    expected = concatenate_datasets([shard["train"] for shard in shards])
    assert dataset["train"].to_list() == expected.to_list()
    assert dataset["train"].features == expected.features
    assert str(dataset["train"].features["input_ids"].feature.dtype) == "int32"


def test_files_of_other_columns_are_not_merged(tmp_path):
    import pyarrow as pa

    other = pa.schema([pa.field("input_ids", pa.list_(pa.int64()))])
    with pa.ipc.new_stream(str(tmp_path / "other.arrow"), other):
        pass
    with pytest.raises(ValueError, match="has other columns"):
        link_split(tmp_path / "merged", "train", [tmp_path / "other.arrow"], COLUMNS)
    assert schema_of(COLUMNS).names == list(COLUMNS)
