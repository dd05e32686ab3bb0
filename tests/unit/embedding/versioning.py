"""Versions made by hand, for the tests of both stores."""

from __future__ import annotations

import numpy as np

from malgeul.embedding.settings import Database
from malgeul.embedding.versions import Batch, Record, Version

SETTINGS = Database(path="x", layout="table", table="notes")


def a_version(name="malgeul-1", chunks=3, dimension=2):
    return Version(name, "standard", "some/model", dimension, chunks, {"run": "demo"})


def a_record(**contents):
    """Return a record of documents whose digests are made of the given words."""
    return Record({name: word.encode().ljust(16, b".") for name, word in contents.items()}, SETTINGS)


RECORD = a_record(a="one", b="two")


def batches(chunks=3, size=2, dimension=2, watch=None):
    """Return what write() takes: chunk k of case 1 is "조각 k", its vector k in every dimension."""

    def give(skip):
        for start in range(skip, chunks, size):
            if watch:
                watch(start)
            numbers = range(start, min(start + size, chunks))
            n = len(numbers)
            columns = {
                "source_type": ["case"] * n,
                "source_id": ["1"] * n,
                "chunk_index": list(numbers),
                "text": [f"조각 {k}" for k in numbers],
                "no_such_column": [None] * n,
            }
            yield Batch(columns, np.repeat(np.array(numbers, dtype=np.float32), dimension).reshape(n, dimension))

    return give
