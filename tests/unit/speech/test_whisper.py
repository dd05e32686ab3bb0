"""The code that runs openai/whisper-large-v3-turbo, on the bundled model: batches, memory, segments."""

import pytest

from malgeul import ROOT
from malgeul.models.devices import Device
from malgeul.models.memory import DoesNotFit
from malgeul.speech.whisper import Segment, Whisper
from unit.spoken import spoken

SOUNDS = spoken("seen")[1][:3]


@pytest.fixture(scope="module")
def whisper():
    return Whisper(ROOT / "resources/models/whisper-ko-demo", Device("cpu", "x"), "ko", 200, 1)


def test_every_window_gives_its_own_segments_inside_its_time(whisper):
    found = whisper.transcribe(SOUNDS)
    assert len(found) == len(SOUNDS)
    for segments, sound in zip(found, SOUNDS, strict=True):
        assert segments
        for segment in segments:
            assert 0 <= segment.start <= segment.end <= len(sound) / 16_000
            assert segment.text == segment.text.strip() != ""
            assert "<|" not in segment.text


def test_a_window_gives_the_same_text_alone_and_in_a_batch(whisper):
    together = whisper.transcribe(SOUNDS)
    alone = [whisper.transcribe([sound])[0] for sound in SOUNDS]
    assert [[s.text for s in segments] for segments in together] == [[s.text for s in segments] for segments in alone]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_out_of_memory_halves_the_batch_and_costs_only_what_does_not_fit_alone(whisper, monkeypatch, most):
    sizes = []

    def limited(sounds):
        sizes.append(len(sounds))
        if len(sounds) > most:
            raise whisper._torch.OutOfMemoryError
        return [[Segment(0.0, 1.0, str(len(sound)), None, None, 1.0)] for sound in sounds]

    monkeypatch.setattr(whisper, "_transcribe", limited)
    found = whisper.transcribe(SOUNDS)
    if most == 0:
        assert all(isinstance(outcome, DoesNotFit) for outcome in found)
    else:
        assert [outcome[0].text for outcome in found] == [str(len(sound)) for sound in SOUNDS]
    assert sizes[0] == 3


def test_timestamps_cut_the_text_and_text_without_them_spans_the_window(whisper):
    tokenizer = whisper._processor.tokenizer
    words = tokenizer.encode("네", add_special_tokens=False)
    at = whisper._timestamp_begin
    marked = [at + 10, *words, at + 50, at + 60, *words, at + 75]
    assert [(s.start, s.end) for s in whisper._segments(marked, 10.0)] == [(0.2, 1.0), (1.2, 1.5)]
    assert [(s.start, s.end) for s in whisper._segments(words, 10.0)] == [(0.0, 10.0)]


def test_repetition_is_flagged_and_stays():
    assert Segment(0, 1, "네 " * 100, None, None, 9.0).flags == ["repetitive"]
    assert Segment(0, 1, "네", None, None, 0.5).flags == []
