"""The job of a training: processes of its own, a folder that loads, a ledger, and a kill that loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from evaluate_model import evaluate_model
from malgeul.shards.files import sha256_of, write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.locks import alive
from train_model import train_model
from unit.training.conftest import TOKENIZER

ROOT = Path(__file__).resolve().parents[3]
STRANGE = str(ROOT / "resources/models/whisper-ko-demo")
COURSE = {"batch": 16, "learning_rate": 3e-3, "steps": 20, "log_every": 5, "measure_every": 10}


@pytest.fixture(autouse=True)
def one_thread_each(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def job_over(results, dataset, base, *, gpus=1, name="names", kind="coref", profile=False, **more):
    """Return the job of a training on a merged dataset, whose ledger is made here."""
    merged = Ledger("merge", "all", Units("row", "row"))
    for number in range(352):
        merged.use(f"row-{number}")
        merged.give(f"row-{number}")
    merged.measure(train_rows=256, validation_rows=48, test_rows=48)
    merged.outputs = {
        str(file.relative_to(results)): {
            "size": file.stat().st_size,
            "mtime_ns": 0,
            "inode": 0,
            "sha256": sha256_of(file),
        }
        for file in sorted(dataset.rglob("*"))
        if file.is_file()
    }
    write_json(results / "ledger/merge/all.json", merged.to_json())
    return Job(
        inputs={"dataset": [dataset], "files": [], "ledger": [results / "ledger/merge/all.json"]},
        outputs={"trained": results / "trained" / name, "ledger": results / "ledger/train" / f"{name}.json"},
        params={
            "settings": {**COURSE, "kind": kind, "base": str(base), **more},
            "tokenize": {"tokenizer": str(TOKENIZER), "revision": None},
            "hints": {"gpus": gpus, "profile": profile},
        },
        units=Units("row", "model"),
        threads=max(1, gpus),
        rule="train_model",
    )


def evaluation_of(job, **measured):
    """Return the job that measures what a training left, with what it measures besides."""
    trained = job.outputs["trained"]
    results, name = trained.parents[1], trained.name
    return Job(
        inputs={**job.inputs, "trained": [trained], "ledger": [job.outputs["ledger"], *job.inputs["ledger"]]},
        outputs={"evaluated": results / f"evaluated/{name}.json", "ledger": results / f"ledger/evaluate/{name}.json"},
        params={"settings": {**job.params["settings"], **measured}, "tokenize": job.params["tokenize"]},
        units=Units("model", "evaluation"),
    )


@pytest.fixture
def dataset(results, mentions):
    """The toy dataset where merging puts it."""
    return Path(shutil.copytree(mentions, results / "dataset"))


def tensors(folder):
    return load_file(folder / "model.safetensors")


def test_a_training_leaves_a_model_that_loads_its_curves_its_card_and_a_ledger(results, dataset, base, monkeypatch):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    job = job_over(results, dataset, base, licence="mit")
    job.run(train_model)
    assert not (results / "profile").exists(), "nobody asked for one"
    folder = results / "trained/names"
    assert AutoModelForMaskedLM.from_pretrained(folder).config.hidden_size == 64
    assert AutoTokenizer.from_pretrained(folder).mask_token == "[MASK]"
    points = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
    assert [point["step"] for point in points if "loss" in point] == [5, 10, 15, 20]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card
    for said in (
        "| train rows | 256 |",
        "| steps | 20 of 20 planned |",
        "| seed | 0 |",
        "| first piece accuracy |",
        "| seconds |",
        "| weights of the base in | float32 |",
    ):
        assert said in card, said
    ledger = job.ledger
    assert (ledger.taken.n, ledger.given.n, ledger.imbalance()) == (352, 1, None)
    assert ledger.measured["steps"] == 20
    load = ledger.measured["load"]
    size = (base / "model.safetensors").stat().st_size
    assert (load["models"], load["bytes"]) == (1, size)
    assert load["peak_host_bytes"] > 0
    assert load["import_seconds"] > 0.1, "of a process of its own"
    assert ledger.measured["load_seconds"] == pytest.approx(load["seconds"] + load["import_seconds"], abs=0.002)
    assert ledger.device["processes"] == 1
    assert not job.journal_folder.exists()

    measured = evaluation_of(job, beside={"other": str(base), "strange": STRANGE}, also_on={"again": str(dataset)})
    watched = []
    monkeypatch.setattr("evaluate_model.sampled", lambda *given: nullcontext(watched.append(given)))
    measured.run(evaluate_model)
    assert [(job, device.kind) for job, device in watched] == [(measured, "cpu")], "where a GPU would be sampled"
    found = json.loads((results / "evaluated/names.json").read_text(encoding="utf-8"))
    assert (found["kind"], list(found["sets"])) == ("coref", ["again", "test"])
    figures = found["sets"]["test"]["figures"]
    assert found["sets"]["test"]["rows"] == 48
    assert figures["after"]["loss"] < figures["before"]["loss"]
    assert figures["other"] == figures["before"], "the base itself was named beside"
    assert figures["strange"] is None
    assert "another vocabulary" in found["not_measured"]["strange"]
    assert found["sets"]["again"]["figures"] == figures, "the same rows"
    assert (measured.ledger.taken, measured.ledger.given.n) == (job.ledger.given, 1)
    sizes = [(place / "model.safetensors").stat().st_size for place in (base, folder, base)]
    load = measured.ledger.measured["load"]
    assert (load["models"], load["bytes"]) == (6, 2 * sum(sizes)), "three models for each of two sets"


@pytest.mark.parametrize("script", ["train_model", "evaluate_model"])
def test_a_job_that_takes_its_result_again_pays_for_no_library(script):
    code = f"import sys, {script}; assert not {{'torch', 'transformers'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "scripts", timeout=100)


def test_an_adapter_is_measured_beside_on_the_base_that_it_was_trained_on(results, dataset, base, tmp_path):
    job = job_over(results, dataset, base, adapter={"rank": 2})
    job.run(train_model)
    trained = results / "trained/names"
    stranger = Path(shutil.copytree(trained, tmp_path / "stranger"))
    config = json.loads((stranger / "adapter_config.json").read_text(encoding="utf-8"))
    write_json(stranger / "adapter_config.json", {**config, "base_model_name_or_path": "another/base"})
    evaluation_of(job, beside={"other": str(trained), "stranger": str(stranger)}).run(evaluate_model)
    found = json.loads((results / "evaluated/names.json").read_text(encoding="utf-8"))
    figures = found["sets"]["test"]["figures"]
    assert figures["other"] == figures["after"] != figures["before"]
    assert figures["stranger"] is None
    assert "is an adapter on another/base" in found["not_measured"]["stranger"]


def test_adapters_as_peft_leaves_them_are_measured_or_null_with_a_reason(results, dataset, base, tmp_path):
    """Without what they share with the base; one whose weights are none of the base's has none of its figures."""
    job = job_over(results, dataset, base, adapter={"rank": 2})
    job.run(train_model)
    trained, folders = results / "trained/names", {}
    for name in ("bare", "renamed"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for file in trained.glob("adapter_*"):
            shutil.copyfile(file, folders[name] / file.name)
    weights = load_file(trained / "adapter_model.safetensors")
    renamed = {key.replace(".layer.", ".block."): values for key, values in weights.items()}
    save_file(renamed, folders["renamed"] / "adapter_model.safetensors")
    evaluation_of(job, beside={name: str(folder) for name, folder in folders.items()}).run(evaluate_model)
    found = json.loads((results / "evaluated/names.json").read_text(encoding="utf-8"))
    figures = found["sets"]["test"]["figures"]
    assert figures["bare"] == figures["after"] != figures["before"]
    assert figures["renamed"] is None
    assert "was trained on another base" in found["not_measured"]["renamed"]


def test_two_processes_teach_what_one_teaches(results, dataset, base):
    """By gloo on the CPU; the rows of each step are the same, shared out. A profile, of the first, changes nothing.

    A job that was given no GPU is one process.
    """
    for gpus in (0, 2):
        job = job_over(results, dataset, base, gpus=gpus, name=f"with_{gpus}", profile=gpus == 2)
        job.run(train_model)
    facts = job.ledger.measured["profile"]
    assert (facts["folder"], facts["warmed_up"]) == ("profile/train/with_2", True)
    assert 1 <= facts["batches"] <= 8
    table = json.loads((results / facts["folder"] / "operators.json").read_text(encoding="utf-8"))
    called = {row["name"] for row in table["operators"]}
    assert any("Backward" in name for name in called), "a step is one with its gradients"
    one, two = (tensors(results / f"trained/with_{gpus}") for gpus in (0, 2))
    assert one.keys() == two.keys()
    assert max(float(abs(one[name] - two[name]).max()) for name in one) < 2e-3
    curves = [
        [point.get("loss", point.get("validation_loss")) for point in json.loads((folder / "curves.json").read_text())]
        for folder in (results / "trained/with_0", results / "trained/with_2")
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


KILLED = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from unit.training.test_train_model import job_over
from train_model import train_model
job_over(Path({results!r}), Path({dataset!r}), Path({base!r}), **{more!r}).run(train_model)
"""


def test_a_job_killed_with_sigkill_goes_on_from_its_checkpoint_and_leaves_no_orphan(results, dataset, base, caplog):
    from malgeul.training.learner import COMPLETE

    more = {"steps": 80, "measure_every": 10}
    path = [str(ROOT / "scripts"), str(ROOT / "tests")]
    code = KILLED.format(path=path, results=str(results), dataset=str(dataset), base=str(base), more=more)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: list(results.glob(f"journal/train/names/*/checkpoints/*/{COMPLETE}")), process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(children) == 1
    deadline = time.monotonic() + 10
    while any(alive(int(child)) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(int(child)) for child in children)
    assert not (results / "trained/names").exists()
    caplog.set_level("INFO")
    job_over(results, dataset, base, **more).run(train_model)
    assert "going on from checkpoint-" in caplog.text
    points = json.loads((results / "trained/names/curves.json").read_text(encoding="utf-8"))
    assert [point["step"] for point in points if "loss" in point] == list(range(5, 85, 5))
    seconds = [point["seconds"] for point in points]
    assert seconds == sorted(seconds), "the time before the kill counts"


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_other_settings_begin_anew(results, dataset, base, monkeypatch):
    job = job_over(results, dataset, base)
    own = job.item_key(job.input_digests)
    for name in (own, "0123456789abcdef"):
        (job.journal_folder / name / "checkpoints").mkdir(parents=True)

    def look(*_):
        assert [place.name for place in job.journal_folder.iterdir() if place.is_dir()] == [own]
        raise KeyboardInterrupt

    monkeypatch.setattr("train_model.run_processes", look)
    with pytest.raises(KeyboardInterrupt):
        job.run(train_model)
    assert job_over(results, dataset, base).key == job.key
    assert job_over(results, dataset, base, seed=1).key != job.key
    assert job_over(results, dataset, base, gpus=2).key == job.key, "how many GPUs share a batch decides nothing"


def test_a_process_that_fails_says_why(results, dataset, base):
    with pytest.raises(ValueError, match="256 rows for training are fewer than a batch of 1024; lower batch"):
        job_over(results, dataset, base, batch=1024).run(train_model)
