"""Kill anything at any time: no orphan writes on, the next run does what is missing, and the bytes are the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

from malgeul.shards.locks import alive
from workflow.conftest import ROOT

STAGES = {
    "convert", "transcribe", "analyze", "ingest", "screen", "dedup", "filter", "select", "cap", "tokenize", "merge",
    "export", "chunk", "embed", "index", "write_back",
}  # fmt: skip


def test_a_job_of_every_stage_killed_in_its_middle_is_tried_again_and_gives_the_same_bytes(
    fresh, undisturbed, kill_jobs
):
    """On one core; the undisturbed run had four, on which jobs have more threads and another order."""
    with kill_jobs(fresh.results) as killer:
        finished = fresh.run("--retries", "3", cores=1)
    assert finished.code == 0, finished.output[-4000:]
    assert {stage for stage, victims in killer.killed.items() if victims} == STAGES
    assert fresh.digests() == undisturbed.digests() != {}


def test_a_killed_shard_resumes_from_its_journal_in_the_next_run(fresh, undisturbed, kill_jobs):
    """Run after run gets one stage further before jobs of it are killed that have journaled something."""
    fresh.config["text"]["sources"] = fresh.config["text"]["sources"][1:]
    fresh.config["documents"] = {"databases": []}
    left = None
    for stages in ({"convert", "filter"}, {"transcribe"}, {"embed"}):
        with kill_jobs(fresh.results, attempts=10, stages=stages, journal=1) as killer:
            finished = fresh.run()
        assert {stage for stage, victims in killer.killed.items() if victims} == stages
        assert finished.code != 0
        assert left is None or sum(finished.jobs.values()) < left
        left = sum(finished.jobs.values())
    again = fresh.succeed()
    assert sum(again.jobs.values()) < left
    assert fresh.digests_of("transcripts", "notes") == undisturbed.digests_of("transcripts", "notes")


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)
    return found


def job_processes(results):
    """Processes that hold a lock of a shard now."""
    import json

    found = []
    for lock in results.glob("journal/*/*.lock"):
        try:
            found.append(json.loads(lock.read_text())["pid"])
        except (OSError, ValueError):
            continue
    return [process for process in found if alive(process)]


def test_snakemake_itself_killed_takes_its_jobs_along_and_make_run_unlocks(fresh_text, undisturbed):
    fresh = fresh_text
    process = fresh.start()
    jobs = wait_for(lambda: job_processes(fresh.results))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(job) for job in jobs), seconds=10)
    refused = fresh.run()
    assert refused.code != 0
    assert "lock" in refused.output.lower()
    release = [sys.executable, str(ROOT / "scripts/release_lock.py")]
    released = subprocess.run(release, cwd=fresh.folder, capture_output=True, text=True, check=True)
    assert "released" in released.stderr
    fresh.succeed()
    assert fresh.digests_of("web", "notes") == undisturbed.digests_of("web", "notes", chunks=False)


def test_ctrl_c_and_a_lost_terminal_leave_no_process_and_no_lock_and_say_how_to_go_on(fresh_text):
    for number in (signal.SIGINT, signal.SIGHUP):
        process = fresh_text.start(cores=1, group=0)  # a second job could be at its imports
        jobs = wait_for(lambda: job_processes(fresh_text.results))
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert not any(alive(job) for job in jobs)
        assert not list((fresh_text.folder / ".snakemake/locks").glob("*"))
        assert "Traceback" not in output
        assert re.search(r"malgeul: stopped while 1 job ran, .*; the same command goes on there", output)
        assert "failed" not in output.partition("malgeul: stopped")[2]


def test_the_lock_of_a_living_run_is_not_released(fresh):
    process = fresh.start()
    try:
        wait_for(lambda: job_processes(fresh.results))
        release = [sys.executable, str(ROOT / "scripts/release_lock.py")]
        refused = subprocess.run(release, cwd=fresh.folder, capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert f"process {process.pid}" in refused.stderr
        second = fresh.run()
        assert second.code != 0
        assert f"process {process.pid}" in second.output
    finally:
        process.kill()
        process.communicate()
