"""The making of the bundled models in small: killed in the middle of a training, it goes on from its checkpoint."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from transformers import AutoTokenizer, BertModel, WhisperForConditionalGeneration

from workflow.conftest import ROOT, Finished

CONFIG = {
    "speech": {
        "grammar": 40, "demo_rounds": 0, "evaluated": 8, "conversations": 4, "codecs": ["none", "mulaw"],
        "steps": 21, "save_every": 20, "batch": 1, "then": {"steps": 1},
    },
    "embedding": {"steps": 2, "batch": 2},
    "tokenizer": {"pieces": 2500},
}  # fmt: skip


def start(folder):
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "resources/models/Snakefile")]
    return subprocess.Popen(
        [*command, "--configfile", "small.yaml", "--cores", "1", "--resources", "gpu=1"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def succeed(folder):
    process = start(folder)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-6000:]
    return Finished(process.returncode, output)


def spoken_for_the_first_course(work):
    """Return when each part of the clips was made."""
    return {part.name: part.stat().st_mtime_ns for part in (work / "clips").glob("first-*")}


@pytest.mark.skipif(
    not shutil.which("espeak-ng") and not os.environ.get("MALGEUL_REQUIRE_ESPEAK"), reason="espeak-ng is not installed"
)
def test_models_are_made_measured_and_described_and_a_killed_training_goes_on(tmp_path):
    work = tmp_path / "results/models"
    process = start(tmp_path)
    deadline = time.monotonic() + 600
    while not (work / "training/whisper-ko-demo-first/checkpoint.pt").exists():
        assert process.poll() is None, process.stdout.read()[-6000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    spoken = spoken_for_the_first_course(work)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, ROOT / "scripts/release_lock.py"], cwd=tmp_path, check=True)

    succeed(tmp_path)
    assert len(spoken) == len(CONFIG["speech"]["codecs"])
    assert spoken_for_the_first_course(work) == spoken, "nothing is spoken again"
    assert "going on from step 20" in (work / "logs/train_whisper_first.log").read_text(encoding="utf-8")
    curves = (work / "training/whisper-ko-demo-first/curves.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line)["step"] for line in curves]
    assert steps == [20, 21]

    made = work / "made"
    WhisperForConditionalGeneration.from_pretrained(str(made / "whisper-ko-demo"))
    BertModel.from_pretrained(str(made / "embed-ko-demo"), add_pooling_layer=False)
    assert len(AutoTokenizer.from_pretrained(str(made / "tokenizer-ko-demo"))) == 2500
    card = (made / "whisper-ko-demo/README.md").read_text(encoding="utf-8")
    measured = json.loads((work / "whisper-ko-demo/figures.json").read_text(encoding="utf-8"))
    assert f"| seen: cer | {measured['seen']['cer']} |" in card
    assert measured["seen"]["sentences"] == measured["unseen"]["sentences"] == 8
    assert (made / "whisper-ko-demo/curves-2.svg").read_bytes().startswith(b"<?xml")
    assert "the project's own" in (work / "logs/train_embedding.log").read_text(encoding="utf-8")

    assert succeed(tmp_path).nothing_to_do
