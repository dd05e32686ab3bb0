"""The card tells where rows come from and what was left out; it is the same for the same data."""

import shutil

import pytest
import yaml

from malgeul.dataset.card import card_of, history
from malgeul.dataset.samples import SPLITS
from malgeul.dataset.saved import SplitWriter, write_parquet
from malgeul.shards.faults import Fault
from malgeul.shards.ledger import Ledger, Units


def ledger(stage, shard, taken, rejected=(), quarantined=()):
    made = Ledger(stage, shard, Units("document", "document"), seconds=1.5)
    for number in range(taken - len(rejected) - len(quarantined)):
        made.use(f"{number}")
        made.give(f"{number}")
    for number, reason in enumerate(rejected):
        made.reject(f"r{number}", reason)
    for number, kind in enumerate(quarantined):
        made.quarantine(f"q{number}", Fault(kind, "x"))
    made.versions = {"kiwipiepy": "0.24.1"}
    return made


def card(**changes):
    told = history(
        [
            ledger("ingest", "web-0000", 5, quarantined=["BROKEN_JSON"]),
            ledger("ingest", "web-0001", 3),
            ledger("filter", "web-0000", 4, rejected=["too_short", "a|b"]),
            ledger("filter", "web-0001", 3, rejected=["too_short"]),
        ]
    )
    given = {
        "told": told,
        "rows_of_sources": {"web": {"train": 1200, "validation": 3, "test": 0}},
        "licences": {"web": "cc-by-sa-4.0", "unused": None},
        "made_with": {"tokenizer": "someone/bert"},
        "kind": "mentions",
        "content": "ab12",
        "suffix": "parquet",
    }
    return card_of(**given | changes)


def test_it_sums_up_the_shards():
    text = card()
    assert "| web | cc-by-sa-4.0 | 1,200 | 3 | 0 |" in text
    assert "| ingest | 8 | 7 | BROKEN_JSON 1 |" in text
    assert "| filter | 7 | 4 | a\\|b 1, too_short 2 |" in text
    assert "| kiwipiepy | 0.24.1 |" in text
    assert "| tokenizer | someone/bert |" in text
    assert "`ab12`" in text


def test_its_head_is_one_that_the_hub_reads():
    head = yaml.safe_load(card().split("---")[1])
    files = [{"split": split, "path": f"{split}/*.parquet"} for split in ("train", "validation")]
    configs = [{"config_name": "default", "data_files": files}]
    assert head == {"language": ["ko"], "license": "cc-by-sa-4.0", "configs": configs}


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
@pytest.mark.parametrize("filled", [SPLITS, ("train",), ("train", "test")])
def test_load_dataset_opens_the_folder_by_it_also_where_a_split_has_no_rows(tmp_path, suffix, filled):
    from datasets import load_dataset

    columns = {"target": "string"}
    for split in SPLITS:
        (tmp_path / "data" / split).mkdir(parents=True)
        arrow = tmp_path / "data" / split / "data-00000-of-00001.arrow"
        with SplitWriter(arrow, columns) as writer:
            for name in ["서울", "부산"] if split in filled else []:
                writer.write({"target": name})
        if suffix == "parquet":
            write_parquet(arrow, arrow.with_suffix(".parquet"))
            arrow.unlink()
        else:  # what datasets leaves there when the dataset is mapped
            shutil.copyfile(arrow, arrow.with_name("cache-0a.arrow"))
    rows = {split: 2 * (split in filled) for split in SPLITS}
    (tmp_path / "data/README.md").write_text(card(rows_of_sources={"web": rows}, suffix=suffix), encoding="utf-8")
    opened = load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert opened.num_rows == dict.fromkeys(filled, 2)


def test_no_licence_is_made_up():
    rows = {"train": 1, "validation": 0, "test": 0}
    for licences in ({}, {"web": None}, {"web": "mit", "news": "cc0-1.0"}):
        text = card(rows_of_sources={"web": rows, "news": rows}, licences=licences)
        assert yaml.safe_load(text.split("---")[1])["license"] == "other"
    assert "| news | not given | 1 | 0 | 0 |" in card(rows_of_sources={"news": rows})


def test_the_columns_are_those_of_the_kind_of_samples():
    assert "| `mention_starts` | `list<int32>` |" in card()  # bare, <int32> is a tag to Markdown
    assert "| `doc_starts` | `list<int32>` |" in card(kind="sequences")


def test_times_do_not_change_it():
    again = history([ledger("ingest", "web-0000", 2)])
    later = ledger("ingest", "web-0000", 2)
    later.seconds, later.started, later.reused = 99.0, 1e9, 2
    assert history([later]) == again
