"""When each word of a text was said: from what the decoder looked at while it wrote the word.

After openai/whisper's timing.py: the cross attention of the heads that follow the sound, standardized over the tokens
and smoothed over time, gives a likeness of every token to every frame of 20 ms; the best path through it says when each
token begins. Here the path stays within the segment that the timestamps give, and queries and keys are taken by hooks,
so that the model goes on with its fast attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

SECONDS_PER_FRAME = 0.02
"""Of the encoder's states."""

SMOOTHED_FRAMES = 7
"""Width of the median filter over time (openai/whisper: medfilt_width)."""

Likeness = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Word:
    """A word said in [start, end) seconds, and the mean probability of its tokens."""

    start: float
    end: float
    word: str
    probability: float


def heads_of(model: Any) -> list[tuple[int, int]]:
    """Return the (layer, head) pairs that follow the sound: the checkpoint's, or all of the upper half of layers."""
    named = getattr(model.generation_config, "alignment_heads", None)
    if named:
        return [(int(layer), int(head)) for layer, head in named]
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    return [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]


@contextmanager
def watched(layers: Sequence[Any], wanted: set[int]) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Collect queries and keys, (n, tokens or frames, dimension), of the cross attention of the ``wanted`` layers."""
    queries: dict[int, Tensor] = {}
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def keep_query(layer: int) -> Callable[[Any, Any, Tensor], None]:
        return lambda _module, _given, made: queries.__setitem__(layer, made)

    def keep_both(layer: int) -> Callable[[Any, Any, Tensor], None]:
        return lambda _module, _given, made: seen.__setitem__(layer, (queries[layer], made))

    hooks = []
    for layer in wanted:
        attention = layers[layer].encoder_attn
        hooks.append(attention.q_proj.register_forward_hook(keep_query(layer)))
        hooks.append(attention.k_proj.register_forward_hook(keep_both(layer)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def likeness_of(
    model: Any, ids: Tensor, lengths: Sequence[int], states: Tensor, seconds: Sequence[float]
) -> list[Likeness]:
    """Return how much each token looks at each frame, (tokens, frames), for every window of a batch.

    ``ids`` (n, tokens) are the tokens after which the looked-at frame is that of the next one, of which the first
    ``lengths`` count; ``states`` are the encoder's states (n, frames, dimension), ``seconds`` how much sound each
    window holds. What fills a row up to the longest changes nothing.
    """
    import torch

    heads = heads_of(model)
    n_heads = model.config.decoder_attention_heads
    with watched(model.model.decoder.layers, {layer for layer, _ in heads}) as seen:
        model.model.decoder(input_ids=ids, encoder_hidden_states=states, use_cache=False)
    found: list[Likeness] = []
    for row, (tokens, length) in enumerate(zip(lengths, seconds, strict=True)):
        frames = max(1, min(states.shape[1], math.ceil(length / SECONDS_PER_FRAME)))
        of_heads = []
        for layer, head in heads:
            queries, keys = (one[row] for one in seen[layer])
            queries = queries[:tokens]
            size = queries.shape[-1] // n_heads
            part = slice(head * size, (head + 1) * size)
            scores = queries[:, part].float() @ keys[:frames, part].float().T / math.sqrt(size)
            of_heads.append(scores.softmax(-1))
        weights = torch.stack(of_heads)
        deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
        smooth = _median((weights - mean) / deviation.clamp(min=1e-9))
        found.append(smooth.mean(0).cpu().numpy())
    return found


def _median(weights: Tensor) -> Tensor:
    """Return the running median over the last dimension."""
    from torch.nn.functional import pad

    around = SMOOTHED_FRAMES // 2
    if weights.shape[-1] <= around:
        return weights
    return pad(weights, (around, around), mode="reflect").unfold(-1, SMOOTHED_FRAMES, 1).median(-1).values


def boundaries(likeness: Likeness) -> npt.NDArray[np.int64]:
    """Return the first frame of every token and the end of the last, (tokens + 1,), on the path of most likeness.

    Every token has at least one frame and the frames are shared out in order (the search of Kim et al. 2020, Glow-TTS,
    algorithm 1). Where there are fewer frames than tokens, several tokens share one.
    """
    tokens, frames = likeness.shape
    repeats = math.ceil(tokens / frames)
    fine = np.repeat(likeness, repeats, axis=1)
    best = np.full(tokens, -np.inf)
    stays = np.zeros((fine.shape[1], tokens), dtype=bool)
    for frame in range(fine.shape[1]):
        comes = np.concatenate([[0.0 if frame == 0 else -np.inf], best[:-1]])
        stays[frame] = best >= comes
        best = np.maximum(best, comes) + fine[:, frame]
    starts: npt.NDArray[np.int64] = np.zeros(tokens + 1, dtype=np.int64)
    starts[tokens] = fine.shape[1]
    token = tokens - 1
    for frame in range(fine.shape[1] - 1, 0, -1):
        if not stays[frame, token]:
            starts[token] = frame
            token -= 1
    starts //= repeats
    return starts


def words_of(pieces: Sequence[str], begins: Sequence[float], chances: Sequence[float]) -> list[Word]:
    """Join the pieces of a text (each with white space before it where a word begins) to words.

    ``begins`` holds the time of every piece and the end of the last one, ``chances`` the probability of every piece.
    """
    starts = [k for k, piece in enumerate(pieces) if k == 0 or piece[:1].isspace()]
    words = []
    for first, after in zip(starts, [*starts[1:], len(pieces)], strict=True):
        text = "".join(pieces[first:after]).strip()
        if text:
            mean = sum(chances[first:after]) / (after - first)
            words.append(Word(round(begins[first], 2), round(begins[after], 2), text, round(mean, 4)))
    return words


def pieces_of(decode: Callable[[list[int]], str], tokens: Sequence[int]) -> list[tuple[str, int]]:
    """Return the text of a run of tokens in pieces of whole characters, each with its number of tokens.

    A character of several bytes may be spread over tokens; bytes that are no character wait for no others.
    """
    whole = decode(list(tokens))
    pieces: list[tuple[str, int]] = []
    known, pending = "", 0
    for count in range(1, len(tokens) + 1):
        pending += 1
        text = decode(list(tokens[:count]))
        if whole.startswith(text) or count == len(tokens):
            pieces.append((text[len(known) :], pending))
            known, pending = text, 0
    return pieces
