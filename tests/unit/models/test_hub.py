"""Models of the hub: what is fetched of them, whole or said to be not, and pickled weights converted once.

A server of this machine answers as the hub does.
"""

import hashlib
import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from malgeul import ROOT
from malgeul.models import hub
from malgeul.models.hub import ModelNotFound, damaged, missing, needed, with_safetensors

BUNDLED = ROOT / "resources/models/embed-ko-demo"
COMMIT = "89abcdef" * 5


def test_only_the_files_that_are_loaded_are_fetched():
    names = [
        "config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "README.md",
        "model.fp32-00001-of-00002.safetensors",
        "model.safetensors",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "onnx/config.json",
        "openvino/deep/model.safetensors",
        "2_Dense/model.safetensors",
        "flax_model.msgpack",
        "tf_model.h5",
    ]
    small = ["config.json", "tokenizer.json", "1_Pooling/config.json", "onnx/config.json"]
    assert sorted(needed(names)) == sorted([*small, "model.safetensors", "2_Dense/model.safetensors"])
    assert sorted(needed(names, "tokenizer")) == sorted(small)
    assert "pytorch_model.bin" in needed([name for name in names if "safetensors" not in name])
    assert needed(names, "all") == names


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface_hub asks of the hub for a snapshot, of repositories in folders."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        self.server.asked.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "api":
            self.describe("/".join(parts[2:4]))
        else:
            self.give(self.server.folder / "/".join(parts[:2]), "/".join(parts[4:]), body)

    def refuse(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def describe(self, name):
        folder = self.server.folder / name
        if not folder.is_dir():
            return self.refuse("RepoNotFound")
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        siblings = [{"rfilename": str(file.relative_to(folder))} for file in files]
        tree = [{"type": "file", "path": one["rfilename"], "size": 1, "oid": "0" * 40} for one in siblings]
        content = tree if "/tree/" in self.path else {"id": name, "sha": COMMIT, "siblings": siblings}
        said = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def give(self, folder, name, body):
        file = folder / name
        if not file.is_file():
            return self.refuse("EntryNotFound")
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def served(tmp_path):
    """A hub with the repository someone/embedder; it keeps what it was asked for."""
    shutil.copytree(BUNDLED, tmp_path / "served/someone/embedder")
    (tmp_path / "served/someone/embedder/model.fp32.safetensors").write_bytes(b"another variant")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked = tmp_path / "served", []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


LOOK = "from malgeul.models.loading import folder_of as f, identity as i; print(f(model, None)); print(i(model, None))"
FETCH = "from fetch_model import fetch_model; print(json.dumps(fetch_model(model, None, 'model')))"


def ask(served, tmp_path, model, code=LOOK, **more):
    """Return what a process of its own makes of a model: huggingface_hub reads its variables when it is imported."""
    code = (
        f"import json, sys\nmodel = sys.argv[1]\ntry:\n    {code}\n"
        "except Exception as error:\n    print(f'{type(error).__name__}: {error}')"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "scripts"),
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": f"http://127.0.0.1:{served.server_port}",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **more,
    }
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HTTP_PROXY", "http_proxy"):
        if name not in more:
            environment.pop(name, None)
    command = [sys.executable, "-c", code, model]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_model_is_fetched_once_and_without_what_is_not_loaded(served, tmp_path):
    said = ask(served, tmp_path, "someone/embedder")
    folder = tmp_path / f"home/hub/models--someone--embedder/snapshots/{COMMIT}"
    assert said == f"{folder}\n{{'model': 'someone/embedder', 'commit': '{COMMIT}'}}"
    assert (folder / "model.safetensors").read_bytes() == (BUNDLED / "model.safetensors").read_bytes()
    assert (folder / "1_Pooling/config.json").is_file()
    assert not (folder / "model.fp32.safetensors").exists()
    assert damaged(folder) == []
    served.asked.clear()
    assert ask(served, tmp_path, "someone/embedder") == said
    assert ask(served, tmp_path, "someone/embedder", HF_HUB_OFFLINE="1") == said
    assert served.asked == []


def test_what_an_interrupted_download_left_is_completed(served, tmp_path):
    ask(served, tmp_path, "someone/embedder")
    folder = tmp_path / f"home/hub/models--someone--embedder/snapshots/{COMMIT}"
    (folder / "model.safetensors").resolve().unlink()
    assert missing(folder) == ["model.safetensors"], "the link leads nowhere"
    assert missing(folder, "tokenizer") == []
    ask(served, tmp_path, "someone/embedder")
    assert missing(folder) == []
    (folder / "model.safetensors").resolve().unlink()
    (folder / "model.safetensors").unlink()
    assert missing(folder) == ["weights (model.safetensors)"]
    refused = ask(served, tmp_path, "someone/embedder", HF_HUB_OFFLINE="1")
    assert "the cache lacks weights (model.safetensors)" in refused
    ask(served, tmp_path, "someone/embedder")
    assert missing(folder) == []


def test_damage_of_what_was_fetched_is_seen(served, tmp_path):
    ask(served, tmp_path, "someone/embedder")
    folder = tmp_path / f"home/hub/models--someone--embedder/snapshots/{COMMIT}"
    for name in ("model.safetensors", "tokenizer.json"):
        blob = (folder / name).resolve()
        blob.write_bytes(blob.read_bytes()[:-100])
    assert damaged(folder) == ["model.safetensors", "tokenizer.json"]


