"""Loudness is that of ffmpeg's filter for EBU R128, to the tenth that both state."""

from __future__ import annotations

import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from malgeul.audio.levels import FRAME, measure
from malgeul.audio.pcm import RATE, samples_of
from unit.audio.conftest import segment, tone

RANDOM = np.random.default_rng(2)
SECONDS = 8
NOISE = 0.1 * RANDOM.standard_normal((2, SECONDS * RATE))
PAUSES = np.where(np.arange(SECONDS * RATE) % (4 * RATE) < RATE, 1.0, 0.01)


def by_ffmpeg(sound):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-f", "s16le", "-ar", str(RATE)]
    command += ["-ac", str(sound.channels), "-i", "-", "-af", "ebur128=framelog=quiet", "-f", "null", "-"]
    said = subprocess.run(command, input=sound.raw_data, capture_output=True, check=True).stderr.decode()
    return float(re.findall(r" I: +(-?[\d.]+) LUFS", said)[-1])


@pytest.mark.parametrize(
    "tracks",
    [
        (NOISE[0],),
        (NOISE[0], NOISE[1]),
        (NOISE[0], NOISE[0]),
        (NOISE[0], 0 * NOISE[0]),
        (PAUSES * NOISE[0], PAUSES * NOISE[1]),
        (0.005 * NOISE[0],),
        (tone(40, 0.3, SECONDS),),
        (tone(4000, 0.3, SECONDS),),
        (0.2 + NOISE[0] / 10,),
    ],
    ids=["mono", "stereo", "the same twice", "one empty", "pauses", "quiet", "low", "high", "an offset"],
)
def test_loudness_is_that_of_ffmpeg(tracks):
    sound = segment(*tracks)
    assert measure([sound]).loudness_lufs == pytest.approx(by_ffmpeg(sound), abs=0.06)


def test_blocks_do_not_matter_and_what_is_left_of_a_hop_waits_for_the_next():
    whole = segment(PAUSES * NOISE[0], NOISE[1])
    samples = samples_of(whole) / 32768
    blocks = [segment(*samples[at : at + 7 * FRAME].T) for at in range(0, len(samples), 7 * FRAME)]
    assert measure(blocks).loudness_lufs == pytest.approx(measure([whole]).loudness_lufs, abs=1e-4)


def test_what_is_quieter_than_the_gate_or_shorter_than_its_400_ms_has_no_loudness():
    assert measure([segment(0.001 * NOISE[0])]).loudness_lufs is None
    assert measure([segment(np.zeros(RATE))]).loudness_lufs is None
    assert measure([segment(tone(seconds=0.39))]).loudness_lufs is None
    assert measure([segment(tone(seconds=0.41))]).loudness_lufs is not None
