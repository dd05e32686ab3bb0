"""Whisper by transformers: windows of sound to segments with times, batch by batch, halved when memory runs out."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from malgeul.models.devices import Device
from malgeul.models.loading import quiet_transformers
from malgeul.models.memory import DoesNotFit, halving
from malgeul.speech.windows import RATE, Audio

REPETITIVE = 2.4
"""Text that compresses better than this repeats itself (Radford et al. 2022, section 4.5)."""


@dataclass(frozen=True)
class Segment:
    """What was said in [start, end) seconds of a window, with the window's measures of trust (None: not measured)."""

    start: float
    end: float
    text: str
    avg_logprob: float | None
    no_speech_prob: float | None
    compression_ratio: float

    @property
    def flags(self) -> list[str]:
        """What makes the text doubtful; a flagged segment stays."""
        return ["repetitive"] if self.compression_ratio > REPETITIVE else []


def window_seconds(folder: Path) -> float:
    """Return how much sound the checkpoint in ``folder`` hears at once: 30 s for OpenAI's."""
    from transformers import WhisperFeatureExtractor

    return float(WhisperFeatureExtractor.from_pretrained(str(folder)).chunk_length)


class Whisper:
    """A Whisper checkpoint with its processor on one device."""

    def __init__(self, folder: Path, device: Device, language: str, max_new_tokens: int, threads: int) -> None:
        import torch
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        quiet_transformers()
        torch.set_num_threads(threads)
        self._torch = torch
        self._language = language
        self._max_new_tokens = max_new_tokens
        self.device = "cuda:0" if device.kind == "cuda" else "cpu"
        self.dtype = torch.float16 if device.kind == "cuda" else torch.float32
        self._processor = WhisperProcessor.from_pretrained(str(folder))
        self._model = WhisperForConditionalGeneration.from_pretrained(
            str(folder),
            dtype=self.dtype,
            use_safetensors=True,
            attn_implementation="sdpa",
        ).to(self.device)
        self._model.eval()
        tokenizer = self._processor.tokenizer
        self._timestamp_begin = tokenizer.convert_tokens_to_ids("<|0.00|>")
        # Text comes first in the vocabulary; from the end-of-text token on there are marks only.
        self._text_end = tokenizer.convert_tokens_to_ids("<|endoftext|>")

    def transcribe(self, sounds: Sequence[Audio]) -> list[list[Segment] | DoesNotFit]:
        """Return the segments of every window of sound (float32, 16 kHz, at most window_seconds), in order.

        Out of memory halves the batch; a window that does not fit alone gives DoesNotFit in its place.
        """
        return halving(self._transcribe, sounds, "window")

    def _transcribe(self, sounds: Sequence[Audio]) -> Sequence[list[Segment]]:
        torch = self._torch
        features = self._processor(list(sounds), sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
        with torch.inference_mode():
            generated = self._model.generate(
                features["input_features"].to(self.device, self.dtype),
                attention_mask=features["attention_mask"].to(self.device),
                language=self._language,
                task="transcribe",
                return_timestamps=True,
                num_beams=1,
                do_sample=False,
                max_new_tokens=self._max_new_tokens,
                return_dict_in_generate=True,
                output_scores=False,
            )
        sequences = generated["sequences"] if isinstance(generated, dict) else generated
        return [self._segments(ids.tolist(), len(sound) / RATE) for ids, sound in zip(sequences, sounds, strict=True)]

    def _segments(self, ids: list[int], seconds: float) -> list[Segment]:
        """Cut the tokens of a window at its timestamp tokens; without any the text spans the window."""
        segments: list[Segment] = []
        start, words = 0.0, list[int]()
        for token in ids:
            if token >= self._timestamp_begin:
                at = min((token - self._timestamp_begin) * 0.02, seconds)
                if words:
                    segments += self._segment(start, max(at, start), words)
                    words = []
                start = at
            elif token < self._text_end:
                words.append(token)
        if words:
            segments += self._segment(start, seconds, words)
        return segments

    def _segment(self, start: float, end: float, words: list[int]) -> list[Segment]:
        text = self._processor.tokenizer.decode(words, skip_special_tokens=True).strip()
        if not text:
            return []
        raw = text.encode()
        ratio = len(raw) / len(zlib.compress(raw))
        return [Segment(round(start, 2), round(end, 2), text, None, None, round(ratio, 3))]
