"""A GPU is sampled beside the job's benchmark, what it does not tell is null with a reason, and no job ends of it."""

import json
import sys
import threading
import time

import pytest

from malgeul.models.devices import Device, cpu
from malgeul.models.sampling import read_samples, sampled, summary
from unit.models.nvml import fake_nvml

GPU = Device("cuda", "NVIDIA GB10", "GPU-a")
FAST = 0.01


@pytest.fixture
def job(make_job):
    made = make_job("embed", "web-0000", {"embeddings": "embeddings/web-0000.parquet"})
    made.rule = "embed_chunks"
    return made


@pytest.fixture
def nvml(monkeypatch):
    """Put a fake in the place of pynvml."""

    def install(**how):
        module = fake_nvml(**how)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    return install


def watched(job, seconds=0.3, device=GPU):
    with sampled(job, device, FAST):
        time.sleep(seconds)
    return job.ledger.measured.get("gpu")


def test_samples_lie_beside_the_benchmark_and_their_sum_in_the_ledger(job, nvml, results):
    module = nvml()
    gpu = watched(job)
    assert gpu["file"] == "benchmarks/embed_chunks/web-0000.gpu.jsonl"
    samples = read_samples(results / gpu["file"])
    assert len(samples) == gpu["samples"] >= 6
    assert [sample["utilization"] for sample in samples[:4]] == [0, 40, 80, 0]
    assert [sample["power"] for sample in samples[:3]] == [100, 180, 260]
    assert {sample["sm_clock"] for sample in samples} == {1980}
    assert {sample["memory_clock"] for sample in samples} == {2619}
    assert samples[2]["memory"] == (1 << 30) + (80 << 20)
    assert samples[2]["temperature"] == 48
    busy = [sample["utilization"] for sample in samples]
    assert gpu["utilization_mean"] == pytest.approx(sum(busy) / len(busy), abs=0.01)
    assert gpu["utilization_max"] == 80
    assert gpu["idle_share"] == pytest.approx(busy.count(0) / len(busy), abs=1e-4)
    assert gpu["peak_memory_bytes"] == (1 << 30) + (80 << 20)
    assert gpu["power_watts_max"] == 260
    assert (gpu["energy_joules"], gpu["energy_from"]) == (50.0 * (len(samples) - 1), "counter")
    assert 0.2 < gpu["seconds"] < 5
    assert gpu["not_measured"] == {}
    assert module.open == 0, "every nvmlInit has its nvmlShutdown"
    assert not [thread for thread in threading.enumerate() if thread.name == "gpu"]


def test_what_a_device_does_not_tell_is_null_with_the_reason(job, nvml):
    nvml(refused={"nvmlDeviceGetMemoryInfo", "nvmlDeviceGetClockInfo"})  # as unified memory does
    gpu = watched(job)
    assert gpu["peak_memory_bytes"] is gpu["sm_clock_mean"] is None
    unseen = dict.fromkeys(("memory", "sm_clock", "memory_clock"), "Not Supported")
    assert gpu["not_measured"] == unseen
    assert gpu["utilization_max"] == 80


def test_without_a_counter_energy_is_of_the_power(job, nvml):
    nvml(refused={"nvmlDeviceGetTotalEnergyConsumption"}, utilization=(50,))
    gpu = watched(job)
    assert gpu["energy_from"] == "power"
    assert gpu["energy_joules"] == pytest.approx(200 * gpu["seconds"], abs=0.1)


def test_without_counter_and_power_there_is_no_energy(job, nvml):
    nvml(refused={"nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"})
    gpu = watched(job)
    assert (gpu["energy_joules"], gpu["energy_from"], gpu["power_watts_mean"]) == (None, None, None)
    assert set(gpu["not_measured"]) == {"energy", "power"}


@pytest.mark.parametrize(
    ("how", "reason"), [({"missing": True}, "Refused: Not Found"), ({"refused": {"nvmlInit"}}, "Not Supported")]
)
def test_a_device_that_cannot_be_asked_costs_the_samples_alone(job, nvml, how, reason):
    nvml(**how)
    gpu = watched(job, 0.05)
    assert gpu["samples"] == 0
    assert gpu["utilization_mean"] is gpu["energy_joules"] is None
    assert reason in gpu["not_measured"]["samples"]


def test_a_file_that_cannot_be_written_costs_the_samples_alone(job, nvml, results):
    nvml()
    (results / "benchmarks").mkdir(parents=True)
    (results / "benchmarks/embed_chunks").write_text("no folder")
    assert "samples" in watched(job, 0.05)["not_measured"]


def test_an_error_of_the_job_is_the_jobs(job, nvml, results):
    nvml()
    with pytest.raises(ValueError, match="broken"), sampled(job, GPU, FAST):
        int("broken")
    assert read_samples(results / "benchmarks/embed_chunks/web-0000.gpu.jsonl")
    assert not [thread for thread in threading.enumerate() if thread.name == "gpu"]


def test_on_a_processor_nothing_is_started_or_imported(job, results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import would fail
    monkeypatch.setattr(threading.Thread, "start", lambda _self: pytest.fail("a thread was started"))
    assert watched(job, 0, cpu()) is None
    assert not (results / "benchmarks").exists()


def test_what_torch_holds_is_sampled_only_once_it_uses_the_device(job, nvml, monkeypatch, results):
    nvml()
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert watched(job, 0.05)["peak_torch_bytes"] is None

    class Cuda:
        is_initialized = staticmethod(lambda: True)
        memory_reserved = staticmethod(lambda: 7 << 20)

    torch = type(sys)("torch")
    torch.cuda = Cuda
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert watched(job, 0.05)["peak_torch_bytes"] == 7 << 20


@pytest.mark.gpu
def test_a_device_tells_what_is_asked_of_it(gpu, job):
    """The names and units of NVML itself, which the fake only claims."""
    import torch

    with sampled(job, gpu, FAST):
        held = torch.ones(256 << 20, dtype=torch.uint8, device="cuda:0")
        time.sleep(0.5)
    told = job.ledger.measured["gpu"]
    assert "samples" not in told["not_measured"]
    assert told["samples"] > 3
    assert told["peak_torch_bytes"] >= held.nbytes
    total = torch.cuda.get_device_properties(0).total_memory
    for name, least, most in (
        ("utilization_max", 0, 100),
        ("peak_memory_bytes", held.nbytes, 1.1 * total),
        ("power_watts_max", 1, 2000),
        ("sm_clock_max", 100, 5000),
        ("temperature_max", 5, 120),
    ):
        assert told[name] is None or least <= told[name] <= most, name


def test_half_a_line_is_no_sample(tmp_path):
    file = tmp_path / "x.gpu.jsonl"
    file.write_text(json.dumps({"time": 1.0, "utilization": 3}) + '\n{"time": 1.5, "util')
    assert read_samples(file) == [{"time": 1.0, "utilization": 3}]
    assert read_samples(tmp_path / "none") == []


def test_one_refusal_among_answers_is_no_gap():
    samples = [{"time": 0.0, "power": None}, {"time": 1.0, "power": 100.0}, {"time": 3.0, "power": 200.0}]
    found = summary(samples, {"power": "Unknown Error"})
    assert found["power_watts_mean"] == 150
    assert found["energy_joules"] == 300
    assert found["not_measured"] == {}
