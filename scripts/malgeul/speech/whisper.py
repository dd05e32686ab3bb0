"""Whisper by transformers: windows of sound to segments with times, batch by batch, halved when memory runs out.

Decoding is a loop of its own and not transformers' ``generate``: windows that have ended leave the batch when that
pays, log probabilities are taken on the way instead of keeping the scores of every step, and what is doubtful is
decoded again from the same encoder states.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.models.devices import Device
from malgeul.models.loading import quiet_transformers
from malgeul.models.memory import Batcher, DoesNotFit
from malgeul.models.precision import precision_for
from malgeul.models.weights import load_model
from malgeul.speech.doubts import DECODED_AGAIN, REPEATS, compression_ratio, doubts, repeats
from malgeul.speech.timestamps import SECONDS_PER_TIMESTAMP, TimestampRules
from malgeul.speech.windows import RATE, Audio
from malgeul.speech.words import (
    SECONDS_PER_FRAME,
    Likeness,
    Word,
    boundaries,
    likeness_of,
    pieces_of,
    words_of,
)

if TYPE_CHECKING:
    from torch import Tensor

LEAST_WINDOWS = 4
"""Windows that are decoded together where a processor's cores share out a batch: fewer read the weights too often."""

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""At which what is doubtful is decoded again, until it is not (Radford et al. 2022, section 4.5)."""

COPIED = 2
"""Steps that windows which have ended may cost for each that goes on: leaving them out copies the keys of those.

Until then they are to the others what any window of their batch is: nothing, but in int8, whose scale is that of all.
"""

SHORTEST_REST = 1.0
"""Seconds that must be left of a window for what the model has not reached to be heard by itself."""
LEAST_PROGRESS = 0.5
"""Seconds of a window that must be heard before the rest of it is heard by itself."""


@dataclass(frozen=True)
class Segment:
    """What was said in [start, end) seconds of a window, with measures of trust (None: not measured).

    ``avg_logprob`` is the mean over its tokens, ``no_speech_prob`` that of its window; ``temperature`` is 0 for the
    first, greedy decoding. ``words`` is None where their times were not asked for.
    """

    start: float
    end: float
    text: str
    avg_logprob: float | None
    no_speech_prob: float | None
    compression_ratio: float
    temperature: float = 0.0
    flags: list[str] = field(default_factory=list)
    words: list[Word] | None = None

    def moved(self, by: float) -> Segment:
        """Return the segment with all its times later by so many seconds."""
        words = self.words and [replace(word, start=word.start + by, end=word.end + by) for word in self.words]
        return replace(self, start=self.start + by, end=self.end + by, words=words)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Segment:
        """Read what ``dataclasses.asdict`` made."""
        words = value["words"] and [Word(**word) for word in value["words"]]
        return cls(**{**value, "words": words})


@dataclass(frozen=True)
class Run:
    """Positions of the tokens of a segment, said in [start, end) seconds of a window."""

    start: float
    end: float
    tokens: list[int]


@dataclass(frozen=True)
class Heard:
    """A window of sound (float32, 16 kHz), and what is made of it on the host: all of it, or its spectrum there."""

    sound: Audio
    given: Tensor


@dataclass(frozen=True)
class Decoded:
    """The tokens of a window with their log probabilities, and the probability that nobody speaks."""

    tokens: list[int]
    logprobs: list[float]
    no_speech_prob: float | None
    temperature: float


@dataclass(frozen=True)
class Chosen:
    """What a window's sound stands for: its segments and how far they reach, of what was decoded from ``states``."""

    segments: list[Segment]
    reached: float
    decoded: Decoded
    states: Tensor  # (frames, dimension)


def window_seconds(folder: Path) -> float:
    """Return how much sound the checkpoint in ``folder`` hears at once: 30 s for OpenAI's."""
    for file in (folder / "processor_config.json", folder / "preprocessor_config.json"):
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        seconds = known.get("feature_extractor", known).get("chunk_length")
        if seconds is not None:
            return float(seconds)
    from transformers import WhisperFeatureExtractor  # it knows what is not said; its import takes seconds

    return float(WhisperFeatureExtractor.from_pretrained(str(folder)).chunk_length)


