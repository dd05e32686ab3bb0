"""Quantized copies, in a process that finds torchao: it is installed apart, as transformers imports it where it is."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from malgeul import ROOT
from malgeul.models.quantization import quantized_copy

CASES = Path(__file__).with_name("quantization.py")


@pytest.mark.parametrize("kind", ["not gpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_quantized_copies(kind):
    apart = Path(sys.prefix) / "torchao"
    if not apart.is_dir():
        pytest.skip("torchao is not installed: make test installs it beside the other packages")
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", kind, str(CASES)],
        env={**os.environ, "PYTHONPATH": str(apart), "PYTEST_ADDOPTS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout


def test_what_is_to_be_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    if importlib.util.find_spec("torchao"):
        monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ModuleNotFoundError, match="pip install torchao"):
        quantized_copy(ROOT / "resources/models/embed-ko-demo", "int8")
