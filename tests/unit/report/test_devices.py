"""What the report says of models and devices: loads and their share, how busy the GPU was, the slowest operators."""

import json

import pytest

from malgeul.models.sampling import summary
from malgeul.report import devices
from malgeul.report.audit import write_audit
from malgeul.report.devices import bars, gpus, loads, profiles
from malgeul.report.page import write_report
from malgeul.shards.files import write_json
from malgeul.shards.ledger import Ledger, Tally, Units
from unit.report.test_page import Page, read_page

LOAD = {
    "models": 1, "bytes": 500_000_000, "seconds": 2.0, "import_seconds": 3.0, "megabytes_per_second": 250.0,
    "peak_host_bytes": 700_000_000, "peak_gpu_bytes": 510_000_000, "not_measured": {},
}  # fmt: skip


def shard(name="s-0000", stage="embed", seconds=20.0, reused=0, **measured):
    ledger = Ledger(stage, name, Units("chunk", "vector"))
    ledger.taken, ledger.reused, ledger.seconds, ledger.measured = Tally(10, 0), reused, seconds, measured
    return ledger


def samples(busy, *, start=100.0, power=True):
    return [
        {
            "time": start + k / 2, "utilization": percent, "memory_utilization": 5, "memory": 2_000_000_000 + k,
            "torch_memory": 900_000_000, "power": 300.0 if power else None, "energy": 150.0 * k if power else None,
            "sm_clock": 1500, "memory_clock": 2600, "temperature": 50,
        }
        for k, percent in enumerate(busy)
    ]  # fmt: skip


def test_loads_have_their_share_of_the_time_of_jobs_that_loaded():
    ledgers = [
        shard("s-0000", load=LOAD),
        shard("s-0001", seconds=30.0, load={**LOAD, "seconds": 3.0, "peak_gpu_bytes": None}),
        shard("s-0002", seconds=50.0),  # everything was in its journal
        shard("s-0003", seconds=0.1, reused=10, load={**LOAD, "seconds": 99.0}),  # of the job before
    ]
    (row,) = loads(ledgers)
    assert (row["n"], row["bytes"]) == (2, 1_000_000_000)
    assert (row["whole"], row["job_seconds"]) == (11.0, 50.0)
    assert row["megabytes_per_second"] == 200
    assert row["peak_gpu_bytes"] == 510_000_000
    assert [job["shard"] for job in row["jobs"]] == ["s-0001", "s-0000"]
    assert loads([shard(), shard(reused=10, load=LOAD)]) == []


def test_long_lists_are_cut_and_sums_are_over_all(monkeypatch):
    monkeypatch.setattr(devices, "JOBS_SHOWN", 3)
    (row,) = loads([shard(f"s-{k:04}", load=LOAD) for k in range(9)])
    assert (row["n"], len(row["jobs"]), row["whole"]) == (9, 3, 45.0)


def test_the_gpu_that_idled_longest_is_first(results):
    def job(name, busy):
        return shard(name, gpu={"file": f"benchmarks/embed_chunks/{name}.gpu.jsonl", **summary(samples(busy), {})})

    found = gpus(results, [job("busy", [90] * 9), job("idle", [0] * 6 + [90] * 3), job("half", [0, 90] * 4 + [0])])
    assert [row["shard"] for row in found["jobs"]] == ["idle", "half", "busy"]
    (stage,) = found["stages"]
    assert stage["utilization"] == pytest.approx((90 + 30 + 40) / 3, abs=0.01)
    assert stage["energy"] == 3 * 150 * 8
    assert stage["peak"] == 2_000_000_008
    assert found["jobs"][0]["chart"] == [], "a file of samples that is gone costs the chart alone"
    assert gpus(results, [shard()]) is None


