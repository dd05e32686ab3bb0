"""Voices drawn for the training: espeak-ng speaks with them, each sounds its own way, and none stays behind."""

import os
import random
import shutil

import numpy as np
import pytest
from make_recordings import SYNTHESIS_RATE, Voice, synthesize
from making.speaking import draw_variant, with_variants

TEXT = "안녕하세요. 무엇을 도와드릴까요?"


@pytest.fixture
def espeak():
    found = shutil.which("espeak-ng")
    if found is None:
        if os.environ.get("MALGEUL_REQUIRE_ESPEAK"):
            pytest.fail("espeak-ng is required here and is not installed")
        pytest.skip("needs espeak-ng")
    return found


def test_espeak_speaks_with_drawn_variants(espeak):
    rng = random.Random(0)
    variants = {f"drawn-{number}": draw_variant(rng) for number in range(12)}
    with with_variants(variants, espeak):
        sounds = [synthesize(TEXT, Voice(name, 170, 50), espeak) for name in variants]
        unknown = synthesize(TEXT, Voice("drawn-none", 170, 50), espeak)
    assert all(len(sound) > SYNTHESIS_RATE for sound in sounds)
    heard = {sound.tobytes() for sound in [*sounds, unknown]}
    assert len(heard) == len(sounds) + 1
    assert "ESPEAK_DATA_PATH" not in os.environ


def test_the_same_seed_draws_the_same_variant():
    assert draw_variant(random.Random(3)) == draw_variant(random.Random(3)) != draw_variant(random.Random(4))


def test_a_usual_variant_sounds_as_before_beside_drawn_ones(espeak):
    usual = synthesize(TEXT, Voice("f2", 170, 50), espeak)
    with with_variants({"drawn": draw_variant(random.Random(0))}, espeak):
        assert np.array_equal(synthesize(TEXT, Voice("f2", 170, 50), espeak), usual)
