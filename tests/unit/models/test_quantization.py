"""Quantized copies, in a process that finds what makes them: transformers and peft import it wherever it is installed,
which is why the tests have it beside the other packages.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from malgeul import ROOT
from malgeul.models.quantization import PACKAGES, quantized_copy

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


@pytest.mark.parametrize(("bits", "package"), PACKAGES.items())
def test_what_is_to_be_installed_is_said(tmp_path, monkeypatch, bits, package):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        quantized_copy(ROOT / "resources/models/embed-ko-demo", bits)
