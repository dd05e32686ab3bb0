"""Chunks and vectors become rows of the database straight from their tables, whatever their row groups are."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malgeul.embedding import batches as module
from malgeul.embedding.batches import batches_of
from malgeul.shards.tables import CHUNKS, embeddings_schema
from unit.embedding.conftest import WHOLE


@pytest.fixture
def shard(tmp_path):
    """Write a shard of chunks, and vectors of those that have one; returns the two files."""

    def write(name, numbers, without=(), **columns):
        chunks = [
            {
                "chunk_id": f"law/case/{k}#0",
                "document_id": f"case/{k}",
                "source": "law",
                "index": 0,
                "start": k,
                "end": k + 5,
                "text": f"조각 {k}",
                "n_tokens": 3,
                **WHOLE,
            }
            for k in numbers
        ]
        table = pa.Table.from_pylist(chunks, schema=CHUNKS)
        for column, values in columns.items():
            known = table.column_names.index(column)
            table = table.set_column(known, table.schema.field(known), pa.array(values, CHUNKS.field(column).type))
        files = tmp_path / f"{name}-chunks.parquet", tmp_path / f"{name}-vectors.parquet"
        pq.write_table(table, files[0], row_group_size=3)
        vectors = [
            {"chunk_id": c["chunk_id"], "vector": [float(c["start"])] * 2} for c in chunks if c["start"] not in without
        ]
        pq.write_table(pa.Table.from_pylist(vectors, schema=embeddings_schema(2)), files[1], row_group_size=2)
        return files

    return write


def texts(found):
    return [text for batch in found for text in batch.columns["text"]]


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
@pytest.mark.parametrize("skip", [0, 1, 3, 4, 6, 9, 10])
def test_every_chunk_that_has_a_vector_comes_once_in_order_from_anywhere(shard, monkeypatch, rows, skip):
    monkeypatch.setattr(module, "ROWS", rows)
    shards = [shard("a", range(5), without={2}), shard("b", []), shard("c", range(5, 10), without={9})]
    expected = [0, 1, 3, 4, 5, 6, 7, 8][skip:]
    found = list(batches_of(shards, "standard", skip=skip))
    assert texts(found) == [f"조각 {k}" for k in expected]
    if expected:
        assert np.concatenate([batch.vectors for batch in found]).tolist() == [[k, k] for k in expected]


def test_columns_are_named_as_in_the_database_and_further_ones_are_taken_along(shard):
    (batch,) = batches_of(
        [shard("a", [7], query_type=["broad"], overlap=[80], level=["article"], size=["large"])], "dynamic"
    )
    assert batch.columns == {
        "source_type": ("case",),
        "source_id": ("7",),
        "level": ["article"],
        "chunking_strategy": ["dynamic"],
        "chunk_group_id": ["case/7"],
        "original_document_id": ["case/7"],
        "chunk_id": ["law/case/7#0"],
        "document_id": ["case/7"],
        "source": ["law"],
        "chunk_index": [0],
        "start_char": [7],
        "end_char": [12],
        "text": ["조각 7"],
        "token_count": [3],
        "query_type": ["broad"],
        "overlap_chars": [80],
        "chunk_size_category": ["large"],
    }


def test_ids_of_a_table_stay_whole_whatever_signs_they_hold(shard):
    (batch,) = batches_of([shard("a", [7])], "standard", law=False)
    assert (batch.columns["source_type"], batch.columns["source_id"]) == (["document"], ["case/7"])


def test_a_vector_without_a_chunk_is_an_error_that_names_both(shard):
    chunks, _ = shard("a", [1])
    _, vectors = shard("b", [2])
    with pytest.raises(ValueError, match=r"a-chunks.parquet lacks chunks that have vectors: law/case/2#0"):
        list(batches_of([(chunks, vectors)], "standard"))


@pytest.mark.parametrize(("stored", "scale"), [("float16", None), ("int8", 0.5)])
def test_vectors_of_other_types_are_float32_in_the_database(shard, tmp_path, stored, scale):
    chunks, _ = shard("a", [1, 2])
    values = pa.array([3, -4, 5, 6], pa.float32()).cast(pa.type_for_alias(stored))
    columns = {"chunk_id": ["law/case/1#0", "law/case/2#0"], "vector": pa.FixedSizeListArray.from_arrays(values, 2)}
    if scale:
        columns["scale"] = pa.array([scale, 2 * scale], pa.float32())
    pq.write_table(pa.table(columns), tmp_path / "vectors.parquet")
    (batch,) = batches_of([(chunks, tmp_path / "vectors.parquet")], "standard")
    assert batch.vectors.dtype == np.float32
    assert batch.vectors.tolist() == ([[1.5, -2.0], [5.0, 6.0]] if scale else [[3.0, -4.0], [5.0, 6.0]])