def test_a_device_that_tells_little_has_gaps_with_reasons(results):
    told = samples([50, 50], power=False)
    for sample in told:
        sample["memory"] = None
    refused = dict.fromkeys(("memory", "power", "energy"), "Not Supported")
    found = gpus(results, [shard(gpu={"file": "x", **summary(told, refused)})])
    assert found["stages"][0]["energy"] is None
    assert found["stages"][0]["peak"] == 900_000_000, "what torch held of it"
    assert found["reasons"] == {name: ["Not Supported"] for name in ("energy", "memory", "power")}


def test_a_chart_has_the_mean_of_each_part_of_the_time():
    drawn = bars(samples([0] * 50 + [100] * 50), columns=4)
    assert [round(bar["height"]) for bar in drawn] == [0, 0, 100, 100]
    assert [bar["x"] for bar in drawn] == [0, 25, 50, 75]
    assert len(bars(samples([10, 20, 30]), columns=60)) == 3
    assert bars(samples([10])) == bars([{"time": 1.0, "utilization": None}]) == []


def test_a_profile_that_failed_or_is_gone_says_so(results):
    gone = {"folder": "profile/embed/s-0000", "batches": 8, "seconds": 1.0}
    found = profiles(results, [shard(profile=gone), shard(profile={"folder": "x", "batches": 0, "failed": "CUPTI"})])
    assert "cannot be read" in found["jobs"][0]["failed"]
    assert found["jobs"][1]["failed"] == "CUPTI"
    assert profiles(results, [shard()]) is None


@pytest.fixture
def measured(run):
    """The page of a run whose embed jobs loaded a model, held a GPU and were profiled."""
    (name, *_) = run.plan.shards_of()["embed"]
    file = run.results / f"benchmarks/embed_chunks/{name}.gpu.jsonl"
    taken = samples([0, 0, 80, 80])
    file.write_text("".join(json.dumps(sample) + "\n" for sample in taken), encoding="utf-8")
    row = {"name": "aten::<b>mm", "calls": 7, "cpu_seconds": 0.5, "gpu_seconds": None, "memory": 0}
    folder = f"profile/embed/{name}"
    table = {"seconds": 2.0, "cpu_seconds": 1.0, "gpu_seconds": None, "operators": [row], "kernels": []}
    write_json(run.results / folder / "operators.json", table)
    for part in ("trace.json.gz", "operators.txt"):
        (run.results / folder / part).write_bytes(b"x")
    known = run.read("embed", name)["measured"]
    gpu = {"file": str(file.relative_to(run.results)), **summary(taken, {"temperature": "no <sensor>"})}
    profile = {"folder": folder, "batches": 8, "warmed_up": True, "seconds": 2.0, "writing_seconds": 1.0}
    run.change("embed", name, measured={**known, "load": LOAD, "gpu": gpu, "profile": profile})
    write_report(run.results, write_audit(run.results, "quarantine"))
    page = Page(read_page(run.results))
    assert page.open == []
    return page


def test_the_page_shows_loads_gpus_and_operators(measured):
    text = measured.text
    assert "Loading models" in text
    assert "500 MB" in text
    assert "250 MB/s" in text
    assert "56 %" in text, "5 s of loading in a job of 9 s"
    assert "How busy the GPU was" in text
    assert "40 %" in text
    assert "450 J" in text
    assert "aten::<b>mm 7 500 ms 50 %" in text
    assert "8 batches, 2 s" in text
    assert len([1 for tag, attributes in measured.tags if attributes.get("class") == "busy"]) == 1


def test_links_of_the_page_lead_to_files_of_the_run(measured, run):
    links = [attributes["href"] for tag, attributes in measured.tags if tag == "a"]
    links = [link for link in links if link.startswith("profile/")]
    assert len(links) == 3
    assert all((run.results / link).is_file() for link in links)


def test_a_run_without_models_has_no_such_chapter(text_run, tmp_path):
    write_report(text_run.results, write_audit(text_run.results, "quarantine"))
    assert "Models and devices" not in read_page(text_run.results)
