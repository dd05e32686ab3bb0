"""An orphan never writes beside its successor (law 3)."""

import os
import signal
import subprocess
import sys
import time

import pytest

from malgeul.shards.locks import OWNER, Busy, alive, shard_lock, try_lock


def test_two_holders_of_a_lock_exclude_each_other_and_say_who_holds_it(tmp_path):
    lock = tmp_path / "x.lock"
    with shard_lock(lock, 0), pytest.raises(Busy, match=f"process {os.getpid()} on"), shard_lock(lock, 0):
        pass
    free = try_lock(lock)
    assert free is not None
    free.close()


CHILD = """
import time
from malgeul.shards.locks import die_with_owner
die_with_owner()
print("up", flush=True)
time.sleep(60)
"""


def wait_for_end(process, seconds=10):
    deadline = time.monotonic() + seconds
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(process)


def test_a_job_dies_with_the_snakemake_that_owns_it():
    owner = subprocess.Popen(["sleep", "60"])
    environment = {**os.environ, OWNER: str(owner.pid), "PYTHONPATH": os.pathsep.join(sys.path)}
    job = subprocess.Popen([sys.executable, "-c", CHILD], env=environment, stdout=subprocess.PIPE)
    assert job.stdout.readline() == b"up\n"
    owner.kill()
    owner.wait()
    assert job.wait(10) == -signal.SIGKILL


def test_a_job_whose_owner_is_already_gone_does_not_start():
    owner = subprocess.Popen(["true"])
    owner.wait()
    environment = {**os.environ, OWNER: str(owner.pid), "PYTHONPATH": os.pathsep.join(sys.path)}
    job = subprocess.Popen([sys.executable, "-c", CHILD], env=environment)
    assert job.wait(10) == -signal.SIGKILL


def test_a_zombie_is_not_alive():
    process = subprocess.Popen(["true"])
    assert wait_for_end(process.pid)
    process.wait()
