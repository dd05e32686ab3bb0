"""A model is named by its content; hub ids come from the cache without a network."""

import shutil

import pytest

from malgeul import ROOT
from malgeul.models.hub import ModelNotFound
from malgeul.models.loading import folder_of, identity
from malgeul.models.local import model_files, resolve

BUNDLED = "resources/models/embed-ko-demo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


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
    assert any(name.endswith("model.safetensors") for name in model_files(BUNDLED))


def test_bundled_weights_are_safetensors_only():
    weights = {file.suffix for file in (ROOT / "resources/models").rglob("*") if file.stat().st_size > 500_000}
    assert weights <= {".safetensors", ".json"}
    assert not list((ROOT / "resources").rglob("*.bin"))
