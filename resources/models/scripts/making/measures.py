"""How good a model is: the error rate of characters, of times, and ranks and correlations of vectors."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein


def bare(text: str) -> str:
    """Return a text in NFC without spaces and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", text))


def character_error_rate(said: Sequence[str], heard: Sequence[str], *, strip: bool = True) -> float:
    """Return the edits per character said, over all texts together; ``strip`` leaves out spaces and punctuation.

    Raises ZeroDivisionError where nothing was said at all.
    """
    pairs = [
        (bare(a), bare(b)) if strip else (unicodedata.normalize("NFC", a), unicodedata.normalize("NFC", b))
        for a, b in zip(said, heard, strict=True)
    ]
    return sum(Levenshtein.distance(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


def share_within(scores: Any, first: int) -> float:
    """Return for what share of rows the score on the diagonal is among the ``first`` highest of its row.

    ``scores`` has shape (n, n): row k's right answer is column k. Ties count against it.
    """
    scores = np.asarray(scores)
    right = np.diagonal(scores)[:, None]
    before = (scores >= right).sum(axis=1) - 1
    return float((before < first).mean())


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation of two sequences; equal values share their mean rank (Spearman 1904)."""
    return float(np.corrcoef(_ranks(np.asarray(a)), _ranks(np.asarray(b)))[0, 1])


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks
