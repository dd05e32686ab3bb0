"""SIGTERM ends a job after the batch under way, which counts; a second one, Ctrl-C and a hang-up end it at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from malgeul import ROOT
from malgeul.shards.stopping import TERMINATED, stopped_by, whole_batch

JOB = """
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {scripts!r})
from malgeul.shards.job import run_job
from malgeul.shards.ledger import Units
from malgeul.shards.stopping import whole_batch

def tell(what):
    print(what, flush=True)
    sys.stdin.readline()

def work(job):
    place = job.staged("copy")
    for number in "012":
        if number in job.journal:
            continue
        with whole_batch():
            tell("in " + number)
            job.journal.put(number)
        tell("after " + number)
    place.write_text("whole")

results = Path(sys.argv[1])
output = {{"copy": results / "copies/s-0000.txt", "ledger": results / "ledger/copy/s-0000.json"}}
run_job(
    SimpleNamespace(input={{}}, output=output, params={{}}, threads=1, log=[results / "log"], rule="copy"),
    work,
    Units("line", "line"),
)
"""


@pytest.fixture
def start(tmp_path):
    """Start a job of three batches in a process of its own, which waits for a line in every batch and after it."""
    jobs = []

    def started():
        command = [sys.executable, "-c", JOB.format(scripts=str(ROOT / "scripts")), str(tmp_path)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        jobs.append(subprocess.Popen(command, **pipes, text=True, bufsize=1))
        return jobs[-1]

    yield started
    for job in jobs:
        job.kill()
        job.communicate()


def follow(job, *steps):
    """Let a job go on from the first of these steps to the last, where it waits."""
    for step in steps:
        assert job.stdout.readline() == f"{step}\n"
        if step != steps[-1]:
            job.stdin.write("\n")


def journaled(folder):
    lines = (folder / "journal/copy/s-0000/journal.jsonl").read_text().splitlines()
    return [json.loads(line.partition("\t")[0])["key"] for line in lines]


def test_sigterm_in_a_batch_ends_the_job_when_it_is_recorded_and_the_next_run_goes_on_there(start, tmp_path):
    job = start()
    follow(job, "in 0", "after 0", "in 1")
    job.send_signal(signal.SIGTERM)
    rest, _ = job.communicate("\n")
    assert (job.returncode, rest) == (TERMINATED, "")
    assert journaled(tmp_path) == ["0", "1"]
    assert not (tmp_path / "copies/s-0000.txt").exists()
    assert not (tmp_path / "ledger/copy/s-0000.json").exists()
    assert "copy s-0000: stopped by SIGTERM after a whole batch" in (tmp_path / "log").read_text()
    job = start()
    follow(job, "in 2", "after 2")
    job.communicate("\n")
    assert job.returncode == 0
    assert (tmp_path / "copies/s-0000.txt").read_text() == "whole"


def test_sigterm_in_the_last_batch_is_no_success_either(start, tmp_path):
    job = start()
    follow(job, "in 0", "after 0", "in 1", "after 1", "in 2")
    job.send_signal(signal.SIGTERM)
    job.communicate("\n")
    assert job.returncode == TERMINATED
    assert not (tmp_path / "copies/s-0000.txt").exists()


def test_a_second_sigterm_ends_a_batch_that_does_not_end(start, tmp_path):
    job = start()
    follow(job, "in 0")
    deadline = time.monotonic() + 60
    while job.poll() is None:
        assert time.monotonic() < deadline
        job.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert job.returncode == -signal.SIGTERM
    assert journaled(tmp_path) == []


def test_sigterm_between_batches_ends_the_job_at_once(start, tmp_path):
    job = start()
    follow(job, "in 0", "after 0")
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == -signal.SIGTERM
    assert journaled(tmp_path) == ["0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("step", ["in 1", "after 0"])
def test_ctrl_c_and_a_closed_terminal_end_a_job_at_once_with_a_word_and_no_traceback(start, tmp_path, number, step):
    job = start()
    follow(job, *(("in 0", "after 0", "in 1")[: 3 if step == "in 1" else 2]))
    job.send_signal(number)
    assert job.wait(60) == -number
    assert journaled(tmp_path) == ["0"]
    for told in (job.stderr.read(), (tmp_path / "log").read_text()):
        assert told.count("\n") == 1
        assert f"copy s-0000: stopped by {number.name}" in told


def test_a_signal_that_is_ignored_where_the_job_was_started_stays_so(start, tmp_path, monkeypatch):
    """As nohup does, and a shell script for what it starts with &."""
    monkeypatch.setitem(globals(), "JOB", "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + JOB)
    job = start()
    follow(job, "in 0", "after 0")
    job.send_signal(signal.SIGHUP)
    job.stdin.write("\n")
    follow(job, "in 1", "after 1", "in 2", "after 2")
    job.communicate("\n")
    assert job.returncode == 0


@pytest.mark.parametrize(
    ("tail", "signal_name"),
    [
        ("12:00:00 INFO a: b\n12:00:01 WARNING c: copy s-0000: stopped by SIGINT\n", "SIGINT"),
        ("12:00:01 WARNING c: copy s-0000: stopped by SIGTERM after a whole batch", "SIGTERM"),
        ("c: copy s-0000: stopped by SIGINT\nRuntimeError: planted", None),
        ("", None),
    ],
)
def test_a_log_tells_what_stopped_its_job(tail, signal_name):
    assert stopped_by(tail) == signal_name


def test_what_fails_in_a_batch_fails_as_it_would_without_one():
    with pytest.raises(ZeroDivisionError), whole_batch():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_nothing_is_held_back_in_another_thread():
    found = []

    def work():
        with whole_batch():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
