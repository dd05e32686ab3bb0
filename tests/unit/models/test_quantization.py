"""Quantized copies, in a process that finds what makes them: transformers and peft import it wherever it is installed,
which is why the tests have it beside the other packages.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from malgeul import ROOT
from malgeul.models.quantization import PACKAGES, _leave_out, quantized_copy

CASES = Path(__file__).with_name("quantization.py")


@pytest.mark.parametrize("kind", ["not gpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_quantized_copies(kind):
    apart = [folder for package in PACKAGES.values() if (folder := Path(sys.prefix) / package).is_dir()]
    if not apart:
        pytest.skip("neither torchao nor bitsandbytes is installed: make test installs them beside the other packages")
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", kind, str(CASES)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, apart)), "PYTEST_ADDOPTS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout


def test_a_weight_of_the_model_itself_that_is_lacking_keeps_no_matrix_whole():
    """The name of the model itself ends every other: all matrices would be taken for whole ones, and loaded wrong."""
    model = torch.nn.Module()
    model.dense, model.scale = torch.nn.Linear(2, 2, bias=False), torch.nn.Parameter(torch.ones(()))
    model.config = SimpleNamespace(quantization_config=SimpleNamespace(modules_to_not_convert=[]))
    _leave_out(model, {"scale", "dense.weight"})
    assert model.state_dict() == {}
    assert model.config.quantization_config.modules_to_not_convert == ["dense"]


@pytest.mark.parametrize(("bits", "package"), PACKAGES.items())
def test_what_is_to_be_installed_is_said(tmp_path, monkeypatch, bits, package):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        quantized_copy(ROOT / "resources/models/embed-ko-demo", bits)
