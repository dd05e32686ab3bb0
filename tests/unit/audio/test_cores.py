"""Decoders stay on cores of their own, whichever jobs they are of."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from malgeul import ROOT
from malgeul.audio import cores
from malgeul.audio.cores import core_of_its_own


@pytest.fixture(autouse=True)
def name(monkeypatch) -> str:
    """Leave the cores of other tests' decoders alone."""
    mine = f"{cores.TAKEN} of {os.getpid()}"
    monkeypatch.setattr(cores, "TAKEN", mine)
    return mine


def test_every_decoder_has_another_core_and_gives_it_back_and_one_too_many_has_none():
    allowed = os.sched_getaffinity(0)
    for _ in range(2):
        with ExitStack() as stack:
            given = [stack.enter_context(core_of_its_own()) for _ in range(len(allowed) + 1)]
            assert set(given[:-1]) == allowed
            assert given[-1] is None


def test_only_cores_that_are_allowed_are_given():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(allowed)})
        with core_of_its_own() as first, core_of_its_own() as second:
            assert (first, second) == (max(allowed), None)
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_core_that_another_job_decodes_on_is_not_given_until_that_has_died(name):
    program = (
        "import sys\n"
        "from malgeul.audio import cores\n"
        "cores.TAKEN = chr(0) + sys.argv[1]\n"
        "with cores.core_of_its_own() as core:\n"
        "    print(core, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, name[1:]]
    allowed = os.sched_getaffinity(0)
    with subprocess.Popen(
        command, cwd=ROOT / "scripts", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        theirs = int(other.stdout.readline())
        with ExitStack() as stack:
            given = [stack.enter_context(core_of_its_own()) for _ in allowed]
            assert set(given[:-1]) == allowed - {theirs}
            assert given[-1] is None
        other.kill()
        other.wait()
    with ExitStack() as stack:
        assert {stack.enter_context(core_of_its_own()) for _ in allowed} == allowed
