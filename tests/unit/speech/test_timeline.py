"""A timeline has a row per stretch of time, everything at its place in it, and does not grow with the recording."""

from __future__ import annotations

import re

import numpy as np
import pytest

from malgeul.speech.interaction import Utterance
from malgeul.speech.timeline import (
    COLUMNS,
    MOST_ROWS,
    NARROW,
    WIDE,
    Voice,
    _pixels,
    _placed,
    draw_rows,
    full_scale,
    row_seconds,
)

ALONE = (Voice(None, 0),)
FLAT = np.tile(np.array([[-8192, 16384]], np.int16), (COLUMNS, 1))


def drawn(utterances=(), seconds=60.0, missing=0.0, voices=ALONE, flags=None, evidence=(), channels=1):
    flags = flags or [[] for _ in utterances]
    return draw_rows(seconds, missing, [FLAT] * channels, voices, utterances, flags, evidence, 0.2)


def span(start, end, rule="demand.transfer", speaker=None):
    return {"rule": rule, "quote": "이체", "start_seconds": start, "end_seconds": end, "speaker": speaker}


def places(bars):
    return [(bar.x, bar.width) for bar in bars]


@pytest.mark.parametrize("seconds", [0.3, 12, 60, 61, 1440, 1441, 7200, 86_400, 1_000_000])
def test_there_are_few_rows_and_all_of_the_recording_is_in_them(seconds):
    length = row_seconds(seconds)
    rows = drawn(seconds=float(seconds))
    assert len(rows) <= MOST_ROWS
    assert [row.start for row in rows] == [number * length for number in range(len(rows))]
    assert rows[-1].start < seconds <= rows[-1].end


def test_a_segment_is_where_it_is_said_and_may_go_on_in_the_next_row():
    utterances = [Utterance(6, 12, "가"), Utterance(57, 63, "나")]
    first, second = drawn(utterances, seconds=120.0)
    assert places(first.waves[0].lanes[0].bars) == [(10, 10), (95, 5)]
    assert places(second.waves[0].lanes[0].bars) == [(0, 5)]
    assert [bar.number for bar in first.waves[0].lanes[0].bars] == [1, 2]
    assert second.waves[0].lanes[0].bars[0].number == 2
    assert first.words == "2 segments"
    first, second = drawn([Utterance(54, 60, "가")], seconds=120.0)
    assert places(first.waves[0].lanes[0].bars) == [(90, 10)]
    assert second.waves[0].lanes[0].bars == [], "it has ended where the row begins"


def test_every_voice_has_a_lane_below_its_channel():
    voices = [Voice("a", 0), Voice("b", 1), Voice("c", 1)]
    utterances = [Utterance(0, 1, "가", "a"), Utterance(2, 3, "나", "c")]
    [row] = drawn(utterances, voices=voices, channels=2)
    assert [(wave.name, [lane.colour for lane in wave.lanes]) for wave in row.waves] == [
        ("channel 0", [0]),
        ("channel 1", [1, 2]),
    ]
    tops = [place for wave in row.waves for place in (wave.y, *(lane.y for lane in wave.lanes))]
    assert tops == sorted(set(tops)), "nothing lies over anything else"
    assert max(tops) < row.height


def test_doubtful_segments_are_marked_in_words():
    utterances = [Utterance(0, 10, "가"), Utterance(20, 30, "나")]
    [row] = drawn(utterances, flags=[[], ["fast", "unlikely"]])
    lane = row.waves[0].lanes[0]
    assert [bar.doubtful for bar in lane.bars] == [False, True]
    assert [label.text for label in lane.doubts.wide] == ["! fast, unlikely"]
    assert "fast, unlikely" in lane.bars[1].title
    assert row.words == "2 segments, 1 doubtful"
    [row] = drawn([Utterance(0, 0.01, "가"), Utterance(0.02, 0.03, "나")], flags=[[], ["fast"]])
    assert [bar.doubtful for bar in row.waves[0].lanes[0].bars] == [True], "also where it is joined with others"


def test_lexicon_spans_lie_over_the_waveform_of_who_speaks():
    voices = [Voice("a", 0), Voice("b", 1)]
    evidence = [span(6, 12, "demand.transfer", "b"), span(6, 12, "demand.safe_account", "b"), span(30, 33, "x.y", "b")]
    [row] = drawn([Utterance(6, 12, "가", "b")], voices=voices, channels=2, evidence=evidence)
    assert row.waves[0].spans == []
    assert places(row.waves[1].spans) == [(10, 10), (50, 5)]
    texts = [label.text for label in row.waves[1].span_labels.wide]
    assert texts == ["S1 demand.transfer · S2 demand.safe_account", "S3 x.y"]
    assert "이체" in row.waves[1].spans[0].title
    assert row.waves[1].span_labels.narrow[0].text == "S1–2", "up to where the next one stands"
    assert "3 lexicon spans" in row.words


