"""The rules for timestamps over a batch forbid what transformers' forbid row by row."""

import pytest
import torch
from transformers import WhisperTimeStampLogitsProcessor
from transformers.generation import GenerationConfig

from malgeul.speech.timestamps import TimestampRules

END, NO_TIMESTAMPS, BEGIN, SIZE = 10, 14, 15, 40
PROMPT = [11, 12, 13]
MADE = {
    "nothing": [[]] * 3,
    "a time": [[15], [20], [39]],
    "text": [[15, 3], [20, 4], [16, 9]],
    "a time after text": [[15, 3, 18], [15, 4, 15], [16, 9, 30]],
    "a pair": [[15, 3, 18, 18], [15, 4, 15, 16], [16, 9, 30, 39]],
    "all of them": [[15, 3, 18, 18], [15, 4, 5, 16], [16, 9, 5, 6]],
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize("latest_begin", [None, 5])
def test_the_same_tokens_are_forbidden(made, latest_begin):
    config = GenerationConfig(
        eos_token_id=END, no_timestamps_token_id=NO_TIMESTAMPS, max_initial_timestamp_index=latest_begin
    )
    reference = WhisperTimeStampLogitsProcessor(config, begin_index=len(PROMPT))
    rules = TimestampRules(BEGIN, END, NO_TIMESTAMPS, latest_begin)
    tokens = torch.tensor(made, dtype=torch.long)
    for seed in range(20):
        logits = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(seed)) * 3
        expected = reference(torch.cat([torch.tensor([PROMPT] * 3), tokens], dim=1), logits)
        rules.apply(logits, tokens)
        assert torch.equal(logits, expected)