def test_a_name_that_the_hub_does_not_know_is_said_with_what_to_do(served, tmp_path):
    assert "the hub has no such model" in ask(served, tmp_path, "someone/embeder")
    assert "is it spelt right?" in ask(served, tmp_path, "someone/embeder")
    assert "nor a hub id such as" in ask(served, tmp_path, "some where/with spaces/x")


def pickled(folder, **state):
    """Copy the bundled encoder with pickled weights, or with what is given in their place."""
    shutil.copytree(BUNDLED, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state or weights, folder / "pytorch_model.bin")
    return weights


def test_the_job_that_fetches_tells_what_it_fetched_and_mends_what_was_cut_off(served, tmp_path):
    told = json.loads(ask(served, tmp_path, "someone/embedder", FETCH))
    weights = BUNDLED / "model.safetensors"
    assert (told["commit"], told["copied"]) == (COMMIT, False)
    assert told["files"]["model.safetensors"] == weights.stat().st_size
    assert told["bytes"] == sum(told["files"].values())
    folder = tmp_path / f"home/hub/models--someone--embedder/snapshots/{COMMIT}"
    assert told["folder"] == str(folder)
    (folder / "model.safetensors").resolve().write_bytes(weights.read_bytes()[:-100])
    assert damaged(folder) == ["model.safetensors"]
    assert json.loads(ask(served, tmp_path, "someone/embedder", FETCH))["files"] == told["files"]
    assert damaged(folder) == []


def test_the_job_that_fetches_converts_pickled_weights_and_names_a_typing_error(served, tmp_path):
    pickled(served.folder / "someone/old")
    assert json.loads(ask(served, tmp_path, "someone/old", FETCH))["copied"]
    served.asked.clear()
    assert json.loads(ask(served, tmp_path, "someone/old", FETCH, HF_HUB_OFFLINE="1"))["copied"]
    assert ask(served, tmp_path, "someone/odl", FETCH).startswith("ModelNotFound: ")


def test_a_repository_whose_program_loads_it_itself_is_fetched_with_all_its_files(served, tmp_path):
    pipeline = {"config.yaml": "pipeline: {}", "segmentation/pytorch_model.bin": "of its own", "plda/a.npz": "x"}
    for name, content in pipeline.items():
        file = served.folder / "someone/pipeline" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    every = FETCH.replace("'model'", "'all'")
    told = json.loads(ask(served, tmp_path, "someone/pipeline", every))
    assert (told["files"].keys(), told["copied"]) == (pipeline.keys(), False)
    (Path(told["folder"]) / "plda/a.npz").resolve().unlink()
    assert missing(Path(told["folder"]), "all") == ["plda/a.npz"]
    assert "the cache lacks plda/a.npz" in ask(served, tmp_path, "someone/pipeline", every, HF_HUB_OFFLINE="1")
    assert json.loads(ask(served, tmp_path, "someone/pipeline", every))["files"] == told["files"]
    assert missing(tmp_path / "nothing", "all") == ["any file"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_pickled_weights_are_converted_once_and_never_read_again(tmp_path, home, monkeypatch):
    weights = pickled(tmp_path / "old")
    copy = with_safetensors(tmp_path / "old")
    assert copy.is_relative_to(home)
    found = load_file(copy / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert (copy / "modules.json").read_bytes() == (BUNDLED / "modules.json").read_bytes()
    assert not list(copy.rglob("*.bin"))
    monkeypatch.setattr(hub, "_unpickled", lambda file: pytest.fail("read again"))
    assert with_safetensors(tmp_path / "old") == copy
    assert with_safetensors(BUNDLED) == BUNDLED


def test_a_cache_that_cannot_be_written_into_is_told_with_what_to_do(tmp_path, home):
    home.touch()  # in the way of the folder
    pickled(tmp_path / "old")
    with pytest.raises(ModelNotFound, match=r"no copy can be written into .*home/malgeul .*; set HF_HOME"):
        with_safetensors(tmp_path / "old")


def test_weights_in_shards_become_one_file_and_shared_ones_stay_each(tmp_path, home):
    weights = pickled(tmp_path / "old")
    (tmp_path / "old/pytorch_model.bin").unlink()
    names = sorted(weights)
    parts = [{name: weights[name] for name in names[k::2]} for k in range(2)]
    parts[1]["tied"] = parts[0][names[0]]
    for k, part in enumerate(parts, 1):
        torch.save(part, tmp_path / f"old/pytorch_model-0000{k}-of-00002.bin")
    index = {"weight_map": {name: f"pytorch_model-0000{k}-of-00002.bin" for k, p in enumerate(parts, 1) for name in p}}
    (tmp_path / "old/pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert missing(tmp_path / "old") == []
    copy = with_safetensors(tmp_path / "old")
    assert load_file(copy / "model.safetensors").keys() == {*names, "tied"}
    assert not list(copy.glob("*.index.json"))
    (tmp_path / "old/pytorch_model-00002-of-00002.bin").unlink()
    assert missing(tmp_path / "old") == ["pytorch_model-00002-of-00002.bin"]


class Attack:
    """What runs when it is unpickled without care."""

    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_code_in_a_pickle_is_never_run(tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled(tmp_path / "old")
    (tmp_path / "old/pytorch_model.bin").write_bytes(pickle.dumps({"a": Attack()}))
    with pytest.raises(ModelNotFound, match="holds more than weights"):
        with_safetensors(tmp_path / "old")
    pickled(tmp_path / "older", epoch=3)
    with pytest.raises(ModelNotFound, match="is no table of weights"):
        with_safetensors(tmp_path / "older")
    assert not (tmp_path / "attacked").exists()
    assert not list(home.rglob("*.safetensors"))
