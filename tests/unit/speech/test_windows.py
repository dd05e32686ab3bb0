"""Windows hold all that is spoken, at most thirty seconds of it, and silence gives none."""

import tracemalloc
import wave
from itertools import pairwise

import numpy as np
import pytest

from malgeul.speech.windows import (
    BLOCK_SECONDS,
    FRAME,
    LONGEST_SECONDS,
    MARGIN_SECONDS,
    PAUSE_SECONDS,
    RATE,
    Window,
    levels,
    read_audio,
    read_window,
    windows_of,
)

RNG = np.random.default_rng(0)


def write_pcm(file, samples):
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.asarray(samples, "<i2").tobytes())


@pytest.fixture
def cut(tmp_path):
    """Cut a recording in which is spoken, as noise, in the given spans."""

    def cut_recording(spoken, seconds, *longest):
        samples = np.zeros(int(seconds * RATE))
        for start, end in spoken:
            at = slice(int(start * RATE), int(end * RATE))
            samples[at] = 3000 * RNG.standard_normal(at.stop - at.start)
        write_pcm(tmp_path / "r.wav", samples)
        row = {"id": "r", "channels": ["r"], "seconds": seconds, "speech": {"r": spoken}}
        return windows_of(row, tmp_path, *longest)

    return cut_recording


@pytest.mark.parametrize(
    "spoken",
    [
        [(0, 5)],
        [(3, 13)],
        [(0, 20), (20.5, 40), (40.1, 60)],
        [(0, 100)],
        [(0, 1), (61, 62)],
        [(0, 29.9), (30, 35)],
        [(0, 30.015)],
        [(k, k + 0.5) for k in range(100)],
    ],
)
def test_all_that_is_spoken_lies_in_one_window_in_the_order_of_time(cut, spoken):
    windows = cut(spoken, spoken[-1][1] + 5)
    spans = [span for window in windows for span in window.spans]
    assert all(0 < window.seconds <= LONGEST_SECONDS + 1e-6 for window in windows)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = np.zeros(int((spoken[-1][1] + 5) * 100), bool)
    for start, end in spans:
        covered[round(start * 100) : round(end * 100)] = True
    for start, end in spoken:
        assert covered[int(start * 100) : int(end * 100)].all()


def test_long_pauses_are_left_out_and_short_ones_stay(cut):
    (window,) = cut([(10, 12), (12.8, 14), (300, 302)], 310)
    margin = MARGIN_SECONDS
    assert window.spans == (pytest.approx((10 - margin, 14 + margin)), pytest.approx((300 - margin, 302 + margin)))


def test_places_in_a_window_are_places_in_the_recording():
    window = Window("r", 0, "r", ((10.0, 12.0), (300.0, 303.0)))
    second = 2.0 + PAUSE_SECONDS
    assert (window.start, window.seconds) == (10.0, second + 3)
    for heard, there in {
        (0.0, 1.5): (10, 11.5),
        (0.5, 2.1): (10.5, 12),  # ends in the pause
        (second - 0.1, second + 1): (300, 301),  # begins in it
        (second + 1, second + 9): (301, 303),
        (2.1, 2.2): (12, 12),  # in the pause, nearer to its beginning
        (second - 0.2, second - 0.1): (300, 300),  # nearer to its end
        (1.9, second + 1): (300, 301),  # a margin of the first
    }.items():
        *place, across = window.place(*heard)
        assert (place, across) == (pytest.approx(there), False), heard
    assert window.place(0.5, second + 0.5) == (pytest.approx(10.5), pytest.approx(12), True)


def test_speech_without_a_pause_is_cut_at_the_quietest_place(tmp_path):
    samples = 3000 * RNG.standard_normal(50 * RATE)
    samples[25 * RATE : 26 * RATE] /= 100
    write_pcm(tmp_path / "r.wav", samples)
    row = {"id": "r", "channels": ["r"], "seconds": 50.0, "speech": {"r": [(0, 50)]}}
    first, second = windows_of(row, tmp_path)
    assert 25 <= first.spans[-1][1] <= 26
    assert second.start == first.spans[-1][1]


def test_a_model_that_hears_less_at_once_gets_shorter_windows(cut):
    windows = cut([(0, 3), (3.6, 9.6), (10.2, 13)], 14, 8.0)
    assert [round(window.start) for window in windows] == [0, 3, 10]
    assert all(window.seconds <= 8 for window in windows)


def test_silence_gives_no_window(cut):
    assert cut([], 10) == []


def test_every_channel_has_windows_of_its_own(tmp_path):
    for stem in ("r.0", "r.1"):
        write_pcm(tmp_path / f"{stem}.wav", np.zeros(10 * RATE))
    row = {"id": "r", "channels": ["r.0", "r.1"], "seconds": 10, "speech": {"r.0": [(1, 2)], "r.1": [(3, 4)]}}
    assert [(window.channel, window.stem) for window in windows_of(row, tmp_path)] == [(0, "r.0"), (1, "r.1")]


def test_pcm_is_read_as_float_and_a_window_without_its_pauses(tmp_path):
    file = tmp_path / "a.wav"
    write_pcm(file, [0, 16384, -32768])
    assert read_audio(file, 0, 3 / RATE).tolist() == [0.0, 0.5, -1.0]
    write_pcm(file, np.arange(3 * RATE) % 1000)
    sound = read_window(file, Window("a", 0, "a", ((0.0, 0.5), (2.0, 2.25))))
    pause = [0.0] * round(PAUSE_SECONDS * RATE)
    assert sound.tolist() == [*read_audio(file, 0, 0.5), *pause, *read_audio(file, 2, 2.25)]


def test_levels_are_those_of_the_whole_sound_across_the_borders_of_blocks(tmp_path):
    seconds = 2 * BLOCK_SECONDS + 0.1
    samples = (3000 * RNG.standard_normal(round(seconds * RATE))).astype("<i2")
    write_pcm(tmp_path / "a.wav", samples)
    frames = (samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) / 32768) ** 2
    assert levels(tmp_path / "a.wav", 0, seconds) == pytest.approx(10 * np.log10(frames.mean(axis=1)), abs=1e-4)


def test_a_long_recording_takes_no_more_memory_than_its_levels(tmp_path):
    file = tmp_path / "hour.wav"
    write_pcm(file, np.zeros(3600 * RATE, "<i2"))
    tracemalloc.start()
    levels(file, 0, 3600)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20, "the samples of an hour are 115 MB, of one block 1.9 MB, 15 MB in double precision"
