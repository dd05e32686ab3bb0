"""Inverted lists: FAISS finds candidates in the lists whose centroids are nearest, exact vectors decide among them.

The kind is IVF with product quantization of 4 bits for every two dimensions (Jégou et al. 2011; André et al. 2015 for
the scan in registers): 1/16 of the size of float32. It was chosen by measuring (bench/index.md tells): on vectors of
Korean sentences plain IVF and 8-bit scalars took twice as long for a recall of 0.99, and so did HNSW, which takes four
times as long to build and is another graph with every order in which threads insert.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from malgeul.embedding.clusters import Places, Vectors, load_faiss

BITS = 4
DEPTHS = (10, 40)
"""Candidates for every neighbour that is wanted: exact vectors are read for so many. The second where the first does
not reach the recall."""
SLACK = 1e-5
"""Scores that differ by less are a tie: of equal chunks any is right."""


def build_lists(centroids: Vectors, sample: Vectors, parts: Iterable[tuple[Vectors, Places]]) -> Any:
    """Return a FAISS index with the vectors of all parts, in order, in the lists that their places name."""
    faiss = load_faiss()

    faiss.omp_set_num_threads(1)  # the same codes on any machine of this kind
    lists, dimension = centroids.shape
    coarse = faiss.IndexFlatIP(dimension)
    coarse.add(centroids)
    pieces = dimension // 2 if dimension % 2 == 0 else dimension
    plain = faiss.IndexIVFPQ(coarse, dimension, lists, pieces, BITS, faiss.METRIC_INNER_PRODUCT)
    plain.by_residual = False
    plain.train(sample)
    for vectors, places in parts:
        block = np.ascontiguousarray(vectors)
        plain.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(places))
    return faiss.IndexIVFPQFastScan(plain)


def save_lists(index: Any, file: Path) -> None:
    """Write a FAISS index."""
    faiss = load_faiss()

    faiss.write_index(index, str(file))


@dataclass(frozen=True)
class Effort:
    """How much is looked at for a query: lists, and candidates for every neighbour that is wanted."""

    probes: int
    depth: int


class InvertedLists:
    """A FAISS index that gives candidates. It searches on one thread: a query is too short to divide."""

    def __init__(self, index: Any) -> None:
        self.index = index

    @classmethod
    def open(cls, file: Path) -> InvertedLists:
        """Read what :func:`save_lists` wrote."""
        faiss = load_faiss()

        return cls(faiss.read_index(str(file)))

    def candidates(self, query: Vectors, k: int, effort: Effort) -> Places:
        """Return the rows that are worth a look for the ``k`` nearest of a query, in ascending order."""
        faiss = load_faiss()

        # One thread also keeps FAISS's OpenMP from starting a team beside torch's where both are loaded.
        faiss.omp_set_num_threads(1)
        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = effort.probes
        wanted = min(k * effort.depth, self.index.ntotal)
        _, found = self.index.search(query.reshape(1, -1), wanted, params=parameters)
        rows: Places = np.sort(found[0][found[0] >= 0])
        return rows


def exact_rows(vectors: Vectors, query: Vectors, k: int) -> tuple[Places, Vectors]:
    """Return the ``k`` rows with the largest inner product of all, and their products, best first.

    FAISS on one thread reads memory-mapped vectors six times as fast as NumPy's product.
    """
    faiss = load_faiss()

    faiss.omp_set_num_threads(1)
    products, rows = faiss.knn(query.reshape(1, -1), vectors, min(k, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
    best = np.lexsort((rows[0], -products[0]))
    return rows[0][best], products[0][best]


def nearest_of(vectors: Vectors, rows: Places, query: Vectors, k: int) -> tuple[Places, Vectors]:
    """Return the ``k`` of some rows (ascending) with the largest inner product, and their products, best first."""
    products: Vectors = vectors[rows] @ query
    best = np.argsort(-products, kind="stable")[:k]
    return rows[best], products[best]


def thresholds(vectors: Vectors, queries: Places, k: int, block: int = 1 << 14) -> Vectors:
    """Return of every query, which is a row, the product with the ``k``-th nearest other row, by exact search."""
    asked = vectors[queries]
    best = np.full((0, len(queries)), 0, np.float32)
    for start in range(0, len(vectors), block):
        products = vectors[start : start + block] @ asked.T
        inside = np.flatnonzero((queries >= start) & (queries < start + block))
        products[queries[inside] - start, inside] = -np.inf  # a vector is no neighbour of itself
        best = np.concatenate([best, products])
        if len(best) > k:
            best = np.partition(best, -k, axis=0)[-k:]
    least: npt.NDArray[np.float32] = best.min(axis=0)
    return least


class Trial:
    """Measures the recall of inverted lists on rows of the index as queries."""

    def __init__(self, lists: InvertedLists, vectors: Vectors, queries: Places, k: int = 10) -> None:
        self._lists, self._vectors, self._queries = lists, vectors, queries
        self.k = min(k, len(vectors) - 1)
        self._least = thresholds(vectors, queries, self.k)

    def recall(self, effort: Effort) -> tuple[float, float]:
        """Return the share of the ``k`` nearest other rows that is found: mean over the queries and standard error."""
        shares = []
        for query, least in zip(self._queries, self._least, strict=True):
            vector = np.asarray(self._vectors[query])
            rows = self._lists.candidates(vector, self.k + 1, effort)  # one more, since the row itself is found
            nearest, products = nearest_of(self._vectors, rows, vector, self.k + 1)
            found = int(((products >= least - SLACK) & (nearest != query)).sum())
            shares.append(min(found, self.k) / self.k)
        return float(np.mean(shares)), float(np.std(shares) / len(shares) ** 0.5)

    def least_effort(self, wanted: float) -> tuple[Effort, float]:
        """Return the smallest effort with the recall that is wanted, and its recall; else the largest that is tried.

        The mean must be above by its standard error: other queries shall not find less because these were few.
        """
        most = self._lists.index.nlist
        for depth in DEPTHS:
            low, high = 0, 1  # lists that are too few; lists that may be enough
            recall, error = self.recall(Effort(high, depth))
            while recall - error < wanted and high < most:
                low, high = high, min(2 * high, most)
                recall, error = self.recall(Effort(high, depth))
            if recall - error >= wanted:
                break
        else:
            return Effort(high, depth), recall
        while high - low > max(1, high // 16):
            middle = (low + high) // 2
            tried, error = self.recall(Effort(middle, depth))
            if tried - error >= wanted:
                high, recall = middle, tried
            else:
                low = middle
        return Effort(high, depth), recall
