"""The demo's DAG through a real Slurm: GPUs granted by the scheduler, a cancelled job tried again.

`.ci/slurm.sh` makes a cluster of one node out of this machine. Where no controller answers, the tests skip and say so;
with MALGEUL_REQUIRE_SLURM set they fail instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time

import pytest

from workflow.conftest import ROOT

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one cluster: one after the other

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


def jobs_of(folder):
    """Slurm's records of the jobs that were submitted from a folder, by rule: those that run or have ended."""
    records = ask("scontrol", "--details", "--oneliner", "show", "job").stdout.splitlines()
    found = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in records]
    return [job for job in found if job.get("WorkDir") == str(folder)]


def of_rule(jobs, *rules):
    return [job for job in jobs if any(job.get("Comment", "").startswith(f"rule_{rule}") for rule in rules)]


@pytest.fixture
def submitted(fresh):
    """Recordings and one source of text of the tiny corpus; jobs that it leaves in the queue are cancelled."""
    fresh.config["documents"] = {"databases": []}
    fresh.config["text"]["sources"] = fresh.config["text"]["sources"][1:]
    yield fresh
    left = [job["JobId"] for job in jobs_of(fresh.folder) if job["JobState"] in {"PENDING", "RUNNING"}]
    if left:
        ask("scancel", *left)


def test_slurm_grants_gpus_a_cancelled_job_is_tried_again_and_the_bytes_are_the_same(submitted, undisturbed):
    process = submitted.start(*PROFILES, cores=None)
    cancelled = None
    granted = {}
    deadline = time.monotonic() + 900
    with (submitted.folder / "output.txt").open("w") as output:
        reader = threading.Thread(target=lambda: output.writelines(process.stdout), daemon=True)
        reader.start()
        while process.poll() is None and time.monotonic() < deadline:
            jobs = jobs_of(submitted.folder)
            for job in of_rule(jobs, "transcribe_audio", "embed_chunks"):
                if re.search(r"gres[:/]gpu", " ".join(job.values())):
                    granted[job["JobId"]] = job
            running = [job for job in of_rule(jobs, "filter_text") if job["JobState"] == "RUNNING"]
            if running and cancelled is None:
                cancelled = running[0]["JobId"]
                ask("scancel", cancelled)
            time.sleep(0.5)
        process.kill()
        reader.join()
    text = (submitted.folder / "output.txt").read_text()
    assert process.returncode == 0, text[-5000:]
    states = {job["JobId"]: job["JobState"] for job in jobs_of(submitted.folder)}
    assert cancelled is not None
    assert states[cancelled] == "CANCELLED"
    gpu_jobs = len(submitted.ledgers("transcribe")) + len(submitted.ledgers("embed"))
    assert len(granted) == gpu_jobs > 2, "every GPU job was granted a GPU by the scheduler"
    assert submitted.digests_of("transcripts", "notes") == undisturbed.digests_of("transcripts", "notes")
