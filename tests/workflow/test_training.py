"""Trainings are a part of the DAG only when the config asks for them, and then part of the proof and the report."""

from __future__ import annotations

import json

import pytest

from unit.training.conftest import labelled, make_base, write_lines
from workflow.conftest import DEMO, Workflow

COURSE = {"batch": 4, "steps": 6, "log_every": 2, "measure_every": 4, "learning_rate": 1e-3}


@pytest.fixture
def trained(tmp_path) -> Workflow:
    base = str(make_base(tmp_path / "tiny-bert", positions=128))
    file = write_lines(tmp_path / "topics.jsonl", [*labelled(60), {"text": "글"}])
    config = {
        "run": "trained",
        "text": {"sources": [{"name": "blogs", "path": str(DEMO / "text/web/blogs.jsonl"), "format": "jsonl"}]},
        "embed": {"inputs": []},
        "profile": True,
        "select": {"sequence_length": 128, "validation_share": 0.2, "test_share": 0.2},
        "train": {
            "names": {**COURSE, "kind": "coref", "base": base},
            "topics": {**COURSE, "kind": "classifier", "base": base, "files": [str(file)], "adapter": {"rank": 2}},
        },
    }
    return Workflow(tmp_path, config)


def test_models_are_trained_measured_proved_and_shown(trained):
    two = ("--set-resources", "train_model:gpu=2", "--resources", "gpu=2")
    trained.succeed(*two)
    audit = json.loads((trained.results / "audit.json").read_text(encoding="utf-8"))
    assert audit["holds"]
    assert audit["stages"]["train"]["in"] == trained.ledger("merge", "all")["out"] + 61
    assert trained.ledger("train", "names")["device"]["processes"] == 2
    topics = trained.ledger("train", "topics")
    assert (topics["used"], len(topics["quarantined"])) == (60, 1)
    assert (trained.results / "trained/names/model.safetensors").is_file()
    assert (trained.results / "trained/topics/adapter_model.safetensors").is_file()
    config = json.loads((trained.results / "trained/topics/config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "날씨", "1": "야구", "2": "음식"}
    found = json.loads((trained.results / "evaluated/names.json").read_text(encoding="utf-8"))["sets"]["test"]
    assert found["figures"]["after"]["loss"] < found["figures"]["before"]["loss"]
    page = (trained.results / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="trainings">Trainings' in page
    assert page.count("<polyline") == 4
    loads = page[page.index("Loading models") :]
    for stage, name in (("Train", "names"), ("Train", "topics"), ("Measure models", "names")):
        assert f'{stage} <span class="id">{name}</span>' in loads
    shown = page[page.index("Slowest operators") :]
    for stage, title in (("train", "Train"), ("evaluate", "Measure models")):
        for name in ("names", "topics"):
            assert (trained.results / f"profile/{stage}/{name}/trace.json.gz").is_file()
            assert f'<strong>{title}</strong> <span class="id">{name}</span>' in shown
    trained.config["profile"] = False
    assert trained.succeed(*two).nothing_to_do
    trained.config["train"]["topics"]["licence"] = "mit"  # one of two changes
    assert trained.succeed(*two, "--dry-run").jobs["train_model"] == 1


def test_without_trainings_there_is_no_such_job(trained):
    jobs = trained.succeed("--dry-run").jobs
    assert (jobs["train_model"], jobs["evaluate_model"]) == (2, 2)
    del trained.config["train"]
    assert not trained.succeed("--dry-run").jobs.keys() & {"train_model", "evaluate_model"}
