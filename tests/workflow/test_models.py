"""Models are had before a GPU is taken: fetched from the hub, their pickled weights converted."""

import shutil

import torch
from safetensors.torch import load_file

from workflow.conftest import ROOT

MODELS = ROOT / "resources/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def offline(workflow):
    """Give a workflow a cache of its own and no network; return the cache."""
    home = workflow.folder / "home"
    workflow.environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return home


def cached(home, model, content):
    """Put a model into a cache as huggingface_hub lays it out."""
    repository = home / "hub" / f"models--{model.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    shutil.copytree(content, repository / "snapshots" / COMMIT)


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


def test_a_misspelt_model_is_told_before_a_gpu_is_taken_and_stops_nothing_else(fresh):
    home = offline(fresh)
    cached(home, "someone/embedder", MODELS / "embed-ko-demo")
    cached(home, "someone/phishing", MODELS / "phishing-ko-demo")
    judge = {"kind": "classifier", "model": "someone/embedder", "adapter": "someone/phising", "label": "phishing"}
    fresh.config |= {
        "recordings": {"paths": []},
        "text": {"sources": fresh.config["text"]["sources"][1:]},
        "documents": {"databases": [{"path": "input/law.sqlite", "rows_per_shard": 8}]},
        "embed": {"model": "someone/embedder", "inputs": ["documents"]},
        "filter": {"scorers": {"judge": judge}},
    }
    fresh.succeed("--until", "chunk_documents", "find_duplicates")
    assert len(fresh.ledgers("chunk")) > 2, "more jobs could start at once than there are GPUs"
    finished = fresh.run("--until", "embed_chunks", "score_text", "--resources", "gpu=2")
    assert finished.code != 0
    assert "someone/phising is neither a folder nor in the cache" in finished.output
    (told,) = (log for log in (fresh.results / "logs/fetch_model").iterdir() if "phising" in log.name)
    assert all(ledger["started"] > told.stat().st_mtime for ledger in fresh.ledgers("embed").values())
    assert fresh.ledgers("embed").keys() == fresh.ledgers("chunk").keys()
    assert fresh.ledgers("score") == {}
    judge["adapter"] = "someone/phishing"
    mended = fresh.succeed("--dry-run", "--until", "embed_chunks", "score_text")
    assert mended.jobs == {"fetch_model": 1, "score_text": 1}, "what another model made stays as it is"
