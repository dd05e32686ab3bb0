"""The bundled models load at once without a network and reach their bars on a small fixed part of the evaluation."""

import os
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
from evaluate_embedding import measure
from evaluate_whisper import close_times, rates, transcribe
from making.embedding import make_model, save
from making.windows import Said, disturb
from transformers import AutoTokenizer

from malgeul import ROOT
from malgeul.models.devices import Device
from malgeul.speech.whisper import Whisper, window_seconds
from unit.spoken import DATA, RATE, spoken

MODELS = ROOT / "resources/models"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def whisper():
    return Whisper(MODELS / "whisper-ko-demo", Device("cpu", "x"), "ko", 200, 2)


@pytest.mark.parametrize(("name", "bar"), [("seen", 0.06), ("unseen", 0.08)])
def test_whisper_hears_sentences_that_training_never_had(whisper, name, bar):
    texts, sounds = spoken(name)
    heard = transcribe(whisper, sounds, window_seconds(MODELS / "whisper-ko-demo"))
    assert rates(texts, heard)["cer"] <= bar
    said = [[Said(0.5, len(sound) / RATE - 0.5, text)] for text, sound in zip(texts, sounds, strict=True)]
    assert close_times(said, heard) >= 0.9


def test_whisper_writes_nothing_where_nobody_speaks(whisper):
    rng = np.random.default_rng(0)
    nothing = np.zeros(4 * RATE, np.float32)
    noises = [nothing, *(disturb(nothing, rng) for _ in range(9))]
    assert transcribe(whisper, noises, window_seconds(MODELS / "whisper-ko-demo")) == [[]] * 10


def test_titles_find_their_texts_and_cosines_agree_with_people_more_than_with_random_weights(tmp_path):
    given = Namespace(
        petitions=DATA / "embedding", similarity=DATA / "embedding", kept_out="2026-01", first=None, threads=2
    )
    tokenizer = AutoTokenizer.from_pretrained(str(MODELS / "embed-ko-demo"))
    save(make_model(len(tokenizer), seed=0), tokenizer, tmp_path)
    trained, untrained = measure(MODELS / "embed-ko-demo", given), measure(tmp_path, given)
    assert trained["petitions"] == 40
    assert trained["recall_at_10"] >= 0.6
    assert trained["recall_at_1"] >= untrained["recall_at_1"] + 0.2
    assert trained["korsts_dev_spearman"] > untrained["korsts_dev_spearman"]


@pytest.mark.parametrize(("name", "megabytes"), [("whisper-ko-demo", 12), ("embed-ko-demo", 15)])
def test_weights_are_safetensors_of_a_few_megabytes(name, megabytes):
    files = {file.name: file.stat().st_size for file in (MODELS / name).rglob("*") if file.is_file()}
    assert files["model.safetensors"] <= megabytes * MEGABYTE
    assert not [file for file in files if file.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert "README.md" in files
    assert any(name.startswith("curves") for name in files)


LOADING = """
from pathlib import Path
from transformers import AutoTokenizer
from malgeul.embedding.encoder import Encoder
from malgeul.models.devices import Device
from malgeul.speech.whisper import Whisper
folder, cpu = Path("resources/models"), Device("cpu", "x")
"""


@pytest.mark.parametrize(
    "load",
    [
        'Whisper(folder / "whisper-ko-demo", cpu, "ko", 12, 1)',
        'Encoder(folder / "embed-ko-demo", cpu, 1)',
        'AutoTokenizer.from_pretrained(folder / "tokenizer-ko-demo")',
    ],
)
def test_a_model_loads_without_a_network_even_where_the_hub_is_not_switched_off(load):
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")  # nobody listens there
    environment = {**os.environ, **proxies, "PYTHONPATH": str(ROOT / "scripts")}
    environment.pop("HF_HUB_OFFLINE", None)
    subprocess.run([sys.executable, "-c", LOADING + load], cwd=ROOT, env=environment, check=True, timeout=120)
