"""The demo's DAG through a real Slurm: GPUs granted by the scheduler, a cancelled job tried again.

`.ci/slurm.sh` makes a cluster of one node out of this machine. Where no controller answers, the tests skip and say so; with
MALGEUL_REQUIRE_SLURM set they fail instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import time

import pytest

from workflow.conftest import ROOT

pytestmark = pytest.mark.slurm

PROFILES = ["--profile", str(ROOT / "profiles/slurm"), "--workflow-profile", str(ROOT / "tests/workflow/slurm")]


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module", autouse=True)
def slurm():
    """Skip, or fail where it is required, when no Slurm answers with an idle node."""
    try:
        state = ask("sinfo", "--noheader", "--format=%T").stdout.strip()
    except FileNotFoundError:
        state = "not installed"
    if not re.search("idle|mixed|alloc", state):
        reason = f"no Slurm answers on this machine ({state or 'no controller'}); .ci/slurm.sh makes one"
        if os.environ.get("MALGEUL_REQUIRE_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)


def jobs_of(name):
    """Slurm's records of the jobs of a rule that still run or have just ended."""
    records = ask("scontrol", "--oneliner", "show", "job").stdout.splitlines()
    return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in records if name in line]


def test_the_tiny_corpus_through_slurm_gives_the_same_bytes_with_gpus_granted_and_a_cancelled_job_retried(
    fresh, undisturbed
):
    process = fresh.start(*PROFILES)
    cancelled = None
    granted: dict[str, str] = {}
    deadline = time.monotonic() + 560
    while process.poll() is None and time.monotonic() < deadline:
        for job in jobs_of("rule_transcribe_audio") + jobs_of("rule_embed_chunks"):
            if tres := re.search(r"gres/gpu[:=]\S*", " ".join(f"{k}={v}" for k, v in job.items())):
                granted[job["JobId"]] = tres[0]
        running = [job for job in jobs_of("rule_filter_text") if job["JobState"] == "RUNNING"]
        if running and cancelled is None:
            cancelled = running[0]["JobId"]
            ask("scancel", cancelled)
        time.sleep(0.5)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output[-5000:]
    assert cancelled is not None
    assert any(job["JobId"] == cancelled and job["JobState"] == "CANCELLED" for job in jobs_of("rule_filter_text"))
    gpu_jobs = len(undisturbed.ledgers("transcribe")) + len(undisturbed.ledgers("embed"))
    assert len(granted) >= gpu_jobs, "every GPU job was granted a GPU by the scheduler"
    assert fresh.digests() == undisturbed.digests()
