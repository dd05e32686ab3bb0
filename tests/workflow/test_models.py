"""Models are had before a GPU is taken: fetched from the hub, their pickled weights converted."""

import shutil

import torch
from safetensors.torch import load_file

from workflow.conftest import ROOT

MODELS = ROOT / "resources/models"


def offline(workflow):
    """Give a workflow a cache of its own and no network; return the cache."""
    home = workflow.folder / "home"
    workflow.environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return home


def test_pickled_weights_of_a_folder_are_converted_by_a_job_and_no_other_reads_them(fresh_documents, own_workflow):
    fresh, model = fresh_documents, fresh_documents.folder / "old"
    home = offline(fresh)
    shutil.copytree(MODELS / "embed-ko-demo", model)
    weights = load_file(model / "model.safetensors")
    torch.save(weights, model / "pytorch_model.bin")
    fresh.config["embed"] = {"model": "old"}
    fresh.root = own_workflow
    assert "fetch_model" not in fresh.succeed("--dry-run").jobs, "there are safetensors"
    (model / "model.safetensors").unlink()
    assert fresh.succeed("--until", "fetch_model").jobs == {"fetch_model": 1}
    (copy,) = (home / "malgeul/old").glob("*/model.safetensors")
    assert load_file(copy).keys() == weights.keys()
    library = own_workflow / "scripts/malgeul/models/hub.py"
    source = library.read_text(encoding="utf-8")
    assert source.count("state = load(") == 1
    library.write_text(source.replace("state = load(", "state = refuse("), encoding="utf-8")
    assert fresh.succeed("--until", "embed_chunks").jobs["embed_chunks"] > 0
    made = {"fetch_model", "chunk_documents", "embed_chunks"}
    assert not made & set(fresh.succeed("--dry-run").jobs)
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    assert made < set(fresh.succeed("--dry-run").jobs), "the folder's content counts"