def test_pauses_are_within_turns_and_overlaps_say_who_interrupts():
    voices = [Voice("a", 0), Voice("b", 1)]
    utterances = [
        Utterance(0, 3, "가", "a"),
        Utterance(6, 9, "나", "a"),
        Utterance(8, 12, "다", "b"),
        Utterance(20, 24, "라", "a"),
    ]
    [row] = drawn(utterances, voices=voices, channels=2)
    assert [bar.title for bar in row.waves[0].lanes[0].pauses] == ["pause 3 s"], "a gap between turns is no pause"
    assert places(row.overlaps) == [pytest.approx((13.333, 1.667), abs=0.001)]
    assert [label.text for label in row.overlap_labels.wide] == ["overlap 1 s, b interrupts"]
    within = [Utterance(0, 12, "가", "a"), Utterance(6, 9, "나", "b")]
    [row] = drawn(within, voices=voices, channels=2)
    assert [label.text for label in row.overlap_labels.wide] == ["overlap 3 s"], "who falls into a turn ends it not"


def test_what_is_missing_has_its_place_at_the_end():
    [row] = drawn(seconds=9.0, missing=3.0)
    assert places([row.missing]) == [(75, 25)]
    assert row.missing.title == "missing 3 s"
    assert row.words.endswith("missing 3 s")


def test_of_what_is_missing_no_row_is_drawn_that_is_empty():
    first, second = drawn(seconds=90.0, missing=3000.0)
    assert first.missing is None
    assert places([second.missing]) == [(50, 50)]
    assert second.missing.title == "missing 50 min 00 s"
    assert places([drawn(seconds=120.0, missing=30.0)[-1].missing]) == [(0, 50)]
    assert places([drawn(seconds=12.0, missing=7000.0)[-1].missing]) == [(20, 80)]


def test_the_waveform_is_an_outline_of_its_envelope():
    [row] = drawn(seconds=10.0)
    path = row.waves[0].path
    assert path.startswith("M0 0l")
    numbers = [int(n) for n in re.findall(r"-?\d+", path)][2:]
    steps = list(zip(numbers[::2], numbers[1::2], strict=True))
    assert len(steps) == 2 * COLUMNS - 1
    assert steps[COLUMNS - 1] == (0, 150), "from the highest sample of the last column to its lowest"
    assert sum(x for x, _ in steps) == 0


def test_the_outline_goes_through_the_samples():
    envelope = np.array([[-100, 200], [-300, 400], [0, 0]], np.int16) * 80
    [row] = draw_rows(1.0, 0.0, [envelope], [Voice(None, 0)], [], [], [], 0.2)
    assert row.waves[0].path == "M0 50l 1-50 1 100 0 0-1 75-1-50z"


def test_silence_looks_like_silence():
    quiet = np.tile(np.array([[-3, 3]], np.int16), (10, 1))
    assert full_scale([quiet]) == pytest.approx(-40)
    assert full_scale([FLAT]) == pytest.approx(-6, abs=0.1)
    assert full_scale([]) == pytest.approx(-40)


def test_a_days_talk_is_no_more_than_columns():
    utterances = [Utterance(n * 1.5, n * 1.5 + 1, "네", None) for n in range(60_000)]
    rows = drawn(utterances, seconds=90_000.0, flags=[["fast"]] * 60_000)
    bars = sum(len(row.waves[0].lanes[0].bars) for row in rows)
    assert bars <= MOST_ROWS * COLUMNS
    assert "and 6 more" in rows[0].waves[0].lanes[0].bars[0].title


def test_ticks_are_few_and_at_round_times():
    assert [tick.text for tick in drawn(seconds=60.0)[0].ticks] == ["0:00", "0:10", "0:20", "0:30", "0:40", "0:50"]
    assert all(len(row.ticks) <= 9 for seconds in (1.0, 17.3, 500.0, 90_000.0) for row in drawn(seconds=seconds))
    assert drawn(seconds=9000.0)[-1].ticks[0].text == "2:20:00"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_labels_do_not_overlap_and_stay_in_the_row(width):
    random = np.random.default_rng(2)
    for _ in range(50):
        wanted = [
            (float(x), ["S1 demand.transfer · S2 사칭.검찰", "S1 demand.transfer +1", "S1–2"])
            for x in random.uniform(0, 100, 12)
        ]
        labels = _placed(wanted, width)
        ends = [label.x * width / 100 + _pixels(label.text) for label in labels]
        assert all(end <= after.x * width / 100 for end, after in zip(ends, labels[1:], strict=False))
        assert ends[-1] <= width
        assert labels[0].x >= 0


def test_a_label_at_the_end_stands_before_its_place():
    [label] = _placed([(98.0, ["overlap 0.40 s, speaker 0 interrupts", "overlap 0.40 s"])], WIDE)
    assert label.text == "overlap 0.40 s, speaker 0 interrupts"
    assert label.x * WIDE / 100 + _pixels(label.text) <= 0.98 * WIDE
