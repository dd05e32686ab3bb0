"""Signatures of documents by which near duplicates are found: MinHash, banded for locality-sensitive hashing.

The parameters are FineWeb-2's: 5-grams of words, 14 bands of 8 hashes of 64 bits. Two documents that share a share s of
their 5-grams meet in a band with the probability 1 - (1 - s^8)^14: 0.92 at 0.8, one half near 0.7, under 0.01 at 0.4.
Words are those between spaces, not morphemes as in FineWeb-2: near duplicates are found before the morphological
analysis, which costs a hundred times more, so that it is not spent on them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

NGRAM_WORDS = 5
BANDS = 14
HASHES_PER_BAND = 8
SEED = 1
NGRAMS_AT_ONCE = 1 << 12
"""While they are hashed, an n-gram takes 2 kB."""

BAND_COLUMNS = [f"band_{band:02d}" for band in range(BANDS)]

_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
_NO_WORDS = re.compile(r"[^\w\s]+|_+")


def simplified(text: str) -> str:
    """Return what is compared: lower case, every number 0, no punctuation; words parted by one space."""
    text = _NUMBERS.sub("0", unicodedata.normalize("NFKC", text).lower())
    return " ".join(_NO_WORDS.sub(" ", text).split())


def bands(text: str) -> npt.NDArray[np.uint64] | None:
    """Return a number for each band, shape (BANDS,); None for a text of fewer than NGRAM_WORDS words."""
    import xxhash

    words = simplified(text).split(" ")
    if len(words) < NGRAM_WORDS:
        return None
    minhash = _empty_minhash().copy()
    ngrams = (" ".join(words[first : first + NGRAM_WORDS]).encode() for first in range(len(words) - NGRAM_WORDS + 1))
    while block := list(islice(ngrams, NGRAMS_AT_ONCE)):
        minhash.update_batch(block)
    rows = minhash.digest().reshape(BANDS, HASHES_PER_BAND)
    return np.array([xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows], np.uint64)


@cache
def _empty_minhash() -> Any:
    import xxhash
    from datasketch import MinHash

    return MinHash(BANDS * HASHES_PER_BAND, seed=SEED, hashfunc=xxhash.xxh64_intdigest, scheme="affine64")
