"""Vectors come back from disk as what they were, or as near to it as their storage says."""

import numpy as np
import pytest

from malgeul.embedding.vectors import (
    KeptVectors,
    dimension_kept,
    from_table,
    read_vectors,
    restored,
    shortened,
    stored,
    stored_as,
    to_table,
)
from malgeul.shards.tables import TableWriter, embeddings_schema

STORAGES = ["float32", "float16", "int8"]


def vectors(n=50, dimension=384):
    drawn = np.random.default_rng(0).standard_normal((n, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def write(file, found, storage, keys):
    with TableWriter(file, embeddings_schema(found.shape[1], storage)) as out:
        for first in range(0, len(found), 20):
            part = stored(found[first : first + 20], stored_as(storage, found.shape[1]))
            names = [f"c{k}" for k in range(first, first + len(part))]
            out.write_group(to_table(names, part, keys[first : first + 20], storage))


@pytest.mark.parametrize(("storage", "least"), zip(STORAGES, [1.0, 0.9999999, 0.9999], strict=True))
def test_a_stored_vector_keeps_its_direction_and_length(storage, least):
    found = restored(stored(vectors(), stored_as(storage, 384)))
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    assert ((found.astype(np.float64) * vectors()).sum(axis=1) / lengths).min() >= least - 1e-7
    assert np.allclose(lengths, 1, atol=0.005)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_file_is_read_as_float32_a_row_group_at_a_time(tmp_path, storage):
    write(tmp_path / "v.parquet", vectors(), storage, [bytes([k]) * 16 for k in range(50)])
    groups = list(read_vectors(tmp_path / "v.parquet"))
    assert [len(ids) for ids, _ in groups] == [20, 20, 10]
    assert [name for ids, _ in groups for name in ids] == [f"c{k}" for k in range(50)]
    found = np.concatenate([part for _, part in groups])
    assert found.dtype == np.float32
    assert np.array_equal(found, restored(stored(vectors(), stored_as(storage, 384))))


@pytest.mark.parametrize("storage", STORAGES)
def test_kept_vectors_are_found_by_their_keys(tmp_path, storage):
    form = stored_as(storage, 384)
    write(tmp_path / "v.parquet", vectors(), storage, [bytes([k]) * 16 for k in range(50)])
    kept = KeptVectors(tmp_path / "v.parquet", form)
    wanted = [bytes([k]) * 16 for k in (49, 3, 21)]
    assert all(key in kept for key in wanted)
    assert bytes(16 * [50]) not in kept
    found = kept.take(wanted)
    for key, k in zip(wanted, (49, 3, 21), strict=True):
        assert found[key] == stored(vectors(), form)[k].tobytes()


def test_a_table_of_rows_without_keys_is_read_and_has_nothing_kept(tmp_path):
    with TableWriter(tmp_path / "v.parquet", embeddings_schema(384)) as out:
        out.write({"chunk_id": "c0", "vector": vectors()[0].tolist()})
    ((ids, found),) = read_vectors(tmp_path / "v.parquet")
    assert ids == ["c0"]
    assert np.array_equal(found, vectors()[:1])
    assert None not in KeptVectors(tmp_path / "v.parquet", stored_as("float32", 384))


def test_without_a_file_nothing_is_kept():
    assert b"x" * 16 not in KeptVectors(None, stored_as("float32", 4))


def test_shortened_vectors_have_unit_length_again_where_they_had_it():
    short = shortened(vectors(), 100, normalize=True)
    assert np.allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
    assert np.array_equal(shortened(vectors(), 100, normalize=False), vectors()[:, :100])
    assert shortened(vectors(), 384, normalize=True) is not None
    assert np.array_equal(shortened(vectors(), 384, normalize=True), vectors())


def test_more_numbers_than_a_vector_has_are_refused():
    assert (dimension_kept(384, None), dimension_kept(384, 64)) == (384, 64)
    with pytest.raises(ValueError, match="have 384"):
        dimension_kept(384, 385)


def test_a_table_says_how_its_vectors_are_stored():
    table = to_table(["c0"], stored(vectors()[:1], stored_as("int8", 384)), [b"k" * 16], "int8")
    assert from_table(table).dtype == stored_as("int8", 384)
