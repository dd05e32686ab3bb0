"""Clusters are the same bytes with any number of threads, and gather what is near."""

import numpy as np
import pytest

from malgeul.embedding.clusters import (
    BLOCK,
    count_lists,
    first_centroids,
    nearest_centroids,
    next_centroids,
    sample_rows,
    unit,
)

RNG = np.random.default_rng(0)


def some_vectors(rows=3 * BLOCK + 100, dimension=24):
    return unit(RNG.standard_normal((rows, dimension)))


def rounds(vectors, lists, threads, n=3):
    with nearest_centroids(threads) as nearest:
        centroids = first_centroids(vectors, lists)
        for _ in range(n):
            centroids = next_centroids(vectors, centroids, nearest)
        return centroids, nearest(vectors, centroids)[0]


def test_threads_change_no_bit():
    vectors = some_vectors()
    alone, places = rounds(vectors, 90, 1)
    together, same_places = rounds(vectors, 90, 3)
    assert np.array_equal(alone, together)
    assert np.array_equal(places, same_places)


def test_every_vector_is_in_the_list_of_the_nearest_centroid():
    vectors = some_vectors(1000)
    centroids, places = rounds(vectors, 20, 2)
    products = vectors @ centroids.T
    assert np.allclose(products[np.arange(1000), places], products.max(axis=1), atol=1e-6)
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


def test_centroids_find_clusters_that_are_there():
    truth = np.repeat(np.arange(8), 200)
    vectors = unit(np.eye(8)[truth] + RNG.standard_normal((1600, 8)) * 0.05)
    _, places = rounds(vectors, 16, 2, n=8)
    for list_ in np.unique(places):
        assert len(np.unique(truth[places == list_])) == 1


def test_a_centroid_that_lost_all_its_vectors_moves_to_one_that_is_far_from_its_own():
    vectors = unit(np.array([[1, 0.0], [1, 0.1], [1, -0.1], [-1, 0.2]]))
    centroids = unit(np.array([[1, 0.0], [0.0, -1.0]]))
    with nearest_centroids(1) as nearest:
        moved = next_centroids(vectors[[0, 1, 3]], centroids, nearest)
    assert np.allclose(moved[1], vectors[3], atol=1e-6)


def test_vectors_that_are_all_equal_and_vectors_of_no_length_give_centroids_that_are_numbers():
    equal = np.ones((500, 4), np.float32)
    centroids, _ = rounds(unit(equal), 5, 1)
    assert np.isfinite(centroids).all()
    centroids, _ = rounds(unit(np.zeros((500, 4))), 5, 1)
    assert np.isfinite(centroids).all()


@pytest.mark.parametrize(("rows", "lists"), [(1, 1), (1000, 25), (250_000, 2000), (1_000_000, 4000)])
def test_lists_follow_the_number_of_vectors_and_have_forty_or_more(rows, lists):
    assert count_lists(rows) == lists


def test_a_sample_is_drawn_once_and_for_all_without_repetition():
    rows = sample_rows(1_000_000, 1000)
    assert np.array_equal(rows, sample_rows(1_000_000, 1000))
    assert len(rows) == 64_000
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(sample_rows(50, 10), np.arange(50))
