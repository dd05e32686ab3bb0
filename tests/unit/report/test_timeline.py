"""The chart of jobs: places within the width, idle hours cut out, few marks however many jobs."""

import pytest

from malgeul.report.timeline import CUTS_WIDTH, Axis, lanes_of, timeline, total, union
from malgeul.shards.ledger import Ledger, Units


def job(stage, start, seconds, shard="s-0000"):
    ledger = Ledger(stage, shard, Units("document", "document"))
    ledger.started, ledger.seconds = start, seconds
    return ledger


def test_the_time_in_which_anything_ran_is_counted_once():
    assert union([(5, 9), (0, 2), (1, 4), (8, 10)]) == [(0, 4), (5, 10)]
    assert total(union([(5, 9), (0, 2), (1, 4), (8, 10)])) == 9
    assert union([(0, 1), (3, 4)], gap=2) == [(0, 4)]


def test_places_run_from_left_to_right_without_the_hours_between_two_runs():
    axis = Axis.over([(1000, 1100), (90_000, 90_100)])
    places = [axis.place(t) for t in (1000, 1050, 1100, 90_000, 90_050, 90_100)]
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == pytest.approx(100)
    assert places[3] - places[2] == pytest.approx(axis.cut_width)
    assert places[2] - places[0] == pytest.approx(places[5] - places[3])
    (cut,) = axis.cuts()
    assert cut["label"] == "1 d 0 h"


def test_short_pauses_stay():
    assert Axis.over([(0, 100), (120, 200)]).cuts() == []


def test_many_runs_leave_room_for_their_jobs():
    axis = Axis.over([(day * 86400.0, day * 86400.0 + 60) for day in range(200)])
    assert sum(cut["width"] for cut in axis.cuts()) <= CUTS_WIDTH
    assert axis.place(199 * 86400.0 + 60) == pytest.approx(100)


@pytest.mark.parametrize("seconds", [0.3, 7, 200, 5000, 90_000, 3_000_000])
def test_the_axis_has_few_marks_whatever_its_length(seconds):
    ticks = Axis.over([(1e9, 1e9 + seconds)]).ticks()
    assert 2 <= len(ticks) <= 11
    assert all(0 <= tick["x"] <= 94 for tick in ticks)
    assert ticks[0]["label"] == "0 s"


def test_jobs_that_overlap_are_on_lanes_of_their_own():
    jobs = [((0, 5), "a"), ((1, 3), "b"), ((3, 6), "c"), ((5, 9), "d")]
    lanes = [[name for _, name in lane] for lane in lanes_of(jobs)]
    assert lanes == [["a", "d"], ["b", "c"]]


def test_figures_tell_how_busy_the_machine_and_the_gpu_jobs_were():
    chart = timeline([job("transcribe", 0, 6), job("convert", 4, 6), job("filter", 0, 2)])
    assert (chart["busy"], chart["model"], chart["work"]) == (10, 6, 14)
    assert [row["stage"].name for row in chart["rows"]] == ["convert", "transcribe", "filter"]


def test_thousands_of_jobs_become_a_page_of_blocks_in_all_their_time():
    chart = timeline(job("filter", k * 1.0, 0.9, f"s-{k:04d}") for k in range(5000))
    (row,) = chart["rows"]
    blocks = [block for lane in row["lanes"] for block in lane]
    assert row["jobs"] == 5000
    assert len(blocks) < 500
    assert all(block["x"] >= 0 and block["x"] + block["width"] <= 100.0001 for block in blocks)


def test_a_run_without_jobs_has_no_chart():
    assert timeline([]) is None


def test_a_job_that_took_no_time_is_shown():
    chart = timeline([job("merge", 50.0, 0.0)])
    assert chart["rows"][0]["lanes"][0][0]["width"] > 0
