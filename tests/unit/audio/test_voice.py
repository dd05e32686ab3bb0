"""Voice activity is Silero's, frame for frame; what is spoken is found, silence and noise are not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from silero_vad import get_speech_timestamps, get_speech_timestamps_from_probs, load_silero_vad

from malgeul.audio.pcm import FULL_SCALE, RATE
from malgeul.audio.voice import CONTEXT, FRAME, FRAMES_AT_ONCE, detect_speech, probabilities, spans_of
from unit.spoken import spoken

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def samples():
    """Sentences with pauses between them, longer than the network takes at once."""
    parts = [part for sound in spoken("seen")[1] for part in (sound, np.zeros(RATE // 2, np.float32))]
    joined = np.concatenate(parts)
    assert len(joined) > FRAMES_AT_ONCE * FRAME
    return (joined * (FULL_SCALE - 1)).astype("<i2")


@pytest.fixture(scope="module")
def package():
    return load_silero_vad()


def test_probabilities_are_those_of_the_package(samples, package):
    package.reset_states()
    whole = torch.nn.functional.pad(torch.from_numpy(samples / np.float32(FULL_SCALE)), (0, -len(samples) % FRAME))
    expected = [package(frame, RATE).item() for frame in whole.split(FRAME)]
    assert probabilities([samples]) == pytest.approx(expected, abs=1e-4)


def test_spans_are_those_of_the_package(samples, package):
    expected = get_speech_timestamps(torch.from_numpy(samples / np.float32(FULL_SCALE)), package)
    found = detect_speech([samples], 0.5)
    assert found == [(round(s["start"] / RATE, 3), round(s["end"] / RATE, 3)) for s in expected]
    assert len(found) > 10


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.02, 0.3, 0.45, 0.5, 0.9]), st.integers(1, 12)), max_size=12),
    st.sampled_from([0.1, 0.3, 0.5, 0.6]),
    st.integers(0, FRAME - 1),
)
def test_probabilities_become_the_spans_of_the_package(stretches, threshold, short):
    found = [probability for probability, frames in stretches for _ in range(frames)]
    samples = max(len(found) * FRAME - short, 0)
    expected = get_speech_timestamps_from_probs(found, threshold=threshold, audio_length_samples=samples)
    assert spans_of(found, threshold, samples) == [(span["start"], span["end"]) for span in expected]


@pytest.mark.parametrize("length", [1, CONTEXT, FRAME, FRAME + 1, 10 * RATE])
def test_how_the_sound_is_cut_into_blocks_does_not_matter(samples, length):
    samples = samples[: 12 * RATE]
    if length == 1:
        samples = samples[: 2 * FRAME]
    blocks = [samples[at : at + length] for at in range(0, len(samples), length)]
    assert np.array_equal(probabilities(blocks), probabilities([samples]))
    assert detect_speech(blocks, 0.5) == detect_speech([samples], 0.5)


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0),
        np.zeros(1),
        np.zeros(5 * RATE),
        300 * RNG.standard_normal(5 * RATE),
        8000 * np.sin(2 * np.pi * 440 * np.arange(5 * RATE) / RATE),
    ],
    ids=["nothing", "one sample", "silence", "noise", "a tone"],
)
def test_nobody_speaks_where_nobody_speaks(sound):
    assert detect_speech([sound.astype("<i2")], 0.5) == []
