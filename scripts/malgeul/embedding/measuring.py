"""What a model does best on a machine: the precision that is fastest at parity, and how many tokens fit into memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import numpy as np

from malgeul.embedding.encoder import Encoder, Vectors
from malgeul.models.devices import Device
from malgeul.models.memory import cost_of, planned_size
from malgeul.models.trials import Trials

SAMPLE_TOKENS = 2048
"""About so many are embedded in every precision to find the fastest."""


def sample_of(texts: Sequence[str], tokens: Sequence[int]) -> list[str]:
    """Return some texts of all lengths, the longest first, of about SAMPLE_TOKENS in all."""
    order = sorted(range(len(texts)), key=lambda k: (-tokens[k], k))
    return [texts[k] for k in order[:: max(1, sum(tokens) // SAMPLE_TOKENS)]]


def try_precisions(load: Callable[[str], Encoder], precisions: Sequence[str], texts: Sequence[str]) -> Trials:
    """Embed texts in every precision, one model after the other; what others are compared with comes first.

    Of each: ``seconds`` that the texts took, and the least ``cosine`` of their vectors with those of the first.
    """
    trials: Trials = {}
    first: Vectors | None = None
    for precision in precisions:
        vectors, seconds = _timed(load(precision), texts)
        gc.collect()  # the model, in which things know one another, before the next one is loaded
        first = vectors if first is None else first
        least = float((vectors * first).sum(axis=1).min())
        trials[precision] = {"seconds": round(seconds, 4), "cosine": round(least, 6)}
    return trials


def _timed(encoder: Encoder, texts: Sequence[str]) -> tuple[Vectors, float]:
    """Return the vectors of texts, of length 1, and the seconds that they took."""
    encoder.encode_texts(texts)  # the first time costs more
    started = time.monotonic()
    vectors = encoder.encode_texts(texts)
    seconds = time.monotonic() - started
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), seconds


def fastest(trials: Trials, parity: float) -> str:
    """Return the fastest precision whose vectors have at least the cosine ``parity`` with those of the first."""
    first = next(iter(trials))
    fitting = [precision for precision, trial in trials.items() if precision == first or trial["cosine"] >= parity]
    return min(fitting, key=lambda precision: trials[precision]["seconds"])


def tokens_that_fit(encoder: Encoder, device: Device, longest: str, most: int) -> int:
    """Return how many tokens fit into the device's memory together, from what the longest text takes of it.

    At most ``most``, on a processor for each of its cores and what their caches hold.
    """
    (ids, *_), _ = encoder.tokenize([longest])
    encoder.encode([ids[:2]])  # the first time costs more
    _, cost = cost_of(device, lambda: encoder.encode([ids]))
    return planned_size(device, -(-cost // len(ids)), encoder.at_once(most))
