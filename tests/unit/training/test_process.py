"""A process of a training: the first measures for the job, and what it measured comes back with the result."""

import json
import sys
from dataclasses import dataclass

import pytest
import torch

from malgeul.models.devices import Device, cpu
from malgeul.models.sampling import read_samples
from malgeul.shards.files import write_json
from malgeul.training.process import RANK, RESULT, SIZE, take_part
from unit.models.nvml import fake_nvml

GPU = Device("cuda", "NVIDIA H200", "GPU-a")


@dataclass(frozen=True)
class Learnt:
    steps: int


@pytest.fixture
def part(results, monkeypatch):
    """Take part as a process of so many on a device; return the result of the training, or None."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)

    def take(learn, device, rank=0, size=1):
        journal = results / "journal/train/names/key"
        work = {
            "journal": str(journal),
            "meeting": str(journal / "meeting"),
            "ledger": str(results / "ledger/train/names.json"),
            "rule": "train_model",
            "hints": {"gpus": size, "profile": True},
            "device": device.to_json(),
            "threads": threads,
        }
        write_json(journal / "work.json", work)
        monkeypatch.setenv(RANK, str(rank))
        monkeypatch.setenv(SIZE, str(size))
        monkeypatch.setattr(sys, "argv", ["process", str(journal / "work.json")])
        take_part(learn)
        file = journal / RESULT
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    return take


def test_the_first_process_samples_its_gpu_beside_the_benchmark(part, results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    found = part(lambda work, job: Learnt(7), GPU)
    assert found["steps"] == 7
    gpu = found["measured"]["gpu"]
    assert gpu["file"] == "benchmarks/train_model/names.gpu.jsonl"
    assert len(read_samples(results / gpu["file"])) == gpu["samples"] >= 1


def test_what_a_process_measures_comes_back_with_its_result(part, results):
    def learn(work, job):
        assert job.hint("profile")
        assert job.profile_folder == results / "profile/train/names"
        job.ledger.measure(tokens=5)
        return Learnt(7)

    found = part(learn, cpu())
    assert found["measured"]["tokens"] == 5
    assert found["measured"]["load"]["models"] == 0, "only its imports were measured so far"
    assert "gpu" not in found["measured"]


def test_of_several_processes_the_first_alone_profiles_and_samples(part, results, monkeypatch):
    module = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)

    def learn(work, job):
        assert not job.hint("profile")
        return Learnt(7)

    assert part(learn, GPU, rank=1, size=2) is None
    assert module.calls == []
