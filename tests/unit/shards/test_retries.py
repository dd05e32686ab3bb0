"""A permanent error is worked up to once in a run: an attempt after it ends at once, and a new run tries anew."""

import subprocess
import sys

import pytest
import torch

from malgeul import ROOT
from malgeul.shards.faults import FAILED, FAILED_FOR_GOOD, WORTH_A_RETRY, exit_status, is_out_of_memory
from malgeul.shards.retries import forget_failures

JOB = """
import os, sqlite3, sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {scripts!r})
from malgeul.shards.job import run_job, run_jobs
from malgeul.shards.ledger import Units

results = Path(sys.argv[1])

def work(of):
    with (results / "worked").open("a") as file:
        file.write("x")
    if sys.argv[2]:
        exec(sys.argv[2])
    for job in of if isinstance(of, list) else [of]:
        job.staged("copy").write_text("whole")

def about(output):
    return SimpleNamespace(input={{}}, output=output, params={{}}, threads=1, log=[results / "log"], rule="copy")

if sys.argv[3] == "one":
    output = {{"copy": results / "copies/s.txt", "ledger": results / "ledger/copy/s.json"}}
    run_job(about(output), work, Units("line", "line"))
else:
    output = {{f"copy_{{n}}": results / f"copies/s{{n}}.txt" for n in "01"}}
    output |= {{f"ledger_{{n}}": results / f"ledger/copy/s{{n}}.json" for n in "01"}}
    run_jobs(about(output), work, Units("line", "line"))
"""

WRONG = "raise ValueError('train.names.steps is wrong\\nmend it')"


@pytest.fixture
def attempt(tmp_path):
    """Run a job in a process of its own, as an attempt of Snakemake does; return how it ended and how often it worked.

    ``work`` is what the job's work does before it succeeds.
    """

    def attempted(work="", kind="one"):
        command = [sys.executable, "-c", JOB.format(scripts=str(ROOT / "scripts")), str(tmp_path), work, kind]
        ended = subprocess.run(command, capture_output=True, check=False, timeout=120)
        return ended.returncode, len((tmp_path / "worked").read_text())

    return attempted


@pytest.mark.parametrize("kind", ["one", "several"])
def test_after_a_permanent_error_the_next_attempts_end_at_once_with_its_message(attempt, tmp_path, kind):
    assert attempt(WRONG, kind) == (FAILED_FOR_GOOD, 1)
    before = (tmp_path / "log").read_text()
    assert "Traceback" in before
    assert attempt(WRONG, kind) == (FAILED_FOR_GOOD, 1)
    assert attempt(WRONG, kind) == (FAILED_FOR_GOOD, 1)
    after = (tmp_path / "log").read_text().removeprefix(before)
    assert after.count("ValueError: train.names.steps is wrong\nmend it\n") == 2
    assert "Traceback" not in after


def test_the_next_run_tries_anew_and_a_success_leaves_no_note(attempt, tmp_path):
    attempt(WRONG)
    forget_failures(tmp_path)
    assert attempt() == (0, 2)
    assert (tmp_path / "copies/s.txt").read_text() == "whole"
    assert attempt(WRONG) == (0, 2), "the finished shard is taken again"


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("raise MemoryError", WORTH_A_RETRY),
        ("raise sqlite3.OperationalError('database is locked')", WORTH_A_RETRY),
        ("raise OSError(28, 'no space')", WORTH_A_RETRY),
        ("raise RuntimeError('CUDA error: unspecified launch failure')", FAILED),
        ("raise FileNotFoundError('a file that another node has just written')", FAILED),
        ("os.kill(os.getpid(), 9)", -9),
    ],
)
def test_what_may_pass_and_what_nobody_knows_of_is_worked_on_again(attempt, fault, status):
    assert attempt(fault) == (status, 1)
    assert attempt() == (0, 2)


def test_an_error_before_the_work_is_in_the_log_too(tmp_path):
    job = JOB.replace('Units("line", "line"))', 'Units("line", "line"), packages=["no such package"])')
    command = [sys.executable, "-c", job.format(scripts=str(ROOT / "scripts")), str(tmp_path), "", "one"]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == FAILED
    assert "PackageNotFoundError" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyError("text"), FAILED_FOR_GOOD),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), FAILED_FOR_GOOD),
        (ZeroDivisionError(), FAILED_FOR_GOOD),
        (ConnectionResetError(), WORTH_A_RETRY),
        (ImportError("a library that this node lacks"), FAILED),
    ],
)
def test_the_table_tells_which_errors_are_permanent(error, status):
    assert exit_status(error) == status


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_known_by_its_class_or_by_what_torch_says(error, is_one):
    assert is_out_of_memory(error) is is_one
    assert (exit_status(error) == WORTH_A_RETRY) is is_one
