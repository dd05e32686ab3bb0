"""Bars: as long as what came in, no part too narrow to be seen, none beyond the width."""

import pytest

from malgeul.report.funnel import NARROWEST, funnel, parts


def stage(came_in, unit="document", rejected=0, quarantined=0):
    return {
        "in": came_in, "out": 0, "units_in": {unit: came_in}, "units_out": {}, "used": came_in - rejected - quarantined,
        "rejected": {"too_short": rejected}, "quarantined": {"EMPTY": quarantined}, "shards": 1, "planned": 1,
        "reused": 0,
    }  # fmt: skip


def test_one_of_a_million_is_seen():
    placed = parts({"used": 999_998, "rejected": 1, "quarantined": 1}, 100)
    assert [part["kind"] for part in placed] == ["used", "rejected", "quarantined"]
    assert all(part["width"] >= NARROWEST for part in placed)
    assert placed[-1]["x"] + placed[-1]["width"] == pytest.approx(100)


def test_parts_share_the_width_in_proportion():
    placed = parts({"used": 50, "rejected": 30, "quarantined": 20}, 80)
    assert [part["width"] for part in placed] == pytest.approx([40, 24, 16])
    assert [part["x"] for part in placed] == pytest.approx([0, 40, 64])


def test_nothing_has_no_parts():
    assert parts({"used": 0, "rejected": 0, "quarantined": 0}, 0) == []


def test_stages_that_count_the_same_unit_share_a_scale():
    stages = {"filter": stage(400, rejected=100), "select": stage(300), "tokenize": stage(5000, "sample")}
    (flow,) = funnel(stages)
    lengths = [sum(part["width"] for part in row["parts"]) for row in flow["rows"]]
    assert lengths == pytest.approx([100, 75, 100])


def test_flows_that_a_run_does_not_have_are_left_out():
    assert [flow["title"] for flow in funnel({"convert": stage(3, "recording")})] == ["Recordings"]
