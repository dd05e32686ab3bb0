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
    for line in ("| filter of web | malgeul |", "| filter of transcripts | speech |"):
        assert line in card
    assert "| personal numbers | replaced by placeholders |" in card
    assert "boilerplate" not in card


def test_the_card_tells_what_was_scored_and_cut_out(fresh_text):
    fresh_text.config["filter"] = {
        "boilerplate": {"documents": 50, "remove": True},
        "scorers": {"korean": {"kind": "language", "minimum": 0.01}},
        "mask_personal_numbers": False,
    }
    fresh_text.succeed()
    card = (fresh_text.results / "dataset/README.md").read_text(encoding="utf-8")
    for line in (
        "| scorer korean | language, minimum 0.01 |",
        "| boilerplate | lines of 50 documents are cut out |",
        "| personal numbers | left |",
    ):
        assert line in card


def test_sequences_for_a_language_model_hold_every_kept_document(tiny):
    tiny.config["select"] = {"kind": "sequences", "sequence_length": 128}
    finished = tiny.succeed()
    for rule in ("screen_text", "filter_text", "embed_chunks"):
        assert rule not in finished.jobs
    merged = load_from_disk(str(tiny.results / "dataset"))
    kept = sum(ledger["out"] for ledger in tiny.ledgers("filter").values())
    documents = {doc_id for split in merged.values() for ids in split["doc_ids"] for doc_id in ids}
    assert len(documents) == kept
    assert max(len(ids) for split in merged.values() for ids in split["input_ids"]) <= 128
