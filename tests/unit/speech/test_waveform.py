"""The envelope holds the lowest and highest sample of every column, however long the recording is."""

from __future__ import annotations

import tracemalloc
import wave
from itertools import pairwise

import numpy as np
import pytest

from malgeul.speech import waveform
from malgeul.speech.waveform import envelope_of
from malgeul.speech.windows import RATE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wav"


def write(path, samples, rate=RATE):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.asarray(samples, "<i2").tobytes())


@pytest.mark.parametrize("at_once", [1, 100, 1 << 19])
@pytest.mark.parametrize("width", [1.0, 7.3, 3000.6, 160.0, 5000.0])
def test_every_column_has_its_lowest_and_highest_sample(path, monkeypatch, width, at_once):
    monkeypatch.setattr(waveform, "SAMPLES_AT_ONCE", at_once)
    samples = np.random.default_rng(5).integers(-32768, 32768, 3001).astype(np.int16)
    write(path, samples)
    envelope = envelope_of(path, width / RATE)
    bounds = [min(round(k * width), 3001) for k in range(len(envelope) + 1)]
    assert (bounds[0], bounds[-1]) == (0, 3001)
    expected = [(samples[a:b].min(), samples[a:b].max()) for a, b in pairwise(bounds)]
    assert envelope.tolist() == [list(map(int, pair)) for pair in expected]


def test_a_recording_without_samples_has_no_columns(path):
    write(path, [])
    assert envelope_of(path, 0.1).shape == (0, 2)


def test_memory_does_not_grow_with_length(path):
    def peak(minutes):
        write(path, np.zeros(60 * minutes * RATE, np.int16))
        tracemalloc.start()
        envelope_of(path, minutes * 60 / 720)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(30) < 1.2 * peak(3)


def test_another_format_and_a_cut_file_are_refused(path):
    write(path, [0] * 800, rate=8000)
    with pytest.raises(ValueError, match="not 16 kHz mono PCM"):
        envelope_of(path, 0.1)
    write(path, [0] * 8000)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match="fewer samples"):
        envelope_of(path, 0.1)
    with pytest.raises(ValueError, match="shorter than a sample"):
        envelope_of(path, 0.5 / RATE)
