"""Figures carry units and as many digits as say something."""

import pytest

from malgeul.pages.quantities import amount, amounts, brief, clock, duration, energy, megabytes, number, rate, share


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (3, "3"), (12345, "12,345"), (203.04, "203"), (12.34, "12.3"), (0.02134, "0.0213"), (-0.5, "-0.5")],
)
def test_number(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.346, "0.35 s"), (12.34, "12.3 s"), (59.99, "1 min 00 s"), (245, "4 min 05 s"),
        (7500, "2 h 05 min"), (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)  # fmt: skip
def test_duration(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("joules", "shown"), [(0.0, "0 J"), (950.4, "950 J"), (12_340, "12.3 kJ"), (3_600_000, "3.6 MJ")]
)
def test_energy(joules, shown):
    assert energy(joules) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(1.234, "1.23 s"), (0.0456, "45.6 ms"), (0.00078, "0.78 ms")])
def test_a_short_span_is_in_milliseconds(seconds, shown):
    assert brief(seconds) == shown


def test_amounts_are_plural_where_they_are_many_and_leave_out_none():
    assert amount(1, "document") == "1 document"
    assert amount(1234, "saturated entity") == "1,234 saturated entities"
    assert amounts({"record": 3, "recording": 0, "row": 1, "document": 2}) == "3 records, 1 row and 2 documents"
    assert amounts({"record": 0}) == "nothing"


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(1234.5, "1,234 documents/s"), (1.0, "1 document/s"), (0.5, "30 documents/min"), (0.01, "36 documents/h")],
)
def test_rate_is_in_a_span_that_says_something(per_second, shown):
    assert rate(per_second, "document") == shown


def test_places_in_a_recording_sizes_and_shares():
    assert [clock(s) for s in (0, 4.24, 63, 3723.45)] == ["0:00.0", "0:04.2", "1:03.0", "1:02:03.4"]
    assert [megabytes(mb) for mb in (89.4, 1500)] == ["89 MB", "1.5 GB"]
    assert [share(*s) for s in ((0, 0), (1, 10000), (7, 100), (1, 2))] == ["0 %", "< 0.1 %", "7.0 %", "50 %"]
