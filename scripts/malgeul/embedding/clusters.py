"""Clusters of unit vectors by k-means, the same bytes whatever the number of threads.

FAISS's own training divides one matrix product among its threads, and how it is divided may change the last bit of a
product and with it the nearest centroid. Here blocks of a fixed size are computed by one thread each: the number of
threads decides who computes a block, never what comes out of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

BLOCK = 2048
"""Vectors that one thread compares with all centroids at a time."""
SAMPLES_PER_LIST = 64
"""Vectors of the training sample for every centroid; FAISS warns below 39."""
ITERATIONS = 10
SEED = 0


def count_lists(rows: int) -> int:
    """Return into how many lists so many vectors are divided: 4 √n (FAISS's guidelines), with 40 vectors or more each.

    Scanning the centroids then costs about as much as scanning the lists that are looked into.
    """
    return max(1, min(int(4 * rows**0.5), rows // 40))


def sample_rows(rows: int, lists: int) -> Places:
    """Return the rows that the centroids are made of, in ascending order."""
    wanted = min(rows, lists * SAMPLES_PER_LIST)
    return np.sort(np.random.default_rng(SEED).choice(rows, wanted, replace=False))


def load_faiss() -> Any:
    """Return FAISS, without its lines in the log about builds of it that are not there."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    import faiss

    return faiss


Nearest = Callable[[Vectors, Vectors], tuple[Places, Vectors]]
"""From vectors and centroids to the centroid nearest to every vector, and their inner products."""


@contextmanager
def nearest_centroids(threads: int) -> Iterator[Nearest]:
    """Give a function that finds the nearest centroids with so many threads."""
    faiss = load_faiss()

    def alone() -> None:
        faiss.omp_set_num_threads(1)  # of this thread; the BLAS that FAISS brings obeys it too

    with ThreadPoolExecutor(threads, initializer=alone) as pool:

        def nearest(vectors: Vectors, centroids: Vectors) -> tuple[Places, Vectors]:
            flat = faiss.IndexFlatIP(centroids.shape[1])
            flat.add(centroids)

            def block(start: int) -> tuple[Vectors, Places]:
                found: tuple[Vectors, Places] = flat.search(np.ascontiguousarray(vectors[start : start + BLOCK]), 1)
                return found

            results = list(pool.map(block, range(0, len(vectors), BLOCK)))
            products = np.concatenate([products[:, 0] for products, _ in results])
            return np.concatenate([places[:, 0] for _, places in results]), products

        yield nearest


def first_centroids(sample: Vectors, lists: int) -> Vectors:
    """Return the vectors of a sample that the clusters start from."""
    chosen = np.random.default_rng(SEED).choice(len(sample), lists, replace=False)
    first: Vectors = sample[np.sort(chosen)]
    return first


def next_centroids(sample: Vectors, centroids: Vectors, nearest: Nearest) -> Vectors:
    """Return the centroids, of unit length, after one more round of k-means.

    One that no vector is nearest to moves to a vector that is far from its own: the farthest, the next farthest, …
    """
    places, products = nearest(sample, centroids)
    sums = np.zeros(centroids.shape, np.float64)
    for start in range(0, len(sample), BLOCK):
        here = places[start : start + BLOCK]
        order = np.argsort(here, kind="stable")
        members, firsts = np.unique(here[order], return_index=True)
        sums[members] += np.add.reduceat(sample[start : start + BLOCK][order], firsts, axis=0, dtype=np.float64)
    empty = np.flatnonzero(np.bincount(places, minlength=len(centroids)) == 0)
    sums[empty] = sample[np.argsort(products, kind="stable")[: len(empty)]]
    return unit(sums)


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Return vectors scaled to unit length; one without any length stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled
