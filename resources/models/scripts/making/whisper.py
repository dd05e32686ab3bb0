"""A small Whisper: its tokenizer of syllables, its untrained weights, and what it learns from a batch of windows."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from making.sentences import letters_of
from making.speaking import RATE, Clips
from making.windows import SECONDS, Said, Sound, disturb, draw_window, end_early

LANGUAGES = ("ko", "en")
# In the order of OpenAI's vocabulary, on which transformers counts: no-speech comes right before no-timestamps.
CONTROL = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
TIME_STEP = 0.02
FRAMES = 50 * SECONDS
"""Positions of the encoder: 20 ms each, half of the spectrogram's."""

JAMO = sorted({part for code in range(0xAC00, 0xD7A4) for part in unicodedata.normalize("NFD", chr(code))})
"""Letters of Hangul as NFD writes them: what the encoder alone learns to hear."""

IGNORED = -100


def train_tokenizer(texts: Iterable[str], pieces: int, folder: Path) -> WhisperTokenizer:
    """Train a byte-level BPE whose merges stay within a syllable, with Whisper's marks and the times of a window.

    Whole syllables let a small model spell words that it never heard.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[가-힣]| "), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=pieces, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = {**model["vocab"], "<|endoftext|>": len(model["vocab"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    whisper = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    marks = ["<|startoftranscript|>", *(f"<|{language}|>" for language in LANGUAGES), *CONTROL]
    whisper.add_tokens(marks, special_tokens=True)
    whisper.add_tokens([f"<|{step * TIME_STEP:.2f}|>" for step in range(FRAMES + 1)])
    for name in ("vocab.json", "merges.txt"):  # tokenizer.json holds them
        (folder / name).unlink()
    return whisper


def make_processor(tokenizer: WhisperTokenizer) -> WhisperProcessor:
    """Return the processor of windows of SECONDS."""
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=80, chunk_length=SECONDS), tokenizer)


@dataclass(frozen=True)
class Shape:
    """How large the model is. A head has 64 dimensions, as OpenAI's have; narrower ones cost twice the time on CPUs."""

    d_model: int = 192
    encoder_layers: int = 4
    decoder_layers: int = 2
    heads: int = 3


def make_model(tokenizer: WhisperTokenizer, shape: Shape, seed: int) -> WhisperForConditionalGeneration:
    """Return a Whisper with random weights and the generation settings that transformers expects of one."""
    token = tokenizer.convert_tokens_to_ids
    torch.manual_seed(seed)
    ends = {name: token("<|endoftext|>") for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer),
            d_model=shape.d_model,
            encoder_layers=shape.encoder_layers,
            decoder_layers=shape.decoder_layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=4 * shape.d_model,
            decoder_ffn_dim=4 * shape.d_model,
            max_source_positions=FRAMES,
            max_target_positions=448,
            decoder_start_token_id=token("<|startoftranscript|>"),
            **ends,
        )
    )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=token("<|startoftranscript|>"),
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": token(f"<|{language}|>") for language in LANGUAGES},
        task_to_id={"transcribe": token("<|transcribe|>"), "translate": token("<|translate|>")},
        no_timestamps_token_id=token("<|notimestamps|>"),
        prev_sot_token_id=token("<|startofprev|>"),
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
        **ends,
    )
    return model


