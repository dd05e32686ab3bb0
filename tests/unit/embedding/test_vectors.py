"""Vectors come back from disk as what they were, or as near to it as their storage says."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malgeul.embedding.vectors import (
    dimension_kept,
    from_table,
    known_vectors,
    read_vectors,
    restored,
    shortened,
    stored,
    stored_as,
    to_table,
)
from malgeul.shards.items import FinishedFiles
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


def keyed(*numbers):
    return [bytes([k]) * 16 for k in numbers]


@pytest.fixture
def finished(tmp_path):
    """Finished files, and a function that adds one with vectors of the given keys."""
    files = FinishedFiles(tmp_path / "finished")

    def add(keys, storage="float32"):
        write(tmp_path / "v.parquet", vectors(), storage, keys)
        files.put(tmp_path / "v.parquet")
        (tmp_path / "v.parquet").unlink()
        return files

    return add


def found_in(files, wanted):
    """Return the vectors of wanted keys by key, as bytes."""
    return {
        key: vector.tobytes()
        for keys, vectors in known_vectors(files, wanted)
        for key, vector in zip(keys, vectors, strict=True)
    }


@pytest.mark.parametrize("storage", STORAGES)
def test_vectors_of_finished_files_are_found_by_their_keys(finished, storage):
    finished(keyed(*range(50)), storage)
    files = finished(keyed(*range(100, 150)), storage)
    wanted = set(keyed(49, 3, 21, 100, 50))
    found = found_in(files, wanted)
    assert wanted == set(keyed(50))
    assert found.keys() == set(keyed(49, 3, 21, 100))
    for k in (49, 3, 21, 100):
        assert found[keyed(k)[0]] == stored(vectors(), stored_as(storage, 384))[k % 100].tobytes()


def test_a_key_that_many_rows_and_files_have_is_found_once(finished):
    finished(keyed(*[7] * 50))
    files = finished(keyed(*[7] * 50), "float16")
    wanted = set(keyed(7))
    groups = [keys for keys, _ in known_vectors(files, wanted)]
    assert groups == [keyed(7)]
    assert not wanted


def test_without_files_nothing_is_found(tmp_path):
    assert list(known_vectors(FinishedFiles(tmp_path / "nowhere"), set(keyed(1)))) == []


def test_files_that_are_altered_no_table_or_gone_are_as_good_as_none(finished, caplog, monkeypatch):
    good = finished(keyed(*range(50))).paths()
    files = finished(keyed(*range(40, 90)))
    (altered,) = set(files.paths()) - set(good)
    data = bytearray(altered.read_bytes())
    data[1000] ^= 1
    altered.write_bytes(data)
    (files.folder / "00").mkdir(exist_ok=True)
    (files.folder / "00/00text").write_text("말글")
    (files.folder / "00/00other").mkdir()
    pq.write_table(pa.table({"other": [1]}), files.folder / "00/00table")
    listed = [files.folder / "00/00gone", *files.paths()]
    monkeypatch.setattr(files, "paths", lambda: listed)
    wanted = set(keyed(45, 80))
    assert found_in(files, wanted).keys() == set(keyed(45))
    assert wanted == set(keyed(80))
    assert str(altered) in caplog.text
    assert "00text" in caplog.text
    assert "00gone" not in caplog.text


def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(finished):
    files = finished(keyed(*range(50)))
    wanted = set(keyed(1, 49))
    looking = known_vectors(files, wanted)
    assert next(looking)[0] == keyed(1)
    files.paths()[0].unlink()
    assert next(looking)[0] == keyed(49)


def test_a_table_of_rows_without_keys_is_read_and_has_nothing_that_is_found(tmp_path):
    with TableWriter(tmp_path / "v.parquet", embeddings_schema(384)) as out:
        out.write({"chunk_id": "c0", "vector": vectors()[0].tolist()})
    ((ids, found),) = read_vectors(tmp_path / "v.parquet")
    assert ids == ["c0"]
    assert np.array_equal(found, vectors()[:1])
    files = FinishedFiles(tmp_path / "finished")
    files.put(tmp_path / "v.parquet")
    assert found_in(files, {b"c0" * 8}) == {}


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
