"""Which shards failed and which were not reached: by logs that this run wrote."""

import os
from dataclasses import replace

from malgeul.report.failures import TAIL_BYTES, TAIL_LINES, find_failures, tail_of


def missing(*shards):
    return [{"stage": stage, "shard": shard, "what": "has no ledger"} for stage, shard in shards]


def test_a_shard_with_an_older_log_was_not_reached(run):
    old = run.results / "logs/filter_text/web-0000.log"
    os.utime(old, (100, 100))
    gone = missing(("filter", "web-0000"), ("filter", "web-0001"), ("filter", "nowhere-0000"))
    failed, unreached = find_failures(run.results, run.plan, gone, since=1000)
    assert [failure.shard for failure in failed] == ["web-0001"]
    assert failed[0].tail == "filter web-0001: done"
    assert [failure.shard for failure in unreached] == ["web-0000", "nowhere-0000"]


def test_the_shards_of_a_stream_have_its_log(run):
    plan = replace(run.plan, text={**run.plan.text, "web-0000": replace(run.plan.text["web-0000"], stream="web-big")})
    log = run.results / "logs/ingest_stream/web-big.log"
    log.parent.mkdir()
    log.write_text("the stream broke\n")
    failed, _ = find_failures(run.results, plan, missing(("ingest", "web-0000")))
    assert failed[0].log == log
    assert failed[0].tail == "the stream broke"


def test_of_a_long_log_the_end_is_read(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes("가\n".encode() * TAIL_BYTES + b"\xff\nlast\n")
    lines = tail_of(log).splitlines()
    assert len(lines) == TAIL_LINES
    assert lines[-2:] == ["\ufffd", "last"]