class Whisper:
    """A Whisper checkpoint with its processor on one device."""

    def __init__(
        self,
        folder: Path,
        device: Device,
        language: str,
        max_new_tokens: int,
        threads: int,
        temperatures: Sequence[float] = TEMPERATURES,
        precision: str = "auto",
        *,
        word_times: bool = False,
    ) -> None:
        import torch
        from transformers import WhisperProcessor

        from malgeul.models.attention import products_pay
        from malgeul.models.cores import Cores
        from malgeul.models.linear import with_linear_layers_in, with_linear_layers_in_int8
        from malgeul.speech.attention import with_attention_by_products
        from malgeul.speech.spectra import LogMel

        quiet_transformers()
        self._torch = torch
        self._cores = Cores(threads)
        self._temperatures, self._word_times = temperatures, word_times
        self.device = device.place
        self.precision = precision_for(device, precision)
        self._processor = WhisperProcessor.from_pretrained(str(folder))
        self._spectra = LogMel(self._processor.feature_extractor, self.device)
        loaded_in = "float32" if self.precision == "int8" else self.precision
        self._model = load_model("transcribe", folder, device, precision=loaded_in, attn_implementation="sdpa").model
        self.dtype = self._model.dtype
        if self.precision == "int8":
            self._model = with_linear_layers_in_int8(self._model)
        elif self.device == "cpu" and self.precision in {"float32", "bfloat16"}:
            self._model = with_linear_layers_in(self._model, self.dtype)
        if self.device == "cpu" and self.precision in {"bfloat16", "int8"} and products_pay():
            self._model = with_attention_by_products(self._model)
        self._batches = Batcher(self._transcribe, "window")
        self._read_tokens(language)
        room = self._model.config.max_target_positions - len(self._prompt)
        self._max_new_tokens = min(max_new_tokens, room)

    def _read_tokens(self, language: str) -> None:
        """Look up the tokens that decoding needs. Raises ValueError for a language that the model does not know."""
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

        config = self._model.generation_config
        tokenizer = self._processor.tokenizer

        self._end = int(tokenizer.convert_tokens_to_ids("<|endoftext|>"))

        def known(token: str) -> int | None:
            found = tokenizer.convert_tokens_to_ids(token)
            return None if found in (None, tokenizer.unk_token_id, self._end) else int(found)

        code = TO_LANGUAGE_CODE.get(language.lower(), language)
        wanted = ["<|startoftranscript|>", f"<|{code}|>", "<|transcribe|>"]
        prompt = [known(token) for token in (wanted if getattr(config, "is_multilingual", True) else wanted[:1])]
        no_timestamps = known("<|notimestamps|>")
        if None in prompt:
            raise ValueError(f"the model has no token for the language {language!r}")
        if no_timestamps is None:
            raise ValueError("the model has no tokens for timestamps")
        self._prompt = [token for token in prompt if token is not None]
        found = (known(name) for name in ("<|nospeech|>", "<|nocaptions|>"))
        self._no_speech = next((token for token in found if token is not None), None)
        self._rules = TimestampRules(
            begin=no_timestamps + 1,
            end_of_text=self._end,
            no_timestamps=no_timestamps,
            latest_begin=getattr(config, "max_initial_timestamp_index", None),
        )
        never = [token for token in config.suppress_tokens or [] if token >= 0]
        self._never = self._torch.tensor(never, dtype=self._torch.long, device=self.device)

    def hear(self, sound: Audio) -> Heard:
        """Return a window (at most window_seconds) as the model takes it; for a GPU its spectrum is made there."""
        whole = self._spectra.whole(sound)
        return Heard(sound, whole if self.device != "cpu" else self._spectra(whole[None])[0])

    def _features(self, batch: Sequence[Heard]) -> Tensor:
        """Return what the encoder takes of windows, on the device: (n, mels, frames)."""
        given = self._torch.stack([heard.given.to(self.device, non_blocking=True) for heard in batch])
        return (given if self.device == "cpu" else self._spectra(given)).to(self.dtype)

    def transcribe(self, batch: Sequence[Heard]) -> list[list[Segment] | DoesNotFit]:
        """Return the segments of every window, in order, with times from its start.

        Out of memory halves the batch; a window that does not fit alone gives DoesNotFit in its place.
        """
        return self._batches(batch)

    def _transcribe(self, batch: Sequence[Heard]) -> list[list[Segment]]:
        """Hear every window, and then by itself what the model did not reach in one."""
        segments: list[list[Segment]] = [[] for _ in batch]
        waiting = [(row, 0.0, heard) for row, heard in enumerate(batch)]
        while waiting:
            rests = []
            found = self._hear_once([heard for _, _, heard in waiting])
            for (row, at, heard), (of_window, reached) in zip(waiting, found, strict=True):
                segments[row] += [segment.moved(at) for segment in of_window]
                if reached <= len(heard.sound) / RATE - SHORTEST_REST:
                    rests.append((row, at + reached, self.hear(heard.sound[round(reached * RATE) :])))
            waiting = rests
        return segments

    def _hear_once(self, batch: Sequence[Heard]) -> list[tuple[list[Segment], float]]:
        """Return the segments of windows and how far they reach; a processor's cores share them out."""
        parts = self._parts_of(len(batch))
        of_parts = self._cores.compute(lambda part: self._hear_part([batch[row] for row in part]), parts)
        of_rows = dict(zip(chain.from_iterable(parts), chain.from_iterable(of_parts), strict=True))
        chosen = [of_rows[row] for row in range(len(batch))]
        if not self._word_times:
            return [(one.segments, one.reached) for one in chosen]
        with self._torch.inference_mode():
            states = self._torch.stack([one.states for one in chosen])
            words = self._words(states, [one.decoded for one in chosen], [len(heard.sound) / RATE for heard in batch])
        return [
            ([replace(segment, words=own) for segment, own in zip(one.segments, of_window, strict=True)], one.reached)
            for one, of_window in zip(chosen, words, strict=True)
        ]

    def _parts_of(self, windows: int) -> list[range]:
        """Return which windows of a batch are decoded together, long and short ones alike in every part.

        int8 scales what is multiplied by the largest of a part: its parts are the same on any number of cores.
        """
        most = windows if self.precision == "int8" else self._cores.threads
        count = max(1, min(most, windows // LEAST_WINDOWS)) if self.device == "cpu" else 1
        return [range(first, windows, count) for first in range(count)]

    def _hear_part(self, batch: Sequence[Heard]) -> list[Chosen]:
        """Decode windows together; what is doubtful is decoded again.

        It is tried at one temperature after the other; where everything stays doubtful, what repeats itself least, is
        least doubtful and then likeliest stands.
        """
        torch = self._torch
        tried: list[list[tuple[Any, Chosen]]] = [[] for _ in batch]
        with torch.inference_mode():
            states = self._model.model.encoder(self._features(batch)).last_hidden_state
            rows = list(range(len(batch)))
            decoded = self._decode(states, 0.0)
            draws = [zlib.crc32(str(one.tokens).encode()) for one in decoded]
            for temperature in (*self._temperatures, None):
                doubtful = []
                for row, one in zip(rows, decoded, strict=True):
                    segments, reached = self._segments(one, len(batch[row].sound) / RATE)
                    flags = [flag for segment in segments for flag in segment.flags if flag in DECODED_AGAIN]
                    likely = sum(one.logprobs) / len(one.logprobs)
                    rank = (not REPEATS & set(flags), -len(flags), likely, -one.temperature)
                    found = Chosen(segments, reached, one, states[row])
                    tried[row] = [*(tried[row] if flags else []), (rank, found)]
                    if flags:
                        doubtful.append(row)
                rows = doubtful
                if not rows or temperature is None:
                    break
                seeds = [zlib.crc32(f"{draws[row]} {temperature}".encode()) for row in rows]
                decoded = self._decode(states[rows], temperature, seeds)
        return [max(of_row, key=lambda one: one[0])[1] for of_row in tried]

    def _decode(self, states: Tensor, temperature: float, seeds: Sequence[int] = ()) -> list[Decoded]:
        """Decode windows from their encoder states (n, frames, dimension).

        What a window is given after its end is not kept. At a temperature other than 0 tokens are drawn by a seed per
        window, so that they do not hang on the others.
        """
        from malgeul.speech.decoder import Decoder

        torch = self._torch
        n = len(states)
        tokens: list[list[int]] = [[] for _ in range(n)]
        logprobs: list[list[float]] = [[] for _ in range(n)]
        no_speech: list[float | None] = [None] * n
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        rows = list(range(n))
        idle = 0
        decoder = Decoder(self._model, states)
        ids = torch.tensor([self._prompt] * n, device=self.device)
        made = torch.empty((n, 0), dtype=torch.long, device=self.device)
        for _ in range(self._max_new_tokens):
            hidden = decoder.step(ids)
            if not made.shape[1] and self._no_speech is not None:
                chances = self._model.proj_out(hidden[:, 0]).float().softmax(-1)
                no_speech = chances[:, self._no_speech].tolist()
            logits = self._model.proj_out(hidden[:, -1]).float()
            logits[:, self._never] = -torch.inf
            self._rules.apply(logits, made)
            logs = logits.log_softmax(-1)
            chosen = logits.argmax(-1)
            if temperature:
                # The largest of logits with Gumbel's noise is a draw from their softmax.
                noise = torch.stack([torch.rand(logits.shape[1], generator=draws[row]) for row in rows])
                chosen = (logits / temperature - (-noise.to(self.device).log()).log()).argmax(-1)
            picked = logs.gather(1, chosen[:, None])[:, 0]
            # Both at once: a GPU has nothing to do from when the host asks until it has seen what was made.
            told = torch.stack([chosen.double(), picked.double()]).tolist()
            for row, token, logprob in zip(rows, *told, strict=True):
                if not tokens[row] or tokens[row][-1] != self._end:
                    tokens[row].append(int(token))
                    logprobs[row].append(logprob)
            going = [k for k, row in enumerate(rows) if tokens[row][-1] != self._end]
            if not going:
                break
            ids = chosen[:, None]
            made = torch.cat([made, ids], dim=1)
            idle += len(rows) - len(going)
            if idle > COPIED * len(going):
                rows, idle = [rows[k] for k in going], 0
                left = torch.tensor(going, device=self.device)
                decoder.keep(left)
                ids, made = ids[left], made[left]
        return [Decoded(*one, temperature) for one in zip(tokens, logprobs, no_speech, strict=True)]

    def _segments(self, decoded: Decoded, seconds: float) -> tuple[list[Segment], float]:
        """Cut the tokens of a window at its timestamps; without any the text spans the window.

        Returns how far the model has come, too. A pair of timestamps at the end says that more follows, and so does an
        end of the tokens before that of the text; what comes after the last pair is then left to be heard by itself.
        """
        runs, reached, unfinished = self._runs(decoded, seconds)
        segments = [self._segment(run, decoded) for run in runs]
        shared = set(repeats(" ".join(segment.text for segment in segments)))
        if unfinished:
            shared.add("unfinished")
        return [replace(segment, flags=sorted(shared | set(segment.flags))) for segment in segments], reached

    def _runs(self, decoded: Decoded, seconds: float) -> tuple[list[Run], float, bool]:
        """Return the runs of text between timestamps, how far they reach, and whether more followed unheard."""
        begin = self._rules.begin
        tokens = [token for token in decoded.tokens if token != self._end]
        last = next((k for k in range(len(tokens) - 1, 0, -1) if min(tokens[k - 1 : k + 1]) >= begin), 0)
        goes_on = len(tokens) == len(decoded.tokens) or (last > 0 and last == len(tokens) - 1)
        reached = self._seconds(tokens[last]) if last else 0.0
        heard_next = last == len(tokens) - 1 or reached <= seconds - SHORTEST_REST  # or text follows: it is not lost
        rest_follows = goes_on and reached >= LEAST_PROGRESS and heard_next
        if rest_follows:
            tokens = tokens[: last + 1]
        runs: list[Run] = []
        start, inside = 0.0, list[int]()
        for k, token in enumerate(tokens):
            if token >= begin:
                at = min(self._seconds(token), seconds)
                runs.append(Run(start, max(at, start), inside))
                start, inside = at, []
            elif token < self._end:
                inside.append(k)
        runs.append(Run(start, seconds, inside))
        spoken = [run for run in runs if self._text(decoded, run)]
        return spoken, start if rest_follows else seconds, goes_on and not rest_follows

    def _seconds(self, timestamp: int) -> float:
        return (timestamp - self._rules.begin) * SECONDS_PER_TIMESTAMP

    def _text(self, decoded: Decoded, run: Run) -> str:
        tokens = [decoded.tokens[k] for k in run.tokens]
        text: str = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()

    def _segment(self, run: Run, decoded: Decoded) -> Segment:
        text = self._text(decoded, run)
        likely = round(sum(decoded.logprobs[k] for k in run.tokens) / len(run.tokens), 4)
        silent = None if decoded.no_speech_prob is None else round(decoded.no_speech_prob, 4)
        flags = doubts(text, run.end - run.start, likely, silent)
        ratio = compression_ratio(text)
        return Segment(round(run.start, 2), round(run.end, 2), text, likely, silent, ratio, decoded.temperature, flags)

    def _words(self, states: Tensor, decoded: Sequence[Decoded], seconds: Sequence[float]) -> list[list[list[Word]]]:
        """Return the words of every segment of windows, from their encoder states (n, frames, dimension)."""
        torch = self._torch
        longest = max(len(one.tokens) for one in decoded)
        ids = torch.tensor(
            [[*self._prompt, *one.tokens, *[self._end] * (longest - len(one.tokens))] for one in decoded],
            device=self.device,
        )
        lengths = [len(self._prompt) + len(one.tokens) - 1 for one in decoded]
        likeness = likeness_of(self._model, ids[:, :-1], lengths, states, seconds)
        found = []
        for one, of_window, length in zip(decoded, likeness, seconds, strict=True):
            runs, _, _ = self._runs(one, length)
            # What follows the prompt's last token is the first one made.
            found.append([self._words_of(one, run, of_window[len(self._prompt) - 1 :]) for run in runs])
        return found

    def _words_of(self, decoded: Decoded, run: Run, likeness: Likeness) -> list[Word]:
        first = min(int(run.start / SECONDS_PER_FRAME), likeness.shape[1] - 1)
        after = max(first + 1, math.ceil(run.end / SECONDS_PER_FRAME))
        at = boundaries(likeness[run.tokens, first:after])
        times = [min(max((first + frame) * SECONDS_PER_FRAME, run.start), run.end) for frame in at.tolist()]
        times[-1] = run.end
        texts, begins, chances = [], [], []
        k = 0
        for text, count in pieces_of(self._processor.tokenizer.decode, [decoded.tokens[k] for k in run.tokens]):
            texts.append(text)
            begins.append(times[k])
            of_piece = [decoded.logprobs[position] for position in run.tokens[k : k + count]]
            chances.append(math.exp(sum(of_piece) / count))
            k += count
        return words_of(texts, [*begins, times[-1]], chances)
