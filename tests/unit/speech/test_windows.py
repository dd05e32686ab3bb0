"""Windows hold all sound, at most thirty seconds of it, and silence gives none."""

import wave
from itertools import pairwise

import numpy as np
import pytest

from malgeul.speech.windows import LONGEST_SECONDS, RATE, cut, read_audio

RNG = np.random.default_rng(0)


def sound(*parts):
    """Noise (positive seconds) and silence (negative seconds) one after the other."""
    pieces = [
        0.1 * RNG.standard_normal(int(seconds * RATE)) if seconds > 0 else np.zeros(int(-seconds * RATE))
        for seconds in parts
    ]
    return np.concatenate(pieces).astype(np.float32)


@pytest.mark.parametrize("parts", [(5,), (-3, 10, -2), (20, -0.5, 20, -0.5, 20), (100,), (1, -60, 1), (29.9, -0.1, 5)])
def test_every_loud_second_lies_in_one_window(parts):
    audio = sound(*parts)
    windows = cut("r", 0, "r", audio)
    for before, after in pairwise(windows):
        assert before.end <= after.start
    assert all(0 < window.end - window.start <= LONGEST_SECONDS + 1e-6 for window in windows)
    covered = np.zeros(len(audio), bool)
    for window in windows:
        covered[round(window.start * RATE) : round(window.end * RATE)] = True
    frame = RATE // 50
    loud = [k for k in range(0, len(audio) - frame, frame) if np.abs(audio[k : k + frame]).max() > 0.05]
    assert all(covered[k] for k in loud)


def test_a_window_ends_in_a_pause_where_there_is_one():
    first, *_ = cut("r", 0, "r", sound(25, -1, 25))
    assert 25 <= first.end <= 26


def test_silence_gives_no_window():
    assert cut("r", 0, "r", sound(-10)) == []


def test_pcm_is_read_as_float(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.array([0, 16384, -32768], "<i2").tobytes())
    assert read_audio(tmp_path / "a.wav").tolist() == [0.0, 0.5, -1.0]
