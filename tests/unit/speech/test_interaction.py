"""Turns, gaps, pauses and overlaps of a conversation are what its utterances say, in Heldner and Edlund's terms."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul.speech.interaction import (
    LEAST_OVERLAP,
    Pauses,
    Transition,
    Utterance,
    count_syllables,
    intersect,
    is_interruption,
    latency_of,
    length,
    merge,
    overlaps_of,
    pauses_between,
    pauses_of,
    subtract,
    talk_of,
    transitions_of,
    turns_of,
)


def said(speaker, start, end, text=""):
    return Utterance(start, end, text, speaker)


CALL = [
    said("agent", 0.0, 2.0),
    said("agent", 2.4, 4.0),  # a pause of 0.4 s
    said("client", 4.5, 8.0),  # answers after 0.5 s
    said("agent", 7.0, 9.0),  # interrupts by 1 s
    said("client", 9.3, 14.0),  # answers after 0.3 s
    said("agent", 11.0, 11.5),  # a word while the other talks on
    said("client", 14.5, 15.0),
]

intervals = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 10)).map(lambda pair: (float(pair[0]), float(sum(pair)))), max_size=8
)


def covered(spans):
    return {second for start, end in spans for second in range(int(start), int(end))}


@given(intervals)
def test_a_union_covers_what_its_intervals_cover_once(spans):
    union = merge(spans)
    assert covered(union) == covered(spans)
    assert length(union) == len(covered(spans))
    assert all(before[1] < after[0] for before, after in pairwise(union))


@given(intervals, intervals)
def test_an_intersection_covers_what_both_cover(first, second):
    assert covered(intersect(merge(first), merge(second))) == covered(first) & covered(second)


@given(intervals, intervals)
def test_what_is_left_of_intervals_covers_what_the_others_do_not(first, second):
    first, second = merge(first), merge(second)
    left = subtract([span for span in first if length([span])], second)
    assert covered(left) == covered(first) - covered(second)
    assert all(start < end for start, end in left)


def test_utterances_of_one_speaker_are_one_turn_until_another_starts():
    turns = turns_of(reversed(CALL))
    assert [(turn.speaker, turn.start, turn.end) for turn in turns] == [
        ("agent", 0.0, 4.0),
        ("client", 4.5, 8.0),
        ("agent", 7.0, 9.0),
        ("client", 9.3, 14.0),
        ("agent", 11.0, 11.5),
        ("client", 14.5, 15.0),
    ]


def test_turns_do_not_hang_on_the_order_of_what_starts_at_once():
    at_once = [said("b", 0, 2), said("a", 0, 2), said("a", 0, 1), said("b", 3, 4)]
    assert len({tuple(turns_of(utterances)) for utterances in permutations(at_once)}) == 1


def test_a_turn_ends_with_the_last_of_its_utterances_to_end():
    (turn,) = turns_of([said("a", 0, 10), said("a", 2, 3)])
    assert turn.end == 10


def test_who_ends_with_another_does_not_go_on_and_is_answered():
    turns = turns_of([said("a", 0, 3), said("b", 2, 3), said("a", 3, 4)])
    assert transitions_of(turns) == [Transition("b", -1, False), Transition("a", 0, True)]
    assert latency_of(transitions_of(turns)) == 0


def test_transitions_tell_gaps_from_overlaps():
    transitions = transitions_of(turns_of(CALL))
    assert [(t.speaker, t.goes_on) for t in transitions] == [
        ("client", True), ("agent", True), ("client", True), ("agent", False), ("client", True),
    ]  # fmt: skip
    assert [t.offset for t in transitions] == pytest.approx([0.5, -1.0, 0.3, -3.0, 0.5])
    assert [t.after_another for t in transitions] == [True, True, True, True, False]
    assert transitions_of([]) == []


def test_latency_is_the_median_gap_and_overlaps_are_none():
    of_client = [t for t in transitions_of(turns_of(CALL)) if t.speaker == "client"]
    assert latency_of(of_client) == pytest.approx(0.4)
    assert latency_of([Transition("client", -0.1, True)]) is None


def test_who_goes_on_after_anothers_word_within_their_turn_answers_nobody():
    turns = turns_of([said("a", 0, 10), said("b", 3, 4), said("a", 10.3, 15), said("b", 16, 17)])
    assert [latency_of(t for t in transitions_of(turns) if t.speaker == who) for who in "ab"] == [None, 1.0]


def test_a_third_who_speaks_while_the_first_still_does_has_waited_for_nobody():
    turns = turns_of([said("a", 0, 10), said("b", 3, 4), said("c", 5, 6)])
    assert [t.offset for t in transitions_of(turns)] == [-7, -5]


def test_an_interruption_starts_before_the_other_has_stopped_and_goes_on_after():
    of_agent = [t for t in transitions_of(turns_of(CALL)) if t.speaker == "agent"]
    assert list(map(is_interruption, of_agent)) == [True, False]
    assert not is_interruption(Transition("agent", -LEAST_OVERLAP / 2, True)), "times are not exact"
    assert is_interruption(Transition("agent", -LEAST_OVERLAP, True))
    assert not is_interruption(Transition("agent", -1, True, after_another=False)), "of oneself"


def test_pauses_are_silences_within_turns_longer_than_each_threshold():
    turns = turns_of([said(None, 0, 1), said(None, 1.3, 2), said(None, 2.6, 3), said(None, 6, 7)])
    assert [(p.longer_than, p.count, round(p.seconds, 6)) for p in pauses_of(turns, [], [2.0, 0.2, 0.5])] == [
        (0.2, 3, 3.9),
        (0.5, 2, 3.6),
        (2.0, 1, 3.0),
    ]
    (pauses,) = pauses_of([turn for turn in turns_of(CALL) if turn.speaker == "client"], [], [0.2])
    assert pauses == Pauses(0.2, 0, 0), "silence between two turns is no pause"
    turns = turns_of([said(None, 0, 1), said(None, 2, 3)])
    assert pauses_of(turns, [], [1.0]) == [Pauses(1.0, 0, 0)], "it is no longer than that"
    assert pauses_between(turns, [], 1.0) == []


def test_a_word_said_within_a_longer_one_makes_no_pause():
    turns = turns_of([said(None, 0, 10), said(None, 2, 3), said(None, 10.1, 11)])
    assert pauses_of(turns, [], [0.2]) == [Pauses(0.2, 0, 0)]


def test_while_another_talks_there_is_no_pause():
    own = turns_of([said("b", 3, 4), said("b", 8, 12), said("b", 13, 14)])
    assert pauses_of(own, [(0, 10), (14, 20)], [0.5]) == [Pauses(0.5, 1, 1)], "not the 4 s in which a goes on"
    assert pauses_of(own, [(0, 4), (8, 9), (12, 12.5)], [0.5]) == [Pauses(0.5, 1, 4)], "what only touches is silence"


def test_overlaps_are_when_two_talk_at_once_for_long_enough():
    speakers = [[u for u in CALL if u.speaker == speaker] for speaker in ("agent", "client")]
    assert overlaps_of(speakers) == [(7.0, 8.0), (11.0, 11.5)]
    assert overlaps_of([[said("a", 0, 1)], [said("b", 0.9, 2)]]) == []
    assert overlaps_of([[said("a", 0, 1)], [said("b", 0, LEAST_OVERLAP)]]) == [(0, LEAST_OVERLAP)]
    three = [said("a", 0, 4), said("b", 2, 8), said("c", 3, 6)]
    assert overlaps_of([one] for one in three) == [(2, 6)], "one overlap, whoever talks"


def test_talk_counts_simultaneous_speech_once():
    assert length(talk_of(CALL)) == pytest.approx(2 + 1.6 + 4.5 + 4.7 + 0.5)


def test_syllables_are_hangul_alone():
    assert count_syllables("네, 3번 ARS로 하세요. ㅋㅋ") == len("네번로하세요")
