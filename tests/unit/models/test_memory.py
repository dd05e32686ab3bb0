"""Batches shrink when memory runs out and grow again; what does not fit alone costs only itself."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from malgeul.models import devices, memory
from malgeul.models.devices import Device, free_memory
from malgeul.models.memory import GROW_AFTER, Batcher, DoesNotFit, cost_of, planned_size
from unit.models.nvml import fake_nvml

CPU = Device("cpu", "x")


class Limited:
    """Works on batches of at most ``most`` items and remembers the sizes it was given."""

    def __init__(self, most):
        self.most, self.sizes = most, []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError
        return [item * 10 for item in batch]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_every_item_has_its_own_result_however_little_fits(most, n):
    assert Batcher(Limited(most), "item")(range(n)) == [item * 10 for item in range(n)]


def test_a_smaller_batch_is_kept_to_and_a_larger_one_tried_again_later():
    work = Limited(3)
    batches = Batcher(work, "item")
    batches(range(8))
    assert work.sizes == [8, 4, 2, 2, 2, 2]
    work.most = 8
    for _ in range(GROW_AFTER):
        batches(range(8))
    assert work.sizes[-1] == 8
    assert 4 in work.sizes[6:]


def test_memory_that_runs_out_in_any_batch_costs_nothing():
    for failing in range(1, 8):
        calls = 0

        def work(batch, failing=failing):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise torch.OutOfMemoryError
            return [item * 10 for item in batch]

        batches = Batcher(work, "item")
        found = [result for first in range(0, 16, 4) for result in batches(range(first, first + 4))]
        assert found == [item * 10 for item in range(16)]


def test_a_host_without_memory_is_known_by_what_torch_says():
    def work(batch):
        torch.empty(1 << 62 if len(batch) > 2 else 1, dtype=torch.uint8)
        return [item * 10 for item in batch]

    assert Batcher(work, "item")(range(8)) == [item * 10 for item in range(8)]


def test_a_library_that_gets_no_memory_of_the_gpu_halves_the_batch_too():
    def work(batch):
        if len(batch) > 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return list(batch)

    assert Batcher(work, "item")(range(8)) == list(range(8))


def test_an_item_that_does_not_fit_alone_costs_itself():
    def work(batch):
        if 5 in batch:
            raise torch.OutOfMemoryError
        return list(batch)

    found = Batcher(work, "item")(range(8))
    assert isinstance(found[5], DoesNotFit)
    assert [result for result in found if not isinstance(result, DoesNotFit)] == [0, 1, 2, 3, 4, 6, 7]


def test_another_error_is_not_taken_for_memory():
    def work(_batch):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Batcher(work, "item")([1])


def test_the_size_follows_free_memory_with_a_margin_and_a_cap(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _device: 1000)
    assert [planned_size(CPU, cost, 16) for cost in (0, 10, 100, 400, 900, 5000)] == [16, 16, 8, 2, 1, 1]


def test_the_cost_is_what_was_taken_at_the_peak():
    def work():
        held = np.ones(200 << 20, np.uint8)
        return int(held[-1])

    result, cost = cost_of(CPU, work)
    assert result == 1
    assert 190 << 20 < cost < 260 << 20


def test_a_cap_on_the_memory_counts_what_the_job_holds_already(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _device: 64 << 30)
    monkeypatch.setattr(memory, "_status", lambda _field: 1 << 30)
    monkeypatch.setenv("MAX_MEMORY_GB", "3.5")
    assert planned_size(Device("cpu", "x"), 1 << 30, 99) == 2
    monkeypatch.delenv("MAX_MEMORY_GB")
    assert planned_size(Device("cpu", "x"), 1 << 30, 99) == 51


@pytest.mark.parametrize(("integrated", "free"), [(0, 3 << 30), (1, None)])
def test_of_memory_that_a_gpu_shares_the_cache_of_files_is_free(monkeypatch, integrated, free):
    """Where NVML cannot tell, CUDA does; of memory that is the host's, what the host says counts."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(refused={"nvmlDeviceGetMemoryInfo"}))
    properties = SimpleNamespace(is_integrated=integrated)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3 << 30, 128 << 30))
    monkeypatch.setattr(devices, "_available", lambda: 100 << 30)
    monkeypatch.setattr(devices, "_cgroup_left", lambda: 1 << 62)
    assert free_memory(Device("cuda", "GB10", "GPU-a")) == (free or 100 << 30)
