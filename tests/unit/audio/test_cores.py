"""Decoders share the cores evenly, each on one."""

import os
from contextlib import ExitStack

from malgeul.audio.cores import core_of_its_own


def test_decoders_share_the_cores_evenly_and_give_them_back():
    cores = os.sched_getaffinity(0)
    for _ in range(2):
        with ExitStack() as stack:
            given = [stack.enter_context(core_of_its_own()) for _ in range(2 * len(cores))]
            assert {core: given.count(core) for core in given} == dict.fromkeys(cores, 2)


def test_only_cores_that_are_allowed_are_given():
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(cores)})
        with core_of_its_own() as first, core_of_its_own() as second:
            assert first == second == max(cores)
    finally:
        os.sched_setaffinity(0, cores)
