"""Jitter, shimmer and harmonicity are those of the sound, over its voiced parts alone; nothing without Praat."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from malgeul.speech import praat
from malgeul.speech.interaction import length
from malgeul.speech.praat import LEAST_CYCLES, STRETCH_SECONDS, STRETCHES, Cycles, measure_cycles, stretches_of
from malgeul.speech.windows import RATE
from unit.speech.conversations import write_wav

pytest.importorskip("parselmouth")


def pulses(hertz, seconds, jitter=0.0, shimmer=0.0):
    """Glottal-like pulses whose neighbouring periods and amplitudes differ by these shares of their means."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros_like(time)
    at, number = 0.01, 0
    while at < seconds - 0.03:
        sign = 1 if number % 2 else -1
        near = slice(max(round((at - 0.003) * RATE), 0), round((at + 0.003) * RATE))
        sound[near] += 0.5 * (1 + sign * shimmer / 2) * np.exp(-(((time[near] - at) / 0.0006) ** 2))
        at += (1 + sign * jitter / 2) / hertz
        number += 1
    return sound


def harmonics(hertz, seconds, snr_db, seed=1):
    """A voice in white noise that is ``snr_db`` weaker."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 12))
    sound /= np.sqrt(np.mean(sound**2))
    noise = np.random.default_rng(seed).standard_normal(len(sound))
    return 0.1 * (sound + 10 ** (-snr_db / 20) * noise)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wav"


@pytest.mark.parametrize("hertz", [100, 210])
@pytest.mark.parametrize(("jitter", "shimmer"), [(0, 0), (0.01, 0), (0.03, 0), (0, 0.05), (0.02, 0.08)])
def test_jitter_and_shimmer_of_known_pulses_are_found(path, hertz, jitter, shimmer):
    write_wav(path, pulses(hertz, 3, jitter, shimmer))
    cycles = measure_cycles(path, [(0, 3)])
    assert cycles.count == pytest.approx(3 * hertz, rel=0.03)
    assert cycles.jitter == pytest.approx(jitter, abs=0.0003)
    assert cycles.shimmer == pytest.approx(shimmer, abs=0.001)


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_harmonicity_is_the_ratio_of_voice_to_noise(path, snr_db):
    write_wav(path, harmonics(120, 3, snr_db))
    assert measure_cycles(path, [(0, 3)]).harmonicity_db == pytest.approx(snr_db, abs=0.6)


def test_only_voiced_parts_count(path):
    """Noise as loud as the voice beside it has no harmonics and no cycles."""
    noise = 0.1 * np.random.default_rng(3).standard_normal(2 * RATE)
    write_wav(path, np.concatenate([harmonics(120, 2, 20), noise, np.zeros(RATE)]))
    alone, beside = measure_cycles(path, [(0, 2)]), measure_cycles(path, [(0, 5)])
    assert beside.count == pytest.approx(alone.count, rel=0.05)
    assert beside.harmonicity_db == pytest.approx(alone.harmonicity_db, abs=1)


def test_only_the_own_talk_of_a_voice_counts(path):
    write_wav(path, np.concatenate([pulses(110, 2, 0.01), pulses(220, 2, 0.02), pulses(110, 2, 0.01)]))
    assert measure_cycles(path, [(0, 2), (4, 6)]).jitter == pytest.approx(0.01, abs=0.001)
    assert measure_cycles(path, [(2, 4)]).jitter == pytest.approx(0.02, abs=0.001)


def test_a_seam_between_stretches_is_no_jitter(path):
    write_wav(path, pulses(120, 6))
    talk = [(at, at + 0.41) for at in np.arange(0, 5.5, 0.5)]
    assert measure_cycles(path, talk).jitter < 0.002


def test_too_few_cycles_give_no_figure(path):
    write_wav(path, np.concatenate([pulses(120, 0.5), np.zeros(RATE)]))
    cycles = measure_cycles(path, [(0, 1.5)])
    assert 0 < cycles.count < LEAST_CYCLES
    assert (cycles.jitter, cycles.shimmer, cycles.harmonicity_db) == (None, None, None)
    assert measure_cycles(path, []) == measure_cycles(path, [(0, 0.03)]) == Cycles()
    assert measure_cycles(path, [(1, 1.5)]) == Cycles()


def test_without_the_package_nothing_is_measured(path, monkeypatch):
    write_wav(path, pulses(120, 3))
    monkeypatch.setattr(praat, "parselmouth", None)
    assert measure_cycles(path, [(0, 3)]) is None


def test_short_talk_is_measured_as_a_whole():
    talk = [(0.0, 60.0), (70.0, 130.0)]
    assert stretches_of(talk) == talk


def test_of_long_talk_stretches_at_equal_distances_are_measured():
    talk = [(100.0, 700.0), (1000.0, 1003.0), (2000.0, 2597.0)]  # 1200 s, so that a stretch begins every 50 s
    found = stretches_of(talk)
    assert length(found) == pytest.approx(STRETCHES * STRETCH_SECONDS)
    assert found[:2] == [(100, 105), (150, 155)]
    assert (1000, 1003) in found
    assert (2000, 2002) in found, "a stretch goes on in the next interval"
    assert all(any(start <= a and b <= end for start, end in talk) for a, b in found)


def test_memory_does_not_grow_with_length(path):
    def peak(minutes):
        write_wav(path, np.tile(pulses(120, 60), minutes))
        tracemalloc.start()
        measure_cycles(path, [(0, 60.0 * minutes)])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(6) < 1.1 * peak(3)
