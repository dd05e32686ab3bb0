"""What the model says of its text is aggregated as it is, and is null where it says nothing."""

from __future__ import annotations

import pytest

from malgeul.speech.trust import trust_of


def segment(start, end, **said):
    return {
        "start": start,
        "end": end,
        "avg_logprob": None,
        "no_speech_prob": None,
        "compression_ratio": None,
        "flags": [],
        **said,
    }


def test_means_are_weighted_by_length():
    trust = trust_of([segment(0, 3, avg_logprob=-0.2), segment(3, 4, avg_logprob=-1.0), segment(4, 9)])
    assert trust["avg_logprob_mean"] == pytest.approx(-0.4)
    assert trust["avg_logprob_min"] == -1.0


def test_flags_are_counted_by_name_and_flagged_time_once():
    trust = trust_of([segment(0, 3, flags=["repeats", "compression"]), segment(3, 5, flags=["repeats"]), segment(5, 6)])
    assert trust["flags"] == [{"flag": "compression", "segments": 1}, {"flag": "repeats", "segments": 2}]
    assert (trust["flagged_segments"], trust["flagged_seconds"]) == (2, 5)


def test_what_the_model_does_not_say_is_null():
    for trust in (trust_of([]), trust_of([segment(0, 1)]), trust_of([segment(1, 1)])):
        assert trust["avg_logprob_mean"] is trust["no_speech_prob_max"] is trust["compression_ratio_max"] is None
