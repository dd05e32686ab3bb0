"""Windows hold all sound, at most thirty seconds of it, and silence gives none."""

import tracemalloc
import wave
from itertools import pairwise

import numpy as np
import pytest

from malgeul.speech.windows import BLOCK, FRAME, LONGEST_SECONDS, RATE, cut, levels, read_audio

RNG = np.random.default_rng(0)


def sound(*parts):
    """Noise (positive seconds) and silence (negative seconds) one after the other."""
    pieces = [
        0.1 * RNG.standard_normal(int(seconds * RATE)) if seconds > 0 else np.zeros(int(-seconds * RATE))
        for seconds in parts
    ]
    return np.concatenate(pieces).astype(np.float32)


@pytest.fixture
def windows_of(tmp_path):
    """Write a sound as PCM and cut it as the transcription does."""

    def cut_sound(audio, *longest):
        write_pcm(tmp_path / "r.wav", (audio * 32767).astype("<i2"))
        return cut("r", 0, "r", levels(tmp_path / "r.wav"), *longest)

    return cut_sound


def write_pcm(file, samples):
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())


@pytest.mark.parametrize("parts", [(5,), (-3, 10, -2), (20, -0.5, 20, -0.5, 20), (100,), (1, -60, 1), (29.9, -0.1, 5)])
def test_every_loud_second_lies_in_one_window(windows_of, parts):
    audio = sound(*parts)
    windows = windows_of(audio)
    for before, after in pairwise(windows):
        assert before.end <= after.start
    assert all(0 < window.end - window.start <= LONGEST_SECONDS + 1e-6 for window in windows)
    covered = np.zeros(len(audio), bool)
    for window in windows:
        covered[round(window.start * RATE) : round(window.end * RATE)] = True
    frame = RATE // 50
    loud = [k for k in range(0, len(audio) - frame, frame) if np.abs(audio[k : k + frame]).max() > 0.05]
    assert all(covered[k] for k in loud)


def test_a_window_ends_in_a_pause_where_there_is_one(windows_of):
    first, *_ = windows_of(sound(25, -1, 25))
    assert 25 <= first.end <= 26


def test_a_model_that_hears_less_at_once_gets_shorter_windows(windows_of):
    windows = windows_of(sound(3, -0.6, 6, -0.6, 3), 8.0)
    assert [round(window.start) for window in windows] == [0, 3, 10]
    assert all(window.end - window.start <= 8 for window in windows)


def test_silence_gives_no_window(windows_of):
    assert windows_of(sound(-10)) == []


def test_pcm_is_read_as_float(tmp_path):
    write_pcm(tmp_path / "a.wav", np.array([0, 16384, -32768], "<i2"))
    assert read_audio(tmp_path / "a.wav").tolist() == [0.0, 0.5, -1.0]


def test_levels_are_those_of_the_whole_sound_across_the_borders_of_blocks(tmp_path):
    samples = (3000 * RNG.standard_normal(BLOCK * 2 + 5 * FRAME + 7)).astype("<i2")
    write_pcm(tmp_path / "a.wav", samples)
    frames = (samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) / 32768) ** 2
    assert levels(tmp_path / "a.wav") == pytest.approx(10 * np.log10(frames.mean(axis=1)), abs=1e-4)


def test_a_long_recording_takes_no_more_memory_than_its_levels(tmp_path):
    file = tmp_path / "hour.wav"
    write_pcm(file, np.zeros(3600 * RATE, "<i2"))
    tracemalloc.start()
    levels(file)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20, "the samples of an hour are 115 MB, of one block 1.9 MB, 15 MB in double precision"
