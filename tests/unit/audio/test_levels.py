"""Levels, silence, noise, bandwidth and correlation are what they are by construction."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.signal import resample_poly

from malgeul.audio.levels import EMPTY_CHANNEL_DBFS, FRAME, NARROWBAND_HZ, measure
from malgeul.audio.pcm import FULL_SCALE, RATE, samples_of
from unit.audio.conftest import segment, tone

RANDOM = np.random.default_rng(1)


def white(seconds=1.0, amplitude=0.1):
    return amplitude * RANDOM.standard_normal(round(seconds * RATE))


def low_passed(signal, hertz):
    spectrum = np.fft.rfft(signal)
    spectrum[int(hertz * len(signal) / RATE) :] = 0
    return np.fft.irfft(spectrum, len(signal))


def test_the_peak_is_that_of_the_samples():
    assert measure([segment(tone(amplitude=0.1))]).peak_dbfs == pytest.approx(-20, abs=0.01)


def test_the_true_peak_lies_between_samples():
    """A quarter of the sampling rate, never sampled nearer than 45 degrees to its peak."""
    wave = 0.5 * np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4)
    wave *= np.hanning(RATE)  # without a beginning that is no tone
    meter = measure([segment(wave)])
    assert meter.peak_dbfs == pytest.approx(20 * np.log10(0.5) - 3.01, abs=0.01)
    assert meter.true_peak_dbtp == pytest.approx(20 * np.log10(0.5), abs=0.05)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_the_true_peak_is_found_at_every_quarter_between_two_samples(quarter):
    """A pulse of up to 4.8 kHz: a quarter beside its peak it is 0.3 dB lower."""
    wave = 0.5 * np.sinc(0.6 * (np.arange(RATE) - 8000 - quarter / 4))
    assert measure([segment(wave)]).true_peak_dbtp == pytest.approx(20 * np.log10(0.5), abs=0.05)


def test_a_wave_is_as_high_backwards():
    wave = np.resize([0.5, -0.5], RATE) * (np.arange(RATE) < 64)
    forwards, backwards = measure([segment(wave)]).true_peak_dbtp, measure([segment(wave[::-1])]).true_peak_dbtp
    assert forwards == pytest.approx(backwards, abs=1e-4)
    assert forwards > 20 * np.log10(0.5) + 1, "it rises where it begins and ends"


def test_the_true_peak_does_not_hang_on_blocks_or_on_the_windows_that_are_looked_at():
    sound = low_passed(white(3.0, 0.2), 6000)
    whole = measure([segment(sound)])
    blocks = [segment(sound[at : at + FRAME]) for at in range(0, len(sound), FRAME)]
    assert measure(blocks).true_peak_dbtp == whole.true_peak_dbtp
    samples = samples_of(segment(sound))[:, 0].astype(float)
    expected = np.abs(resample_poly(samples, 16, 1)).max() / FULL_SCALE
    assert whole.true_peak_dbtp == pytest.approx(20 * np.log10(expected), abs=0.2)
    assert whole.true_peak_dbtp > whole.peak_dbfs


@pytest.mark.parametrize("at", [0, 1, 255, 256, 280, RATE - 2, RATE - 1])
def test_the_true_peak_is_found_at_either_end(at):
    click = np.zeros(RATE)
    click[max(at - 1, 0) : at + 1] = 0.5
    assert 0 <= measure([segment(click)]).true_peak_dbtp + 20 * np.log10(2) < 3


def test_digital_silence_has_no_peak_no_noise_and_no_bandwidth():
    meter = measure([segment(np.zeros(RATE))])
    assert (meter.peak_dbfs, meter.true_peak_dbtp, meter.snr_db(), meter.bandwidth_hz) == (None, None, None, None)
    assert meter.silence_ratio == 1.0


def test_clipping_is_the_share_of_samples_at_full_scale():
    samples = tone(amplitude=0.1)
    samples[:1600] = 1.5
    samples[1600:3200] = -1.5
    assert measure([segment(samples)]).clipping_share == pytest.approx(0.2)
    assert measure([segment(tone(amplitude=0.99))]).clipping_share == 0


def test_programs_that_scale_by_32767_clip_at_both_ends_too():
    clipped = np.clip(tone(300, 2.0), -1, 1) * 32767 / 32768
    assert measure([segment(clipped)]).clipping_share == pytest.approx(2 / 3, abs=0.01)


def test_silence_is_the_share_of_quiet_frames_of_the_loudest_channel():
    speech = np.concatenate([tone(amplitude=0.1), np.zeros(RATE), tone(amplitude=0.001), tone(amplitude=0.1)])
    assert measure([segment(speech)]).silence_ratio == pytest.approx(0.5)
    assert measure([segment(speech, np.roll(speech, 2 * RATE))]).silence_ratio == 0


def test_an_offset_of_the_sound_card_is_no_sound():
    sound = np.concatenate([white(1.0, 0.1), white(1.0, 0.0001)])
    without, offset = measure([segment(sound)]), measure([segment(sound + 0.2)])
    assert offset.silence_ratio == without.silence_ratio == pytest.approx(0.5, abs=0.02)
    assert offset.snr_db() == pytest.approx(without.snr_db(), abs=0.5)
    assert offset.channel_dbfs == pytest.approx(without.channel_dbfs, abs=0.1)
    assert offset.bandwidth_hz == without.bandwidth_hz > NARROWBAND_HZ
    (empty,) = measure([segment(np.full(RATE, 0.2))]).channel_dbfs
    assert empty < EMPTY_CHANNEL_DBFS


def test_the_level_of_a_channel_is_its_rms():
    both = measure([segment(tone(amplitude=0.1), tone(amplitude=0.01))])
    assert both.channel_dbfs == pytest.approx([-23.01, -43.01], abs=0.05)


def test_the_noise_floor_is_seen_in_pauses():
    speech = white(10, 0.001) + np.concatenate([tone(200, 0.1, 6), np.zeros(4 * RATE)])
    assert measure([segment(speech)]).snr_db() == pytest.approx(37, abs=1.5)  # 0.1/√2 over 0.001
    faded = np.concatenate([tone(200, 0.1, 6), np.zeros(4 * RATE)])
    assert measure([segment(faded)]).snr_db() is None, "pauses of digital silence show no noise"


def test_a_word_in_a_long_silence_is_as_clear_as_in_a_short_one():
    noise, word = white(60, 0.001), tone(amplitude=0.1)
    noise[20 * RATE : 21 * RATE] += word
    blocks = [segment(noise[at : at + 10 * RATE]) for at in range(0, len(noise), 10 * RATE)]
    assert measure(blocks).snr_db([(20, 21)]) == pytest.approx(37, abs=1.5)
    assert measure(blocks).snr_db() < 3, "where nobody speaks all frames count, and a sixtieth of them is not loud"


def test_telephone_speech_is_narrow_and_its_bandwidth_is_found():
    assert measure([segment(low_passed(white(4), 3400))]).bandwidth_hz == pytest.approx(3400, abs=200)
    assert measure([segment(white(4))]).bandwidth_hz > 7800
    assert 3000 <= measure([segment(tone(3000))]).bandwidth_hz < 3200
    assert measure([segment(low_passed(white(4), 3990))]).bandwidth_hz < NARROWBAND_HZ


@pytest.mark.parametrize(("right", "expected"), [(1.0, 1), (-0.3, -1), (0.0, None)])
def test_correlation_does_not_depend_on_level_and_keeps_its_sign(right, expected):
    left = white()
    meter = measure([segment(left, right * left)])
    assert meter.correlation == (expected if expected is None else pytest.approx(expected, abs=0.001))


def test_levels_correlate_whatever_the_waves_do_and_need_two_channels_that_change():
    level = 1 + np.sin(2 * np.pi * 3 * np.arange(RATE) / RATE)
    meter = measure([segment(level * white(), level * white())])
    assert abs(meter.correlation) < 0.05
    assert meter.level_correlation > 0.9
    assert measure([segment(level * white(), (2 - level) * white())]).level_correlation < -0.8
    assert measure([segment(level * white(), np.zeros(RATE))]).level_correlation is None
    assert measure([segment(level * white())]).level_correlation is None


def test_independent_channels_do_not_correlate_and_one_channel_has_no_correlation():
    assert abs(measure([segment(white(), white())]).correlation) < 0.05
    assert measure([segment(white())]).correlation is None


def test_a_recording_measured_in_blocks_measures_the_same_as_at_once():
    speech = np.concatenate([white(3), np.zeros(RATE), tone(seconds=2)])
    blocks = [segment(speech[start : start + RATE]) for start in range(0, len(speech), RATE)]
    whole, parts = measure([segment(speech)]), measure(blocks)
    for name in ("peak", "clipped", "frames", "sums", "energies"):
        assert getattr(whole, name) == getattr(parts, name)
    assert (whole.levels == parts.levels).all()


def test_memory_does_not_grow_with_length():
    block = segment(white(10), white(10))

    def peak(blocks):
        tracemalloc.start()
        measure(block for _ in range(blocks))
        return tracemalloc.get_traced_memory()[1]

    few, many = peak(2), peak(12)
    tracemalloc.stop()
    assert many < 1.2 * few


def test_a_recording_shorter_than_a_frame_has_no_silence_ratio():
    assert measure([segment(tone(seconds=0.01))]).silence_ratio is None


def test_channels_that_are_the_same_measure_as_any_other_two_also_when_they_part_later():
    left = white(3, 0.2)
    right = np.concatenate([left[: 2 * RATE], np.roll(left[2 * RATE :], 100)])

    def cut(*tracks):
        return [segment(*(track[at : at + RATE] for track in tracks)) for at in range(0, 3 * RATE, RATE)]

    def facts(meter):
        names = (
            "frames",
            "peak",
            "clipped",
            "sums",
            "energies",
            "product",
            "level_sums",
            "true_peak_dbtp",
            "bandwidth_hz",
        )
        return [getattr(meter, name) for name in names] + [meter.levels.tolist(), round(meter.loudness_lufs, 4)]

    for second in (left, right):
        at_once, swapped = measure([segment(left, second)]), measure(cut(second, left))
        both = measure(cut(left, second))
        assert facts(both) == facts(at_once)
        assert facts(swapped)[0:3] == facts(both)[0:3]
        assert swapped.energies == both.energies[::-1]
    assert measure(cut(left, left)).correlation == pytest.approx(1)
    alone, twice = measure(cut(left)), measure(cut(left, left))
    assert twice.loudness_lufs == pytest.approx(alone.loudness_lufs + 10 * np.log10(2), abs=0.001)
    assert (twice.true_peak_dbtp, twice.sums) == (alone.true_peak_dbtp, 2 * alone.sums)
