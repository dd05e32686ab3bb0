"""A pace is that of the last minutes: idle hours, items found finished and other attempts do not count."""

import pytest

from malgeul.watch.pace import WINDOW, PaceMeter, at, whole_remaining
from malgeul.watch.run import RunView, StageView, Work

NOW = 1_800_000_000.0


def view(stages, *, started=NOW - 7200, now=NOW, state="running"):
    return RunView(None, now, state, started, "process 1", stages)


def stage(*work, name="embed", total=10_000, items=5_000, **shards):
    one = StageView(name, "chunk", items=items, total=total)
    one.shards.update(shards or {"done": 2, "running": 1, "left": 2})
    one.work = list(work)
    return one


def pace(*work, started=NOW - 7200, state="running", **facts):
    return PaceMeter().paces(view([stage(*work, **facts)], started=started, state=state))["embed"]


def work(items, started, ended, shard="s-0000", name="embed"):
    return Work(name, shard, items, NOW + started, NOW + ended)


def test_the_rate_is_over_the_window_alone():
    found = pace(work(100_000, -7000, -3600), work(600, -300, 0))
    assert found.rate == pytest.approx(2)
    assert found.remaining == pytest.approx(2500)


def test_of_a_shard_that_began_before_the_window_the_part_inside_counts():
    assert pace(work(1200, -600, 0)).rate == pytest.approx(600 / WINDOW)


def test_a_stage_that_has_just_begun_is_not_measured_over_time_in_which_it_did_not_run():
    assert pace(work(100, -20, 0)).rate == pytest.approx(5)


def test_jobs_side_by_side_add_up():
    assert pace(work(100, -100, 0, "a"), work(100, -100, 0, "b")).rate == pytest.approx(2)


def test_time_between_two_shards_counts_because_it_will_come_again():
    assert pace(work(100, -200, -180), work(100, -20, 0)).rate == pytest.approx(1)


def test_after_a_resume_neither_the_pause_nor_the_attempt_before_counts():
    before, pause = work(30_000, -290, -250), 240.0
    found = pace(before, work(40, -10, 0, "s-0001"), started=NOW - 290 + pause + 30)
    assert found.rate == pytest.approx(4)
    assert found.remaining == pytest.approx(5000 / 4)


def test_items_found_finished_do_not_count():
    assert pace(work(0, -10, 0)).rate is None
    assert pace(work(0, -10, 0), work(50, -10, 0, "other")).rate == pytest.approx(5)


def test_what_is_seen_of_a_running_shard_replaces_the_guess_that_items_come_evenly():
    meter = PaceMeter()
    started = -1000
    for seconds, items in ((0, 9000), (100, 9000), (200, 9100), (300, 9300), (400, 9400)):
        one = stage(Work("embed", "s", items, NOW + started, NOW + seconds))
        found = meter.paces(view([one], now=NOW + seconds))["embed"]
    assert found.rate == pytest.approx(400 / 300)  # 9000 of them came before the window


def test_a_shard_that_begins_again_is_another_attempt():
    meter = PaceMeter()
    meter.paces(view([stage(work(500, -100, 0))]))
    later = Work("embed", "s-0000", 30, NOW + 10, NOW + 20)
    assert meter.paces(view([stage(later)], now=NOW + 20))["embed"].rate == pytest.approx(3)


def test_what_is_not_known_has_no_remaining_time():
    assert pace(work(100, -100, 0), total=None).remaining is None
    assert pace(work(100, -100, 0), total=None).rate == pytest.approx(1)
    assert pace().remaining is None
    assert pace(work(100, -100, 0), state="stopped").remaining is None


def test_a_stage_with_nothing_left_is_done():
    assert pace(items=10_000, done=5).remaining == 0


def test_a_stage_whose_estimate_is_used_up_is_not_said_to_be_done():
    one = stage(total=0, items=0, left=9)
    one.estimated = True
    assert PaceMeter().paces(view([one]))["embed"].remaining is None


def test_a_meter_forgets_what_has_left_the_window():
    meter = PaceMeter()
    for n in range(50):
        meter.paces(view([stage(work(10, n * 100, n * 100 + 50, f"s-{n}"))], now=NOW + n * 100 + 60))
    assert len(meter._seen) <= 4


def test_the_whole_takes_as_long_as_its_slowest_stage_and_longer_where_one_has_not_begun():
    slow = stage(work(100, -100, 0), name="embed")
    fast = stage(work(1000, -100, 0, name="chunk"), name="chunk")
    waiting = stage(name="index", items=0)
    looked = view([slow, fast])
    assert whole_remaining(looked, PaceMeter().paces(looked)) == (pytest.approx(5000), False)
    looked = view([slow, fast, waiting])
    assert whole_remaining(looked, PaceMeter().paces(looked)) == (pytest.approx(5000), True)
    looked = view([slow], state="stopped")
    assert whole_remaining(looked, PaceMeter().paces(looked)) == (None, False)
    looked = view([slow], state="finished")
    assert whole_remaining(looked, PaceMeter().paces(looked)) == (0.0, False)


def test_a_line_through_points_is_level_outside_them():
    points = [(0.0, 1.0), (10.0, 3.0), (20.0, 3.0)]
    assert [at(points, t) for t in (-5, 0, 5, 10, 15, 99)] == [1, 1, 2, 3, 3, 3]
