"""Spectra are those of transformers' feature extractor, on whatever device they are made."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from malgeul import ROOT
from malgeul.speech.spectra import LogMel
from unit.spoken import spoken

EXTRACTORS = [
    WhisperFeatureExtractor.from_pretrained(str(ROOT / "resources/models/whisper-ko-demo")),
    WhisperFeatureExtractor(feature_size=128),  # large-v3's
]


@pytest.mark.parametrize("extractor", EXTRACTORS, ids=["demo", "large-v3"])
def test_spectra_are_those_of_transformers(extractor):
    long = np.tile(spoken("seen")[1][0], 20)
    sounds = [*spoken("seen")[1][:3], np.zeros(8_000, np.float32), long, long[:1]]
    make = LogMel(extractor, "cpu")
    found = make(torch.stack([make.whole(sound) for sound in sounds]))
    expected = extractor(sounds, sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert found.shape == expected.shape
    assert torch.equal(found, expected)
