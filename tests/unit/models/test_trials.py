"""Of a run's shards none decides differently because a measurement came out differently."""

import json
from pathlib import Path

import pytest

from malgeul.models.devices import Device
from malgeul.models.trials import tried_once
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units

CPU = Device("cpu", "a processor")
NAMES = ["float32", "bfloat16"]


def job_of(tmp_path: Path, shard: str, *, threads: int = 1, digest: str = "0", **settings) -> Job:
    ledger = tmp_path / "results/demo/ledger/embed" / f"{shard}.json"
    params = {"settings": {"prompt": "", "batch_tokens": 8} | settings, "handling": ["batch_tokens"]}
    identity = {"model": "demo", "digest": digest}
    return Job({}, {"ledger": ledger}, params, Units("chunk", "vector"), threads, identity=identity)


@pytest.fixture
def measure():
    """A measurement that comes out for one precision and then for the other."""
    times = []

    def measured():
        times.append(1)
        slow, fast = NAMES if len(times) % 2 else reversed(NAMES)
        return {slow: {"seconds": 2.0}, fast: {"seconds": 1.0}}

    return measured


def test_what_the_first_job_of_a_run_measured_counts_for_all(tmp_path, measure):
    first, second = job_of(tmp_path, "web-0000"), job_of(tmp_path, "web-0001")
    assert tried_once(first, CPU, NAMES, measure) == tried_once(second, CPU, NAMES, measure)
    assert first.ledger.measured == second.ledger.measured
    assert second.ledger.measured["tried_by"] == "web-0000"
    (file,) = (tmp_path / "results/demo/measured/embed").glob("*.json")
    assert json.loads(file.read_text("utf-8"))["device"]["name"] == "a processor"


@pytest.mark.parametrize(
    ("changed", "device"),
    [
        ({"threads": 2}, CPU),
        ({"digest": "1"}, CPU),
        ({"prompt": "passage: "}, CPU),
        ({}, Device("cpu", "another processor")),
    ],
)
def test_on_another_machine_with_other_threads_a_model_or_setting_it_is_measured_again(
    tmp_path, measure, changed, device
):
    first = tried_once(job_of(tmp_path, "web-0000"), CPU, NAMES, measure)
    assert tried_once(job_of(tmp_path, "web-0001", **changed), device, NAMES, measure) != first


def test_a_setting_that_changes_no_result_changes_no_decision(tmp_path, measure):
    first = tried_once(job_of(tmp_path, "web-0000"), CPU, NAMES, measure)
    assert tried_once(job_of(tmp_path, "web-0001", batch_tokens=4), CPU, NAMES, measure) == first


def test_a_measurement_that_failed_is_none(tmp_path, measure):
    def fail():
        raise MemoryError

    with pytest.raises(MemoryError):
        tried_once(job_of(tmp_path, "web-0000"), CPU, NAMES, fail)
    assert tried_once(job_of(tmp_path, "web-0001"), CPU, NAMES, measure)["bfloat16"] == {"seconds": 1.0}


def test_the_order_of_trying_survives_the_disk(tmp_path, measure):
    tried_once(job_of(tmp_path, "web-0000"), CPU, NAMES, measure)
    assert list(tried_once(job_of(tmp_path, "web-0001"), CPU, NAMES, measure)) == NAMES
