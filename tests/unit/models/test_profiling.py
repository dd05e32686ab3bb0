"""Profiles: the first batches after one to warm up, in files for people and programs; free when not asked for."""

import gzip
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch._C._autograd import DeviceType

from malgeul import ROOT
from malgeul.models import profiling
from malgeul.models.cores import Cores
from malgeul.models.profiling import MARK, profiled, slowest


@pytest.fixture
def job(make_job):
    return make_job("embed", "web-0000", {"embeddings": "embeddings/web-0000.parquet"}, hints={"profile": True})


def compute(job, batches, first_batches=3):
    """Multiply matrices, one more in every batch."""
    with profiled(job, first_batches) as profile:
        for number in range(batches):
            with profile.batch():
                for _ in range(number + 1):
                    torch.ones(8, 8).mm(torch.ones(8, 8))
    return job.ledger.measured.get("profile")


def read(folder):
    return json.loads((folder / "operators.json").read_text("utf-8"))


def calls(folder, name="aten::mm"):
    return {row["name"]: row["calls"] for row in read(folder)["operators"]}[name]


def test_the_batches_after_the_first_are_recorded(job, results):
    facts = compute(job, 9)
    assert facts["folder"] == "profile/embed/web-0000"
    assert (facts["batches"], facts["warmed_up"]) == (3, True)
    folder = results / facts["folder"]
    assert sorted(file.name for file in folder.iterdir()) == ["operators.json", "operators.txt", "trace.json.gz"]
    assert calls(folder) == 2 + 3 + 4, "batches 2, 3 and 4"
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    assert sum(event.get("name") == MARK for event in events) == 3
    assert "aten::mm" in (folder / "operators.txt").read_text("utf-8")


def test_what_other_threads_compute_is_recorded(job, results):
    cores = Cores(2)
    with profiled(job, 1) as profile:
        for _ in range(2):
            with profile.batch():
                cores.compute(lambda _: torch.ones(8, 8).mm(torch.ones(8, 8)), range(5))
    assert calls(results / job.ledger.measured["profile"]["folder"]) == 5


def test_the_slowest_operator_is_first_and_shares_add_up(job, results):
    table = read(results / compute(job, 5)["folder"])
    times = [row["cpu_seconds"] for row in table["operators"]]
    assert times == sorted(times, reverse=True)
    rounding = 0.5e-7 * (len(times) + 1)
    assert sum(times) == pytest.approx(table["cpu_seconds"], abs=rounding)
    assert 0 < table["cpu_seconds"] <= table["seconds"]
    assert MARK not in {row["name"] for row in table["operators"]}
    if not torch.cuda.is_available():
        assert table["gpu_seconds"] is None
        assert table["kernels"] == []


@pytest.mark.parametrize(("batches", "recorded", "multiplied"), [(1, 1, 1), (2, 1, 2), (3, 2, 5)])
def test_a_job_of_few_batches_has_what_there_is(job, results, batches, recorded, multiplied):
    facts = compute(job, batches)
    assert (facts["batches"], facts["warmed_up"]) == (recorded, batches > 1)
    assert calls(results / facts["folder"]) == multiplied


def test_a_long_recording_ends_with_its_batch(job, results, monkeypatch):
    monkeypatch.setattr(profiling, "MOST_SECONDS", 0.0)
    assert compute(job, 9)["batches"] == 1


def test_a_job_that_computed_nothing_says_so(job, results):
    assert "no batch" in compute(job, 0)["failed"]
    assert not (results / "profile").exists()


def test_a_new_profile_takes_the_place_of_the_old(job, results):
    compute(job, 2)
    (results / "profile/embed/web-0000/left.txt").write_text("of before")
    compute(job, 3)
    assert not (results / "profile/embed/web-0000/left.txt").exists()


@pytest.mark.parametrize("moment", ["start", "stop", "export_chrome_trace"])
def test_a_profiler_that_fails_costs_the_profile_alone(job, results, monkeypatch, moment):
    def fail(*_):
        raise RuntimeError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")

    monkeypatch.setattr(torch.profiler.profile, moment, fail)
    assert "INSUFFICIENT" in compute(job, 9)["failed"]
    assert not (results / "profile/embed/web-0000").exists()


def test_an_error_of_the_job_is_the_jobs_and_ends_the_recording(job, results):
    def work():
        with profiled(job) as profile:
            for text in ("1", "2", "broken"):
                with profile.batch():
                    torch.ones(int(text))

    with pytest.raises(ValueError, match="broken"):
        work()
    assert "profile" not in job.ledger.measured
    assert not torch.autograd._profiler_enabled()


def test_not_asked_for_it_imports_and_writes_nothing(tmp_path):
    program = f"""
import sys
from pathlib import Path
from malgeul.models.profiling import profiled
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units
for params in ({{}}, {{"hints": {{"profile": False}}}}):
    job = Job({{}}, {{"ledger": Path({str(tmp_path)!r}) / "ledger/embed/s.json"}}, params, Units("chunk", "vector"))
    with profiled(job) as profile, profile.batch():
        pass
    assert job.ledger.measured == {{}}
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT / "scripts", timeout=60)
    assert list(tmp_path.iterdir()) == []


def average(name, kind, *, cpu=0, gpu=0):
    """An average as torch gives it, times in microseconds."""
    memory = {"self_cpu_memory_usage": 5, "self_device_memory_usage": 6}
    times = {"self_cpu_time_total": cpu, "self_device_time_total": gpu}
    return SimpleNamespace(key=name, count=2, device_type=kind, **times, **memory)


@pytest.mark.gpu
def test_kernels_of_a_gpu_are_recorded(gpu, job, results):
    one = torch.ones(64, 64, device="cuda:0")
    with profiled(job, 2) as profile:
        for _ in range(3):
            with profile.batch():
                one.mm(one)
    table = read(results / job.ledger.measured["profile"]["folder"])
    assert table["gpu_seconds"] > 0
    assert sum(row["calls"] for row in table["kernels"]) >= 2


def test_on_a_gpu_time_on_the_gpu_decides_and_kernels_are_not_counted_twice():
    averages = [
        average("aten::mm", DeviceType.CPU, cpu=10, gpu=400),
        average("aten::cat", DeviceType.CPU, cpu=900, gpu=100),
        average("sm90_gemm", DeviceType.CUDA, gpu=400),
        average("cat_kernel", DeviceType.CUDA, gpu=100),
        average(MARK, DeviceType.CPU, cpu=2000),
        average(MARK, DeviceType.CUDA, gpu=2500),
    ]
    found = slowest(averages)
    assert [(row["name"], row["gpu_seconds"], row["memory"]) for row in found["operators"]] == [
        ("aten::mm", 4e-4, 6),
        ("aten::cat", 1e-4, 6),
    ]
    assert [row["name"] for row in found["kernels"]] == ["sm90_gemm", "cat_kernel"]
    assert (found["gpu_seconds"], found["cpu_seconds"]) == (5e-4, 9.1e-4)
