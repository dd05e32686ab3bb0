"""Subtitles in the forms that players read, whatever the text holds."""

import re

import pytest

from malgeul.speech.subtitles import clock, to_srt, to_txt, to_vtt

SEGMENTS = [
    {"start": 0.0, "end": 1.5, "text": "안녕하세요", "speaker": "0"},
    {"start": 3661.04, "end": 3662.0, "text": "줄\n\n바꿈 --> <b>", "speaker": None},
]


def test_clocks():
    assert clock(3661.0404, ",") == "01:01:01,040"
    assert clock(0.9996, ".") == "00:00:01.000"


def test_srt():
    assert to_srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\n0: 안녕하세요\n\n2\n01:01:01,040 --> 01:01:02,000\n줄 바꿈 → <b>\n"
    )


def test_vtt_escapes_and_keeps_cues_apart():
    text = to_vtt(SEGMENTS)
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n0: 안녕하세요\n\n")
    assert text.count("-->") == 2
    assert "&lt;b&gt;" in text


@pytest.mark.parametrize("written", [to_srt, to_vtt])
def test_a_cue_ends_after_it_starts_also_where_a_segment_has_no_length(written):
    (times,) = re.findall(r"(\S+) --> (\S+)", written([{"start": 0.114, "end": 0.114, "text": "네", "speaker": None}]))
    assert times[0] < times[1]


@pytest.mark.parametrize("written", [to_srt, to_vtt])
def test_what_a_diarizer_calls_a_speaker_ends_no_cue(written):
    text = written([{"start": 0, "end": 1, "text": "네", "speaker": "A\n\n00:00:02.000 --> 00:00:03.000"}])
    assert text.count("-->") == 1
    assert text.rstrip().count("\n\n") == written([SEGMENTS[0]]).rstrip().count("\n\n")


def test_txt():
    assert to_txt(SEGMENTS).splitlines()[0] == "0: 안녕하세요"


def test_no_segments():
    assert (to_srt([]), to_txt([]), to_vtt([])) == ("", "", "WEBVTT\n\n")
