"""A model is named by its content; hub ids come from the cache without a network."""

import gc
import json
import shutil
import time

import numpy as np
import pytest

from malgeul import ROOT
from malgeul.models import loading, memory
from malgeul.models.devices import Device
from malgeul.models.hub import ModelNotFound
from malgeul.models.loading import folder_of, identity, measured_imports, measured_load, weight_files
from malgeul.models.local import model_folder, resolve
from malgeul.shards.ledger import Ledger, Units

BUNDLED = "resources/models/embed-ko-demo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CPU = Device("cpu", "x")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache with one model, laid out as huggingface_hub lays it out."""
    repository = tmp_path / "hub" / "models--someone--embedder"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(ROOT / BUNDLED, repository / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return repository


def test_a_folder_is_named_by_its_bytes_and_not_by_its_place(tmp_path):
    copy = tmp_path / "embed-ko-demo"
    shutil.copytree(ROOT / BUNDLED, copy)
    assert identity(str(copy), None) == identity(BUNDLED, None)
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert identity(str(copy), None) != identity(BUNDLED, None)


def test_a_hub_id_is_named_by_its_commit_from_the_cache(cache):
    assert identity("someone/embedder", None) == {"model": "someone/embedder", "commit": COMMIT}
    assert folder_of("someone/embedder", "main").name == COMMIT


def test_a_model_that_is_nowhere_is_said_with_what_to_do(cache):
    with pytest.raises(ModelNotFound, match="hf download someone/else"):
        identity("someone/else", None)


def test_models_beside_the_snakefile_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(BUNDLED) == ROOT / BUNDLED
    assert resolve("BAAI/bge-m3") is None
    assert any(name.endswith("model.safetensors") for name in model_folder(BUNDLED).files)
    assert model_folder("BAAI/bge-m3") is None


def test_bundled_weights_are_safetensors_only():
    weights = {file.suffix for file in (ROOT / "resources/models").rglob("*") if file.stat().st_size > 500_000}
    assert weights <= {".safetensors", ".json"}
    assert not list((ROOT / "resources").rglob("*.bin"))


def files(folder, **sizes):
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        (folder / f"{name.replace('_', '-')}.safetensors").write_bytes(b"0" * size)
    return folder


def names(folder):
    return [file.name for file in weight_files(folder)]


def test_weights_are_those_that_are_read(tmp_path):
    folder = files(tmp_path / "m", part_1=10, part_2=20, other=40)
    assert names(folder) == ["other.safetensors", "part-1.safetensors", "part-2.safetensors"]
    weights = {"a": "part-2.safetensors", "b": "part-1.safetensors", "c": "part-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert names(folder) == ["part-1.safetensors", "part-2.safetensors"]
    assert names(files(folder, model=30)) == ["model.safetensors"]


def load(ledger, folder, *, seconds=0.0, megabytes=1):
    with measured_load(ledger, folder, CPU):
        time.sleep(seconds)
        return int(np.ones(megabytes << 20, np.uint8)[-1])


def test_a_load_has_bytes_time_bandwidth_and_peak(tmp_path):
    ledger = Ledger("embed", "s-0000", Units("chunk", "vector"))
    gc.collect()  # what other tests left would go while it is measured
    load(ledger, files(tmp_path / "m", model=2_000_000), seconds=0.2, megabytes=100)
    account = ledger.measured["load"]
    assert (account["models"], account["bytes"]) == (1, 2_000_000)
    assert 0.2 <= account["seconds"] < 5
    assert account["megabytes_per_second"] == pytest.approx(2 / account["seconds"], rel=0.05)
    assert 90 << 20 < account["peak_host_bytes"] < 160 << 20
    assert account["peak_gpu_bytes"] is None
    assert set(account["not_measured"]) == {"peak_gpu_bytes"}
    assert ledger.measured["load_seconds"] == pytest.approx(account["seconds"] + account["import_seconds"], abs=0.002)


def test_several_models_of_a_job_have_one_account(tmp_path):
    ledger = Ledger("score", "s-0000", Units("document", "document"))
    load(ledger, files(tmp_path / "a", model=1000), seconds=0.1, megabytes=80)
    first = ledger.measured["load"]
    load(ledger, files(tmp_path / "b", model=500), seconds=0.1)
    both = ledger.measured["load"]
    assert (both["models"], both["bytes"]) == (2, 1500)
    assert both["seconds"] >= first["seconds"] + 0.1
    assert both["peak_host_bytes"] == first["peak_host_bytes"], "the higher peak counts, not their sum"


def test_imports_that_a_job_needs_earlier_are_those_of_its_load(tmp_path, monkeypatch):
    times = iter([2.0, 0.0])
    monkeypatch.setattr(loading, "_import_libraries", lambda: next(times))
    ledger = Ledger("evaluate", "names", Units("model", "evaluation"))
    measured_imports(ledger)
    load(ledger, files(tmp_path / "m", model=1000), megabytes=80)
    account = ledger.measured["load"]
    assert (account["models"], account["bytes"], account["import_seconds"]) == (1, 1000, 2.0)
    assert account["peak_host_bytes"] > 70 << 20
    assert set(account["not_measured"]) == {"peak_gpu_bytes"}
    assert ledger.measured["load_seconds"] == pytest.approx(account["seconds"] + 2, abs=0.002)


def test_a_load_that_fails_is_not_accounted_for(tmp_path):
    ledger = Ledger("embed", "s-0000", Units("chunk", "vector"))
    with pytest.raises(ValueError, match="no"), measured_load(ledger, tmp_path, CPU):
        raise ValueError("no")
    assert ledger.measured == {}


def test_a_peak_that_the_system_hides_is_null_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_forget_peak", lambda: False)
    ledger = Ledger("embed", "s-0000", Units("chunk", "vector"))
    load(ledger, files(tmp_path / "m", model=1000))
    assert ledger.measured["load"]["peak_host_bytes"] is None
    assert "clear_refs" in ledger.measured["load"]["not_measured"]["peak_host_bytes"]
