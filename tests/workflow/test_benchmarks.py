"""Benchmarks work on what the stages read and write now; what they measure here says nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from making.texts import demo_texts

from malgeul.models.quantization import PACKAGES
from workflow.conftest import ROOT

MODEL = str(ROOT / "resources/models/embed-ko-demo")


def measure(name, *arguments):
    """Run a benchmark at a size that takes seconds; return what it prints."""
    command = [sys.executable, str(ROOT / f"bench/{name}.py"), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.mark.parametrize(
    ("name", "arguments", "rows"),
    [
        ("store", "--chunks 60 --documents 30 --dimension 8 --runs 1", ["| raw executemany |"]),
        ("index", "--vectors 3000 --dimension 16 --runs 1 --only exact --chunks 400", ["| exact, NumPy |", "| 400 |"]),
        ("chunking", "--characters 3000 --runs 1", ["| hybrid | kiwi |"]),
        (
            "models",
            "--gigabytes 0.01 --runs 1 --only load --cache warm",
            ["| in parts, without the loader's threads |"],
        ),
        ("models", "--gigabytes 0.01 --runs 1 --only adapter", ["| base and adapter loaded anew |"]),
        pytest.param(
            *("models", "--gigabytes 0.01 --runs 1 --only quantized"),
            ["| quantized copy of int4 |", "| quantized at load |"],
            marks=pytest.mark.skipif(
                not all((Path(sys.prefix) / package).is_dir() for package in PACKAGES.values()),
                reason="torchao and bitsandbytes are not there: make test installs them beside the other packages",
            ),
        ),
        ("training", "--rows 20 --batch 4 --length 16 --runs 1 --only check", ["| float32 |", "| checkpointing |"]),
    ],
)
def test_a_table_has_its_rows(name, arguments, rows):
    table = measure(name, *arguments.split())
    assert [row for row in rows if row not in table] == []


def test_models_of_both_kinds_of_samples_are_measured_on_the_rows_of_both(tmp_path):
    lines = [json.dumps({"content": text}) + "\n" for text in demo_texts()]
    (tmp_path / "petitions.jsonl").write_text("".join(lines), encoding="utf-8")
    table = measure("samples", tmp_path, "--steps", 2, "--batch", 2, "--length", 128)
    rows = [line.split(" | ")[:2] for line in table.partition("| test rows |")[2].splitlines()[2:]]
    models = ["before training", "samples of malgeul", "samples of seed_compat"]
    for profile in ("malgeul", "seed_compat"):
        assert [model for of, model in rows if of.endswith(f" of {profile}")][1:] == models


def test_the_stage_that_is_measured_embeds(tmp_path):
    work = tmp_path / "work.json"
    work.write_text(
        json.dumps({"texts": ["글 하나", "글 둘"], "model": MODEL, "size": "bundled", "folder": str(tmp_path)}),
        encoding="utf-8",
    )
    found = json.loads(measure("embedding", "--side", "malgeul, float32", work).splitlines()[-1])
    assert found["seconds"] > 0
