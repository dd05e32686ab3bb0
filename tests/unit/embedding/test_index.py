"""The index finds what brute force finds, and knows whose vectors it holds."""

import numpy as np
import pytest

from malgeul.embedding.index import Index, version_name, write_index
from malgeul.shards.tables import TableWriter, embeddings_schema

RNG = np.random.default_rng(0)


@pytest.fixture
def vectors(tmp_path):
    found = {}
    for shard in ("a", "b"):
        with TableWriter(tmp_path / f"{shard}.parquet", embeddings_schema(16)) as out:
            for k in range(50):
                vector = RNG.standard_normal(16).astype(np.float32)
                found[f"{shard}/{k}"] = vector
                out.write({"chunk_id": f"{shard}/{k}", "vector": vector.tolist()})
    return found


def test_search_is_exact_over_all_shards(tmp_path, vectors):
    folder = tmp_path / "index"
    folder.mkdir()
    names = write_index(folder, [tmp_path / "a.parquet", tmp_path / "b.parquet"], 100, 16, {"embedding_version": "v"})
    assert names == list(vectors)
    index = Index(folder)
    query = RNG.standard_normal(16).astype(np.float32)
    cosine = {name: float(query @ v / np.linalg.norm(query) / np.linalg.norm(v)) for name, v in vectors.items()}
    best = sorted(cosine, key=cosine.get, reverse=True)[:10]
    hits = index.search(query, 10)
    assert [hit.chunk_id for hit in hits] == best
    assert np.allclose([hit.score for hit in hits], [cosine[name] for name in best], atol=1e-5)
    assert index.about["embedding_version"] == "v"


def test_an_index_of_nothing_finds_nothing(tmp_path):
    with TableWriter(tmp_path / "none.parquet", embeddings_schema(16)):
        pass
    folder = tmp_path / "index"
    folder.mkdir()
    assert write_index(folder, [tmp_path / "none.parquet"], 0, 16, {}) == []
    assert Index(folder).search(np.ones(16, np.float32)) == []


def test_a_version_is_named_by_the_keys_of_its_shards_in_any_order():
    assert version_name(["a", "b"]) == version_name(["b", "a"]) != version_name(["a", "c"])
