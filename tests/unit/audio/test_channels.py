"""One speaker per channel stays apart; one recording twice becomes one, and no mix loses speech."""

from __future__ import annotations

import numpy as np
import pytest

from malgeul.audio.channels import Mix, choose_mix, write_mixed
from malgeul.audio.levels import measure
from malgeul.audio.pcm import read_blocks, samples_of
from unit.audio.conftest import segment, tone

LEFT, OTHER, NOTHING = tone(300), tone(457), np.zeros(16000)
HISS = 1e-4
"""What is so much quieter is a bit or two of the samples, and carries nothing."""


def mix_of(*tracks, source_channels=2, threshold=0.6):
    return choose_mix(measure([segment(*tracks)]), source_channels, threshold)


@pytest.mark.parametrize(
    ("tracks", "mix"),
    [
        ((LEFT,), Mix.ONE),
        ((LEFT, LEFT), Mix.MEAN),
        ((LEFT, -LEFT), Mix.DIFFERENCE),
        ((LEFT, OTHER), Mix.APART),
        ((LEFT, NOTHING), Mix.LEFT),
        ((NOTHING, LEFT), Mix.RIGHT),
        ((NOTHING, NOTHING), Mix.MEAN),
        ((LEFT, HISS * OTHER), Mix.LEFT),
        ((HISS * LEFT, HISS * OTHER), Mix.MEAN),
    ],
)
def test_the_channels_decide(tracks, mix):
    assert mix_of(*tracks) is mix


def test_the_threshold_decides_how_much_correlation_is_one_speaker():
    mixed = 0.5 * LEFT + 0.5 * OTHER  # correlates by 0.71 with either
    assert mix_of(LEFT, mixed, threshold=0.6) is Mix.MEAN
    assert mix_of(LEFT, mixed, threshold=0.8) is Mix.APART
    assert mix_of(LEFT, -mixed, threshold=0.6) is Mix.DIFFERENCE


def spoken(seed, seconds=12.0):
    """Noise that comes and goes like syllables, for a second in every three."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 16000))
    at = np.arange(len(noise)) / 16000
    return 0.05 * noise * (1 + np.sin(2 * np.pi * 4 * at)) * ((at + seed) % 3 < 1)


def later(track, milliseconds):
    return np.roll(track, round(16 * milliseconds))


def test_two_microphones_of_one_room_are_no_two_speakers():
    """A voice is nearer to one microphone, another to the other one, and the room adds an echo to either."""
    left = spoken(0) + later(spoken(1), 0.5) + 0.5 * later(spoken(0), 31) + 0.5 * later(spoken(1), 23)
    right = later(spoken(0), 0.5) + spoken(1) + 0.5 * later(spoken(0), 27) + 0.5 * later(spoken(1), 37)
    meter = measure([segment(left, right)])
    assert abs(meter.correlation) < 0.3
    assert choose_mix(meter, 2, 0.6) is Mix.MEAN
    assert mix_of(left, later(left, 5)) is Mix.MEAN, "one channel that was delayed"
    assert mix_of(left, right, threshold=1) is Mix.APART, "where the config asks for it"


def test_speakers_who_take_turns_are_two_also_where_they_hear_each_other():
    left, right = spoken(0), spoken(1)
    assert mix_of(left, right) is Mix.APART
    assert mix_of(left + 0.3 * later(right, 50), right + 0.3 * later(left, 50)) is Mix.APART, "an echo"
    assert mix_of(*(track + 0.02 * spoken(2) for track in (left, right))) is Mix.APART, "a noise of both"


def test_two_channels_made_of_more_are_not_kept_apart():
    assert mix_of(LEFT, OTHER, source_channels=6) is Mix.MEAN


def written(tmp_path, mix, *tracks):
    pcm = tmp_path / "in.part"
    segment(*tracks).export(pcm, format="wav").close()
    paths = write_mixed(pcm, mix, tmp_path / "0123456789abcdef")
    assert not pcm.exists()
    return {path.name: np.concatenate([samples_of(block)[:, 0] for block in read_blocks(path)]) for path in paths}


@pytest.mark.parametrize(("mix", "right"), [(Mix.MEAN, LEFT), (Mix.DIFFERENCE, -LEFT), (Mix.LEFT, NOTHING)])
def test_one_recording_twice_becomes_one_at_its_level(mix, right, tmp_path):
    ((name, samples),) = written(tmp_path, mix, LEFT, right).items()
    assert name == "0123456789abcdef.wav"
    assert np.abs(samples / 32768 - LEFT).max() < 2 / 32768


def test_channels_apart_are_named_by_their_number_and_unchanged(tmp_path):
    files = written(tmp_path, Mix.APART, LEFT, OTHER)
    assert list(files) == ["0123456789abcdef.0.wav", "0123456789abcdef.1.wav"]
    for samples, track in zip(files.values(), (LEFT, OTHER), strict=True):
        assert np.abs(samples / 32768 - track).max() < 1 / 32768


def test_one_channel_is_taken_as_it_is(tmp_path):
    ((name, samples),) = written(tmp_path, Mix.ONE, LEFT).items()
    assert name == "0123456789abcdef.wav"
    assert np.abs(samples / 32768 - LEFT).max() < 1 / 32768