class Learner(nn.Module):
    """A Whisper and the head on its encoder that learns letters by CTC and is dropped after training.

    Without it the decoder learns Korean long before it learns to listen (Kim et al. 2017 on joint CTC and attention).
    ``harder`` is for one that can hear already: more windows in which nobody speaks, and many that end early.
    """

    def __init__(
        self,
        whisper: WhisperForConditionalGeneration,
        processor: WhisperProcessor,
        ctc_weight: float,
        *,
        harder: bool = False,
    ) -> None:
        super().__init__()
        self.whisper = whisper
        self.letters = nn.Linear(whisper.config.d_model, len(JAMO) + 1)
        self.ctc_weight = ctc_weight
        self.processor = processor
        self.harder = harder
        self._token = processor.tokenizer.convert_tokens_to_ids
        self._first_mark = self._token("<|endoftext|>")
        self._jamo = {letter: number + 1 for number, letter in enumerate(JAMO)}

    def losses(self, clips: Clips, size: int, seed: int, step: int, precision: torch.dtype | None) -> dict[str, Any]:
        """Return the losses of the step's batch of ``size`` windows."""
        rng = np.random.default_rng([seed, step])
        drawn = [draw_window(clips, rng, 0.04 if self.harder else 0.02) for _ in range(size)]
        sounds = [disturb(sound, rng) for sound, _ in drawn]
        if self.harder:
            sounds = [end_early(sound, said, rng) for sound, (_, said) in zip(sounds, drawn, strict=True)]
        device = self.letters.weight.device
        features = self.features(sounds, device)
        features = _masked(features, rng)
        entered, wanted = self._tokens([said for _, said in drawn], rng)
        letters = [self._letters(said) for _, said in drawn]
        with torch.autocast(device.type, dtype=precision) if precision else nullcontext():
            found = self.whisper(input_features=features, decoder_input_ids=entered.to(device))
            heard = self.letters(found.encoder_last_hidden_state)
        text = nn.functional.cross_entropy(
            found.logits.float().flatten(0, 1), wanted.to(device).flatten(), ignore_index=IGNORED, label_smoothing=0.05
        )
        lengths = torch.tensor([len(line) for line in letters])
        # Divided by the letters of all windows: by its own a window of noise would weigh as much as a hundred others.
        ctc = nn.functional.ctc_loss(
            heard.float().log_softmax(-1).transpose(0, 1),
            torch.tensor([number for line in letters for number in line]),
            torch.full((size,), FRAMES),
            lengths,
            reduction="sum",
            zero_infinity=True,
        ) / int(lengths.sum().clamp(min=1))
        return {"loss": (1 - self.ctc_weight) * text + self.ctc_weight * ctc, "text": text, "letters": ctc}

    def features(self, sounds: Sequence[Sound], device: torch.device) -> torch.Tensor:
        """Return log-mel spectrograms, shape (windows, 80, 100 * SECONDS)."""
        extracted = self.processor.feature_extractor(list(sounds), sampling_rate=RATE, return_tensors="pt")
        features: torch.Tensor = extracted["input_features"]
        return features.to(device)

    def _tokens(self, windows: Sequence[Sequence[Said]], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the decoder is given and what it should answer, shape (windows, longest)."""
        start, korean, task = (self._token(mark) for mark in ("<|startoftranscript|>", "<|ko|>", "<|transcribe|>"))
        entered, wanted = [], []
        for said in windows:
            text = [token for one in said for token in self._segment(one)]
            text = text or [self._time(0.0)]
            entered.append([start, korean, task, *_worn(text, self._first_mark, rng)])
            language = korean if said else self._token("<|nospeech|>")
            wanted.append([language, task if said else IGNORED, *text, self._first_mark])
        longest = max(map(len, entered))
        return _padded(entered, longest, self._first_mark), _padded(wanted, longest, IGNORED)

    def _segment(self, said: Said) -> list[int]:
        text = self.processor.tokenizer.encode(" " + said.text, add_special_tokens=False)
        return [self._time(said.start), *text, self._time(said.end)]

    def _time(self, seconds: float) -> int:
        at = min(FRAMES, round(seconds / TIME_STEP))
        return int(self._token(f"<|{at * TIME_STEP:.2f}|>"))

    def _letters(self, said: Sequence[Said]) -> list[int]:
        text = unicodedata.normalize("NFD", "".join(letters_of(one.text) for one in said))
        return [self._jamo[letter] for letter in text]


def _padded(rows: Sequence[Sequence[int]], longest: int, filler: int) -> torch.Tensor:
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _worn(tokens: list[int], first_mark: int, rng: np.random.Generator, share: float = 0.1) -> list[int]:
    """Return the tokens with a share of the text replaced at random: what comes next must be heard, not guessed."""
    wear = rng.random(len(tokens)) < share
    other = rng.integers(0, first_mark, len(tokens))
    return [int(o) if w and t < first_mark else t for t, w, o in zip(tokens, wear, other, strict=True)]


def _masked(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return spectrograms with bands and stretches blotted out (SpecAugment, Park et al. 2019)."""
    features = features.clone()
    for one in features:
        low = one.min()
        for _ in range(2):
            band, at = int(rng.integers(0, 12)), int(rng.integers(0, 68))
            one[at : at + band] = low
            stretch, since = int(rng.integers(0, 20)), int(rng.integers(0, 100 * SECONDS - 20))
            one[:, since : since + stretch] = low
    return features
