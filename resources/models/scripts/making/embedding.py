"""A small sentence encoder: a BERT that learns which title belongs to which text (Karpukhin et al. 2020; in-batch)."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from making.texts import Titled
from malgeul.embedding.encoder import pool_padded

DIMENSION = 256
LONGEST = 512
LEARNT_TOKENS = 128
"""Content is cut to so many tokens in training; positions beyond learn nothing and start as copies of these."""

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
POOLING = {
    "word_embedding_dimension": DIMENSION,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}
SENTENCE = re.compile(r"(?<=[.?!])\s+|\n+")


def make_model(vocabulary: int, seed: int) -> BertModel:
    """Return a BERT of two layers with random weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=3 * DIMENSION,
        max_position_embeddings=LONGEST,
    )
    return BertModel(config, add_pooling_layer=False)


def save(model: BertModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write model and tokenizer in sentence-transformers' format."""
    model.save_pretrained(str(out))
    tokenizer.model_max_length = LONGEST
    tokenizer.save_pretrained(str(out))
    (out / "1_Pooling").mkdir(exist_ok=True)
    for name, value in (
        ("modules.json", MODULES),
        ("1_Pooling/config.json", POOLING),
        ("sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False}),
    ):
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


class Matcher(nn.Module):
    """The encoder and the scale of its cosines; a batch's other texts are what a title must not match."""

    def __init__(self, encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.encoder = encoder
        self.scale = nn.Parameter(torch.tensor(20.0).log())
        self._tokenizer = tokenizer

    def vectors(self, texts: Sequence[str], longest: int) -> torch.Tensor:
        """Return the normalized vectors of texts, shape (texts, DIMENSION)."""
        inputs = self._tokenizer(list(texts), truncation=True, max_length=longest, padding=True, return_tensors="pt")
        inputs = {name: inputs[name].to(self.scale.device) for name in ("input_ids", "attention_mask")}
        hidden = self.encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"]
        return nn.functional.normalize(pool_padded(hidden.float(), mask, "mean"), dim=1)

    def losses(
        self, pairs: Sequence[Titled], size: int, seed: int, step: int, precision: torch.dtype | None
    ) -> dict[str, Any]:
        """Return the loss of the step's batch: cross entropy of the right text among all, both ways."""
        rng = random.Random(f"{seed} {step}")
        drawn = [_views(pair, rng) for pair in rng.sample(list(pairs), min(size, len(pairs)))]
        with torch.autocast(self.scale.device.type, dtype=precision) if precision else nullcontext():
            titles = self.vectors([title for title, _ in drawn], 48)
            contents = self.vectors([content for _, content in drawn], LEARNT_TOKENS)
        cosines = self.scale.exp().clamp(max=60) * titles.float() @ contents.float().T
        right = torch.arange(len(drawn), device=cosines.device)
        loss = (nn.functional.cross_entropy(cosines, right) + nn.functional.cross_entropy(cosines.T, right)) / 2
        found = (cosines.argmax(1) == right).float().mean()
        return {"loss": loss, "found": found}


def _views(pair: Titled, rng: random.Random) -> tuple[str, str]:
    """Return what is asked and what answers: the title, or a sentence taken out of the content, and the content.

    A sentence and its surroundings are a pair as well (the inverse cloze task, Lee et al. 2019).
    """
    sentences = [one for one in SENTENCE.split(pair.content) if one.strip()]
    asked = pair.title
    if len(sentences) > 3 and rng.random() < 0.5:
        at = rng.randrange(len(sentences))
        asked = sentences[at]
        if rng.random() < 0.8:
            sentences = sentences[:at] + sentences[at + 1 :]
    first = rng.randrange(len(sentences)) if len(sentences) > 8 and rng.random() < 0.3 else 0
    return asked, " ".join(sentences[first:])
