"""The stage: batches of documents give the rows that one at a time would, and every sample is accounted for."""

import pytest
from datasets import load_from_disk

import tokenize_samples
from cap_entities import cap_entities
from malgeul import ROOT
from malgeul.dataset.settings import SelectSettings
from malgeul.shards.ledger import read_ledger
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.text.filtering import FEATURES, FILTERED
from select_samples import select_samples
from unit.dataset.conftest import SENTENCES

TOKENIZER = {"tokenizer": str(ROOT / "resources/models/tokenizer-ko-demo"), "revision": None}
NAMES = ("김민수", "서울", "부산", "블랙핑크")


@pytest.fixture
def tokenized(make_job, results):
    """Select, cap and tokenize documents; returns the rows of the training split and the ledger."""

    def run(texts, **select):
        (results / "filtered").mkdir(parents=True, exist_ok=True)
        filtered = results / "filtered/web-0000.parquet"
        with TableWriter(filtered, FILTERED) as table:
            for name, text in texts.items():
                mentions = [
                    {"surface": surface, "start": start, "end": start + len(surface), "tag": "NNP"}
                    for start in range(len(text))
                    for surface in NAMES
                    if text.startswith(surface, start)
                ]
                features = {field.name: None for field in FEATURES}
                document = {"id": name, "text": text, "source": "web", "meta": "{}", "features": features, "scores": {}}
                table.write({**document, "n_morphemes": 9, "n_masked": 0, "mentions": mentions})
        settings = SelectSettings(validation_share=0, test_share=0, min_distance=1, **select).model_dump(mode="json")
        select_job = make_job(
            "select",
            "web-0000",
            {"samples": "samples/web-0000.parquet"},
            units=("document", "sample"),
            inputs={"filtered": [filtered]},
            settings=settings,
            tokenize=TOKENIZER,
        )
        select_job.run(select_samples)
        samples = [select_job.outputs["samples"]]
        ledgers = ["select/web-0000.json"]
        cap_job = make_job(
            "cap",
            "all",
            {"entity_cap": "entity_cap.parquet"},
            units=("sample", "saturated entity"),
            ledgers=ledgers,
            inputs={"samples": samples},
            max_entity_freq=settings["max_entity_freq"],
        )
        cap_job.run(cap_entities)
        job = make_job(
            "tokenize",
            "web-0000",
            {"tokenized": "tokenized/web-0000"},
            units=("sample", "row"),
            ledgers=ledgers,
            inputs={"filtered": [filtered], "samples": samples, "entity_cap": [results / "entity_cap.parquet"]},
            settings=TOKENIZER,
            select={key: settings[key] for key in ("kind", "packing", "sequence_length")},
        )
        job.run(tokenize_samples.tokenize_samples)
        rows = load_from_disk(str(results / "tokenized/web-0000"))["train"].to_list()
        return rows, read_ledger(job.outputs["ledger"]), list(read_rows(samples[0]))

    return run


TEXTS = {f"글{k}": " ".join((SENTENCES * 4)[k:]) for k in range(7)} | {"이름 없는 글": "아무 이름도 없는 글이다. " * 9}


@pytest.mark.parametrize("select", [{}, {"kind": "sequences"}, {"kind": "sequences", "packing": "document"}])
def test_the_size_of_a_batch_changes_nothing(tokenized, monkeypatch, select):
    whole, ledger, samples = tokenized(TEXTS, sequence_length=48, **select)
    assert len(whole) > 7
    assert (ledger.imbalance(), ledger.taken.n) == (None, len(samples))
    monkeypatch.setattr(tokenize_samples, "BATCH_CHARACTERS", 1)
    assert tokenized(TEXTS, sequence_length=49, **select)[0] != whole  # another key: the shard is made anew
    assert tokenized(TEXTS, sequence_length=48, **select)[0] == whole


def test_samples_over_the_cap_are_rejected_and_whole_documents_with_them(tokenized):
    rows, ledger, samples = tokenized(TEXTS, sequence_length=256, max_entity_freq=1)
    assert len(rows) == len({sample["entity"] for sample in samples}) < len(samples)
    assert {row["doc_id"] for row in rows} < {sample["doc_id"] for sample in samples}
    assert ledger.rejected == {"entity_cap": len(samples) - len(rows)}
    assert ledger.imbalance() is None
