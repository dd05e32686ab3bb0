"""F0 and intensity are those of the sound, over the voiced frames of a speaker's own talk."""

from __future__ import annotations

import tracemalloc
import wave

import numpy as np
import pytest

from malgeul.speech.acoustics import measure_voice
from malgeul.speech.windows import RATE

RANDOM = np.random.default_rng(1)


def voice(hertz, seconds=1.0, amplitude=0.3):
    """A glottal-like sound: harmonics that fall by 12 dB per octave; ``hertz`` may change over time."""
    n = round(seconds * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, n)) / RATE
    sound = sum(np.sin(k * phase) / k**2 for k in range(1, 12))
    return amplitude * sound / np.abs(sound).max()


def write(path, *parts):
    samples = np.round(np.concatenate(parts) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wav"


@pytest.mark.parametrize("hertz", [80, 110, 147, 220, 311, 440])
def test_f0_of_a_voice_is_found(path, hertz):
    measured = measure_voice(write(path, voice(hertz)), [(0, 1)])
    assert np.median(measured.f0) == pytest.approx(hertz, rel=0.005)
    assert len(measured.f0) > 0.9 * measured.frames


def test_f0_of_a_voice_without_its_fundamental_is_found(path):
    """Telephones cut what is below 300 Hz."""
    sound = voice(120)
    spectrum = np.fft.rfft(sound)
    spectrum[:300] = 0
    measured = measure_voice(write(path, np.fft.irfft(spectrum, len(sound))), [(0, 1)])
    assert np.median(measured.f0) == pytest.approx(120, rel=0.01)


def test_noise_and_silence_are_not_voiced(path):
    write(path, 0.2 * RANDOM.standard_normal(RATE).clip(-3, 3), np.zeros(RATE))
    measured = measure_voice(path, [(0, 2)])
    assert len(measured.f0) < 0.02 * measured.frames
    assert not measure_voice(write(path, np.zeros(RATE)), [(0, 1)]).measurable


def test_a_range_of_an_octave_has_quartiles_six_semitones_apart(path):
    glide = 110 * 2 ** np.linspace(0, 1, 4 * RATE)
    assert measure_voice(write(path, voice(glide, 4)), [(0, 4)]).f0_iqr_semitones == pytest.approx(6, abs=0.3)
    assert measure_voice(write(path, voice(110)), [(0, 1)]).f0_iqr_semitones < 0.1


def test_only_a_speakers_own_talk_is_measured(path):
    write(path, voice(100), voice(250), voice(100))
    assert np.median(measure_voice(path, [(1.05, 1.95)]).f0) == pytest.approx(250, rel=0.01)
    own = measure_voice(path, [(0, 0.95), (2.05, 3)])
    assert np.median(own.f0) == pytest.approx(100, rel=0.01)
    assert own.frames == pytest.approx(190, abs=5)
    assert measure_voice(path, []).frames == 0


def test_intensity_is_the_level_of_the_voiced_frames(path):
    sine = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    measured = measure_voice(write(path, sine, np.zeros(RATE)), [(0, 2)])
    assert np.median(measured.intensity) == pytest.approx(-20, abs=0.1)
    assert measured.intensity_iqr_db < 0.2


def test_an_offset_of_the_sound_card_is_no_sound(path):
    speech = voice(150, 2)
    without, offset = (measure_voice(write(path, speech + by), [(0, 2)]) for by in (0.0, 0.2))
    assert offset.frames == without.frames
    assert offset.f0 == pytest.approx(without.f0, rel=1e-3)
    assert offset.intensity == pytest.approx(without.intensity, abs=0.05)


def test_blocks_leave_no_seam(path):
    """21 s are three blocks; every frame is there once."""
    measured = measure_voice(write(path, voice(150, 21)), [(0, 21)])
    assert measured.frames == (21 * RATE - 640) // 160 + 1
    assert len(measured.f0) == measured.frames
    assert measured.f0.min() == pytest.approx(150, rel=0.01)


def test_memory_does_not_grow_with_length(tmp_path):
    def peak(seconds):
        path = write(tmp_path / "a.wav", voice(150, seconds))
        tracemalloc.start()
        measure_voice(path, [(0, seconds)])
        return tracemalloc.get_traced_memory()[1]

    short, long = peak(20), peak(60)
    tracemalloc.stop()
    assert long < 1.2 * short


def test_another_format_is_refused(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 800)
    with pytest.raises(ValueError, match="not 16 kHz mono PCM"):
        measure_voice(path, [(0, 1)])
