"""With two GPUs two jobs hold two different devices; the scheduler's choice stands (law 8)."""

import multiprocessing
import os

import pytest

from malgeul.models.devices import (
    Device,
    claimed_device,
    claimed_devices,
    count_gpus,
    free_memory,
    threads_beside_gpu,
    threads_with_gpu,
)
from malgeul.shards.faults import FAILED, exit_status

TWO = (Device("cuda", "A", "GPU-a", 1 << 30), Device("cuda", "B", "GPU-b", 1 << 30))


@pytest.fixture(autouse=True)
def no_device_chosen(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def hold(slots, held, release):
    with claimed_device(slots, lambda: TWO) as device:
        held.put((device.uuid, os.environ["CUDA_VISIBLE_DEVICES"]))
        release.wait(20)


def test_two_jobs_hold_different_devices_and_a_third_waits(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Queue(), context.Event()
    jobs = [context.Process(target=hold, args=(tmp_path, held, release)) for _ in range(2)]
    for job in jobs:
        job.start()
    claims = [held.get(timeout=20) for _ in jobs]
    assert {uuid for uuid, _ in claims} == {"GPU-a", "GPU-b"}
    assert all(uuid == visible for uuid, visible in claims)
    with pytest.raises(TimeoutError, match="no GPU became free"), claimed_device(tmp_path, lambda: TWO, patience=0.2):
        pass
    release.set()
    for job in jobs:
        job.join(20)
    with claimed_device(tmp_path, lambda: TWO) as device:
        assert device.uuid == "GPU-a"


def test_a_node_that_has_lost_a_gpu_is_no_permanent_error(tmp_path):
    """The next attempt may run on another node."""
    with (
        pytest.raises(RuntimeError, match="asks for 3 GPUs, of which this machine shows 2") as raised,
        claimed_devices(3, tmp_path, lambda: TWO),
    ):
        pass
    assert exit_status(raised.value) == FAILED


def test_a_device_that_the_scheduler_granted_is_not_chosen_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with claimed_device(tmp_path, lambda: TWO) as device:
        assert device.uuid == "GPU-b"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert not list(tmp_path.iterdir())


def test_numbers_are_those_of_nvidia_smi(tmp_path, monkeypatch):
    """CUDA's own put the fastest first: another device would be asked for its memory than the one that computes."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    with claimed_device(tmp_path, lambda: TWO):
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_of_several_devices_that_the_user_chose_each_job_takes_another(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    with claimed_device(tmp_path, lambda: TWO) as first:
        assert (first.uuid, os.environ["CUDA_VISIBLE_DEVICES"]) == ("GPU-b", "GPU-b")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        with claimed_device(tmp_path, lambda: TWO) as second:
            assert second.uuid == "GPU-a"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,0"


def test_without_a_gpu_it_is_the_cpu_even_where_the_scheduler_names_one(tmp_path, monkeypatch):
    with claimed_device(tmp_path, lambda: ()) as device:
        assert device.kind == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # a test cluster that grants a device nobody has
    with claimed_device(tmp_path, lambda: ()) as device:
        assert device.kind == "cpu"


@pytest.mark.parametrize(
    ("visible", "number"), [("", 0), ("-1", 0), ("0", 1), ("0, 1", 2), ("GPU-a", 1), ("0,-1,1", 1)]
)
def test_visible_devices_are_counted(monkeypatch, visible, number):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == number


def test_the_hosts_free_memory_is_no_more_than_there_is():
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free_memory(Device("cpu", "x")) <= physical


@pytest.mark.parametrize(
    ("visible", "cores", "jobs", "with_gpu", "beside"),
    [
        ("0", 20, 1, 4, 16),
        ("0", 2, 1, 1, 1),
        ("0", 1, 1, 1, 1),
        ("", 20, 1, 20, 20),
        ("", 20, 2, 10, 10),
        ("", 2, 1, 2, 2),
        ("", 1, 2, 1, 1),
        ("", 2, 0, 2, 2),
    ],
)
def test_without_a_gpu_its_jobs_have_all_cores(monkeypatch, visible, cores, jobs, with_gpu, beside):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert threads_with_gpu(cores, jobs) == with_gpu
    assert threads_beside_gpu(cores, jobs) == beside
