"""The cases of placement.py, in a process whose torch believes that there is a GPU."""

import os
import subprocess
import sys
from pathlib import Path

from malgeul import ROOT

CASES = Path(__file__).with_name("placement.py")


def test_placement():
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(CASES)],
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout
