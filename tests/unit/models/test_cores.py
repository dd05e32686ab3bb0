"""Parts of a batch are computed side by side, each on its share of the cores, and no part is left running."""

import contextlib
import gc
import threading
import time
import weakref

import pytest
import torch

from malgeul.models.cores import Cores


@pytest.fixture(autouse=True)
def _as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("parts", "share"), [(1, 6), (2, 3), (4, 1), (6, 1), (20, 1)])
def test_every_part_has_an_equal_share_of_the_cores(parts, share):
    cores = Cores(6)
    seen = cores.compute(lambda part: (part, torch.get_num_threads()), range(parts))
    assert seen == [(part, share) for part in range(parts)]
    assert torch.get_num_threads() == 6


def test_parts_run_at_the_same_time():
    meeting = threading.Barrier(3)
    assert sorted(Cores(3).compute(lambda _: meeting.wait(20), range(3))) == [0, 1, 2]


def test_nothing_runs_on_when_a_part_fails():
    ended = []

    def work(part):
        if part == 0:
            raise torch.OutOfMemoryError("full")
        time.sleep(0.05)
        ended.append(part)

    cores = Cores(2)
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        cores.compute(work, range(4))
    assert sorted(ended) == [1, 2, 3]
    assert torch.get_num_threads() == 2


def test_the_memory_of_parts_that_failed_is_free_before_a_smaller_batch_is_tried():
    held = []

    def work(part):
        tensor = torch.zeros(10)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError(f"full at {part}")

    cores = Cores(2)
    gc.disable()
    try:
        with contextlib.suppress(torch.OutOfMemoryError):
            cores.compute(work, range(4))
        assert len(held) == 4
        for _ in range(1000):  # a thread lets go of its error just after it has told of it
            if not any(tensor() is not None for tensor in held):
                break
            time.sleep(0.01)
        assert [tensor() for tensor in held] == [None] * 4
    finally:
        gc.enable()
