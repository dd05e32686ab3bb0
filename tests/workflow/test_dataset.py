"""The merged dataset opens as datasets and Hugging Face's users expect, and its rows are those of the shards."""

import yaml
from datasets import concatenate_datasets, load_dataset, load_from_disk


def test_rows_are_those_of_the_shards_one_after_the_other(undisturbed):
    merged = load_from_disk(str(undisturbed.results / "dataset"))
    shards = [load_from_disk(str(folder)) for folder in sorted((undisturbed.results / "tokenized").iterdir())]
    assert sum(merged.num_rows.values()) > 0
    for split in merged:
        assert merged[split].to_list() == concatenate_datasets([shard[split] for shard in shards]).to_list()


def test_the_parquet_export_opens_by_its_folder_alone(undisturbed, tmp_path):
    merged = load_from_disk(str(undisturbed.results / "dataset"))
    exported = load_dataset(str(undisturbed.results / "dataset/parquet"), cache_dir=str(tmp_path))
    assert exported.keys() == merged.keys()
    for split in merged:
        assert exported[split].features == merged[split].features
        assert exported[split].to_list() == merged[split].to_list()


def test_the_card_tells_sources_funnel_versions_and_hashes(undisturbed):
    card = (undisturbed.results / "dataset/README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"
    for line in ("| web | not given |", "| ingest |", "| filter |", "| kiwipiepy |", "| tokenizer | resources/models/"):
        assert line in card
