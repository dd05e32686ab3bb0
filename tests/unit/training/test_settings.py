"""Mistakes in trainings are named before any job starts, and a training is a stage only when it is asked for."""

import pytest

from malgeul.config import ConfigError, read_config
from malgeul.plan import ALL, Plan, make_plan
from malgeul.training.settings import base_precision, settings_of

CLASSIFIER = {"kind": "classifier", "base": "klue/bert-base", "files": ["labels.jsonl"]}
COREF = {"kind": "coref", "base": "kakaobank/kf-deberta-base"}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"x": {"kind": "coref"}}, "train.x.coref.base: Field required"),
        ({"x": {**COREF, "stesp": 5}}, "train.x.coref.stesp: unknown key; did you mean 'steps'?"),
        ({"x": {**COREF, "adapter": {"rnak": 5}}}, "adapter.rnak: unknown key; did you mean 'rank'?"),
        (
            {"x": {**COREF, "precision": "float32", "adapter": {"base_precision": "float16"}}},
            "base_precision float16 needs precision float16; what is computed in is float32",
        ),
        ({"x": {**COREF, "kind": "causal"}}, "does not match any of the expected tags"),
        ({"대명사": COREF}, "train.대명사"),
        ({"x": {**COREF, "measure_every": 15}}, "measure_every 15 is no multiple of log_every 10"),
        ({"x": {**COREF, "beside": {"after": "x"}}}, "the name after stands for the base or the trained model"),
        ({"x": {**CLASSIFIER, "files": []}}, "train.x.classifier.files: List should have at least 1 item"),
        ({"x": {**CLASSIFIER, "test_share": 0.95}}, "leave nothing for training"),
        ({"x": {"kind": "mlm", "base": "b"}}, "train.x: kind mlm learns from samples of select.kind sequences"),
    ],
)
def test_a_mistake_is_named(train, message):
    with pytest.raises(ConfigError) as error:
        read_config({"train": train})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("adapter", "computed", "kept"),
    [
        (None, "bfloat16", "float32"),  # they learn
        ({}, "bfloat16", "bfloat16"),
        ({}, "float32", "float32"),
        ({}, "float16", "float32"),  # some models overflow in it
        ({"base_precision": "float16"}, "float16", "float16"),
        ({"base_precision": "float32"}, "bfloat16", "float32"),
    ],
)
def test_a_base_that_does_not_learn_is_kept_in_what_is_computed_in(adapter, computed, kept):
    assert base_precision(settings_of({**COREF, "adapter": adapter}), computed) == kept


def plan_of(tmp_path, train, **more):
    (tmp_path / "글.txt").write_text("가", encoding="utf-8")
    text = {"sources": [{"path": str(tmp_path / "글.txt"), "name": "notes", "format": "txt"}]}
    return make_plan(read_config({"text": text, "train": train, **more}), tmp_path)


def test_no_training_no_stage(tmp_path):
    for train in ({}, None):
        assert not plan_of(tmp_path, train).shards_of().keys() & {"train", "evaluate"}


def test_a_training_is_a_shard_of_two_stages(tmp_path):
    (tmp_path / "labels.jsonl").write_text("", encoding="utf-8")
    plan = plan_of(tmp_path, {"topics": {**CLASSIFIER, "files": [str(tmp_path / "labels.jsonl")]}, "names": COREF})
    assert plan.shards_of()["train"] == plan.shards_of()["evaluate"] == ["names", "topics"]
    assert plan.parents_of("train", "names") == [("merge", ALL)]
    assert plan.parents_of("train", "topics") == []
    assert plan.parents_of("evaluate", "topics") == [("train", "topics")]
    assert Plan.from_json(plan.to_json()) == plan


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.topics\.files: .*labels\.jsonl does not exist"):
        plan_of(tmp_path, {"topics": CLASSIFIER})
    with pytest.raises(ConfigError, match=r"train\.names\.also_on: other/dataset does not exist"):
        plan_of(tmp_path, {"names": {**COREF, "also_on": {"seed": "other/dataset"}}})


def test_a_training_on_the_dataset_needs_one(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "d.sqlite") as database:
        database.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, text TEXT)")
        database.execute("INSERT INTO documents VALUES ('1', '가')")
    documents = {"databases": [{"path": str(tmp_path / "d.sqlite"), "layout": "table", "table": "documents"}]}
    config = read_config({"documents": documents, "train": {"names": COREF}})
    with pytest.raises(ConfigError, match=r"train\.names: kind coref learns from the dataset, but there are neither"):
        make_plan(config, tmp_path)


def test_what_a_kind_reads_is_known():
    assert settings_of({**COREF, "also_on": {"seed": "x"}}).reads == ["x"]
    assert settings_of(CLASSIFIER).reads == ["labels.jsonl"]
    pairs = {"kind": "embedding", "base": "b", "files": ["p.jsonl"], "scored": "s.jsonl"}
    assert settings_of(pairs).reads == ["p.jsonl", "s.jsonl"]
