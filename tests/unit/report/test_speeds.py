"""Speeds: over the time in which a stage ran, never over work that was reused."""

import pytest

from malgeul.report.speeds import read_benchmarks, speed_of
from malgeul.shards.ledger import Ledger, Tally, Units


def shard(n, start, seconds, reused=0, **measured):
    ledger = Ledger("embed", "s-0000", Units("chunk", "vector"))
    ledger.taken, ledger.reused = Tally(n, 0), reused
    ledger.started, ledger.seconds, ledger.measured = start, seconds, measured
    return ledger


def test_jobs_side_by_side_count_the_time_once():
    speed = speed_of([shard(100, 0, 10, tokens=5000), shard(100, 5, 10, tokens=4000)], [])
    assert (speed.seconds, speed.job_seconds) == (15, 20)
    assert speed.items == "13.3 chunks/s"
    assert speed.pace == "600 tokens/s"


def test_a_rate_over_shards_of_several_units_is_of_items():
    records = shard(90, 0, 9)
    records.units = Units("record", "document")
    assert speed_of([shard(10, 9, 1), records], []).items == "10 items/s"


def test_reused_shards_do_not_count_for_the_rate():
    speed = speed_of([shard(100, 0, 10, tokens=1000), shard(100, 20, 0.1, reused=100, tokens=99_000)], [])
    assert speed.items == "10 chunks/s"
    assert speed.pace == "100 tokens/s"
    assert (speed.computed, speed.reused) == (100, 100)


def test_of_a_shard_that_reused_a_part_the_rest_counts():
    speed = speed_of([shard(100, 0, 10, tokens=1000), shard(100, 10, 5, reused=50, tokens=500)], [])
    assert speed.items == "10 chunks/s"
    assert speed.pace == "100 tokens/s"
    assert (speed.computed, speed.reused) == (150, 50)
    recordings = [shard(3, 0, 10, audio_seconds=905.0), shard(3, 10, 1, reused=2, audio_seconds=905.0)]
    assert speed_of(recordings, []).pace == "90.5 × real time"


def test_a_stage_that_reused_everything_has_no_rate():
    speed = speed_of([shard(100, 0, 0.1, reused=100, tokens=1000)], [])
    assert speed.items is None
    assert speed.pace is None


def test_a_load_of_an_earlier_job_does_not_count():
    ledgers = [shard(9, 0, 10, load_seconds=4.0), shard(9, 20, 0.1, reused=9, load_seconds=50.0)]
    assert speed_of(ledgers, []).load_seconds == 4.0


def test_recordings_go_by_real_time():
    assert speed_of([shard(3, 0, 10, audio_seconds=905.0, tokens=7)], []).pace == "90.5 × real time"


def test_memory_and_cores_are_of_jobs_long_enough_to_be_sampled():
    records = [
        {"s": 10.0, "max_rss": 300.0, "cpu_time": 15.0},
        {"s": 30.0, "max_rss": 500.0, "cpu_time": 45.0},
        {"s": 40.0, "max_rss": "NA", "cpu_time": "NA"},
        {"s": 0.2, "max_rss": 6.0, "cpu_time": 0.0},
    ]
    speed = speed_of([shard(1, 0, 1)], records)
    assert (speed.memory_mb, speed.cores) == (500.0, 1.5)
    unsampled = speed_of([shard(1, 0, 1)], records[2:])
    assert (unsampled.memory_mb, unsampled.cores) == (None, None)


def test_benchmarks_are_found_by_stage_and_shard_and_half_a_line_is_left_out(run):
    records = read_benchmarks(run.results, run.plan, "filter", run.plan.shards_of()["filter"])
    assert [record["s"] for record in records] == [6] * 5
    (run.results / "benchmarks/filter_text/web-0000.jsonl").write_text('{"s": 6, "max_r')
    assert len(read_benchmarks(run.results, run.plan, "filter", run.plan.shards_of()["filter"])) == 4


@pytest.mark.parametrize("missing", [True, False])
def test_a_stage_without_benchmarks_has_none(run, missing):
    if missing:
        (run.results / "benchmarks/filter_text/web-0000.jsonl").unlink()
    assert len(read_benchmarks(run.results, run.plan, "filter", ["web-0000"])) == (0 if missing else 1)
