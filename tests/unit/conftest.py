"""Jobs made by hand, and the device of those that need one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from malgeul.models.devices import Device, claimed_device
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units

settings.register_profile("malgeul", deadline=None)  # other tests run beside
settings.load_profile("malgeul")

# What a script starts with & has Ctrl-C ignored, and so has all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: heeded by none here either, but by what tests start
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results" / "demo"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests for a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA device")


@pytest.fixture
def gpu() -> Iterator[Device]:
    """Hold a GPU as a job does, in a test that is marked so."""
    with claimed_device() as device:
        assert device.kind == "cuda"
        yield device


@pytest.fixture
def make_job(results):
    """Build a job of a stage; files of results/ are named relative to it, ledgers are those of the inputs' stages."""

    def make(stage, shard, outputs, *, units=("document", "document"), ledgers=(), inputs=None, threads=1, **params):
        return Job(
            inputs={**(inputs or {}), "ledger": [results / "ledger" / name for name in ledgers]},
            outputs={
                **{name: results / place for name, place in outputs.items()},
                "ledger": results / "ledger" / stage / f"{shard}.json",
            },
            params=params,
            units=Units(*units),
            threads=threads,
        )

    return make
