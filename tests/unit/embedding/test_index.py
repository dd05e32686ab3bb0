"""The index finds what brute force finds, is the same bytes however it was built, and knows whose vectors it holds."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from malgeul.embedding import index as module
from malgeul.embedding.clusters import unit
from malgeul.embedding.index import (
    ABOUT,
    LISTS,
    NAMES,
    VECTORS,
    Facts,
    Index,
    IndexBuilder,
    choose_queries,
    rows_of_chunks,
    version_name,
    write_about,
    write_ids,
    write_lists,
)
from malgeul.embedding.inverted import Effort, InvertedLists, Trial, build_lists
from malgeul.embedding.vectors import read_vectors
from malgeul.shards.files import link_or_copy
from malgeul.shards.journal import Journal
from malgeul.shards.tables import TableWriter, embeddings_schema, read_rows

DIMENSION = 16


def write_table(file, names, vectors):
    with TableWriter(file, embeddings_schema(vectors.shape[1])) as out:
        for name, vector in zip(names, vectors, strict=True):
            out.write({"chunk_id": name, "vector": vector.tolist()})


class Made:
    """Tables of embeddings, and the index that is built of them."""

    def __init__(self, place, rows, dimension=DIMENSION, seed=0):
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((max(1, rows // 50), dimension))
        self.vectors = (
            centres[rng.integers(0, len(centres), rows)] + rng.standard_normal((rows, dimension)) * 0.4
        ).astype(np.float32)
        self.place, self.rows, self.dimension = place, rows, dimension
        self.names = {"a": [f"a/{k}" for k in range(rows // 2)], "b": [f"b/{k}" for k in range(rows - rows // 2)]}
        self.tables = [place / "a.parquet", place / "b.parquet"]
        write_table(self.tables[0], self.names["a"], self.vectors[: rows // 2])
        write_table(self.tables[1], self.names["b"], self.vectors[rows // 2 :])

    def builder(self, journal="journal", threads=1, key="key"):
        return IndexBuilder(Journal(self.place / journal), key, self.rows, self.dimension, threads)

    def build(self, name="index", *, lists=False, threads=1, builder=None, recall=0.99):
        folder = self.place / name
        folder.mkdir(exist_ok=True)
        builder = builder or self.builder(f"journal-{name}", threads)
        builder.gather(self.tables)
        facts = write_lists(builder, folder, recall) if lists else Facts("exact", self.rows, self.dimension)
        link_or_copy(builder.file, folder / VECTORS)
        list(write_ids(folder, [(names, ["left out", *names]) for names in self.names.values()]))
        write_about(folder, facts, {"embedding_version": "v"})
        return folder

    def nearest(self, query, k=10):
        """Return the ids that brute force finds, in float64."""
        cosines = unit(self.vectors.astype(np.float64)).astype(np.float64) @ (query / np.linalg.norm(query))
        names = [*self.names["a"], *self.names["b"]]
        return {names[row]: float(cosines[row]) for row in np.argsort(-cosines, kind="stable")[:k]}


@pytest.fixture(scope="module")
def undisturbed(many):
    return digests(many.build("undisturbed", lists=True))


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path, 100)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("many"), 4000)


def test_search_is_exact_over_all_shards(made):
    index = Index(made.build())
    query = np.random.default_rng(5).standard_normal(DIMENSION).astype(np.float32)
    expected = made.nearest(query)
    hits = index.search(query, 10)
    assert [hit.chunk_id for hit in hits] == list(expected)
    assert np.allclose([hit.score for hit in hits], list(expected.values()), atol=1e-5)
    assert index.about["embedding_version"] == "v"
    assert index.about["kind"] == "exact"


def test_vectors_are_in_the_order_of_their_tables_whatever_the_row_groups(made):
    for table in made.tables:
        pq.write_table(pq.read_table(table), table, row_group_size=7)
    builder = made.builder()
    builder.gather(made.tables)
    assert np.allclose(builder.vectors, unit(made.vectors), atol=1e-6)


def test_a_hit_names_the_shard_and_the_row_of_its_chunk_there(made):
    hits = Index(made.build()).search(made.vectors[70], 1)
    assert [(hit.chunk_id, hit.shard, hit.row) for hit in hits] == [("b/20", 1, 21)]  # a chunk without vector is first
    assert hits[0].score == pytest.approx(1, abs=1e-6)


def test_more_neighbours_than_vectors_are_all_there_are(made):
    assert len(Index(made.build()).search(made.vectors[0], 1000)) == 100


def test_of_equal_chunks_those_found_are_in_the_order_of_the_index(tmp_path):
    made = Made(tmp_path, 40)
    made.vectors[:] = made.vectors[0]
    for table, part, names in zip(made.tables, np.split(made.vectors, 2), made.names.values(), strict=True):
        write_table(table, names, part)
    hits = Index(made.build()).search(made.vectors[0], 40)
    assert [hit.chunk_id for hit in hits] == [*made.names["a"], *made.names["b"]]


def test_an_index_of_nothing_finds_nothing(tmp_path):
    made = Made(tmp_path, 0)
    assert Index(made.build()).search(np.ones(DIMENSION, np.float32)) == []


def test_more_neighbours_than_the_recall_was_measured_for_are_searched_exactly(many):
    index = Index(many.build("more", lists=True))
    query = np.random.default_rng(6).standard_normal(DIMENSION).astype(np.float32)
    for k in (11, 500, 4000):
        assert {hit.chunk_id for hit in index.search(query, k)} == set(many.nearest(query, k))


def test_lists_find_nearly_all_that_brute_force_finds(many):
    folder = many.build("lists", lists=True)
    index = Index(folder)
    about = index.about
    assert (about["kind"], about["rows"], about["lists"]) == ("ivf", 4000, 100)
    assert about["recall"] >= 0.99
    assert about["probes"] < about["lists"], "the whole index was searched"
    rng = np.random.default_rng(7)
    found = 0
    for row in rng.choice(4000, 100, replace=False):
        query = many.vectors[row] + rng.standard_normal(DIMENSION).astype(np.float32) * 0.05
        expected = many.nearest(query)
        hits = index.search(query, 10)
        found += len({hit.chunk_id for hit in hits} & set(expected))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            if hit.chunk_id in expected:
                assert hit.score == pytest.approx(expected[hit.chunk_id], abs=1e-5), "scores are exact"
    assert found / 1000 >= 0.97


def test_the_index_is_the_same_bytes_with_any_number_of_threads(many):
    one, three = many.build("one", lists=True, threads=1), many.build("three", lists=True, threads=3)
    assert digests(one) == digests(three)
    assert set(digests(one)) == {VECTORS, NAMES, ABOUT, LISTS}


def test_index_json_holds_no_time(many):
    about = json.loads((many.build("timeless", lists=True) / ABOUT).read_text())
    assert not [name for name in about if "second" in name]


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 5, 13])
def test_a_killed_build_goes_on_where_it_was_and_gives_the_same_bytes(many, undisturbed, tmp_path, monkeypatch, after):
    steps = []
    put = Journal.put

    def counted(self, key, *rest, **named):
        put(self, key, *rest, **named)
        steps.append(key)
        if len(steps) == after:
            raise Killed

    first = many.builder(str(tmp_path / "journal"))
    monkeypatch.setattr(Journal, "put", counted)
    with pytest.raises(Killed):
        many.build(str(tmp_path / "killed"), lists=True, builder=first)
    monkeypatch.undo()
    again = many.builder(str(tmp_path / "journal"))
    folder = many.build(str(tmp_path / "killed"), lists=True, builder=again)
    assert again.resumed == after
    assert digests(folder) == undisturbed


def test_steps_of_another_index_are_not_taken_for_its_own(many, tmp_path):
    first = many.builder(str(tmp_path / "journal"), key="one")
    first.gather(many.tables)
    other = many.builder(str(tmp_path / "journal"), key="two")
    other.gather(many.tables)
    assert other.resumed == 0
    assert np.array_equal(first.vectors, other.vectors)


def test_one_table_is_in_memory_at_a_time(made, monkeypatch):
    import weakref

    held = []

    class Table(np.ndarray):
        pass

    def watched(vectors):
        table = vectors.view(Table)
        held.append(table.shape)
        weakref.finalize(table, held.pop)
        return table

    def counted(table):
        for ids, vectors in read_vectors(table):
            assert len(held) <= 2, "more is held than the row group before and its copy"
            yield ids, watched(vectors)

    monkeypatch.setattr(module, "read_vectors", counted)
    monkeypatch.setattr(module, "unit", lambda vectors: watched(unit(np.asarray(vectors))))
    made.builder().gather(made.tables)


def test_who_listens_hears_of_every_vector_once_and_what_was_found_in_the_journal(many, tmp_path):
    heard = []

    def builder():
        journal = Journal(tmp_path / "journal")
        return IndexBuilder(journal, "key", 4000, DIMENSION, 1, lambda n, resumed: heard.append((n, resumed)))

    builder().gather(many.tables)
    assert heard == [(2000, False), (2000, False)]
    again = builder()
    again.gather(many.tables)
    again.lists()
    assert heard[2:] == [(2000, True), (2000, True), (4000, False)]


def test_an_index_may_have_an_odd_dimension(tmp_path):
    made = Made(tmp_path, 2000, dimension=7)
    assert Index(made.build(lists=True)).about["recall"] >= 0.99


def test_recall_counts_as_found_only_what_exact_search_finds():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((2000, DIMENSION)))
    coarse = unit(rng.standard_normal((20, DIMENSION)))
    places = (vectors @ coarse.T).argmax(axis=1).astype(np.int64)
    trial = Trial(InvertedLists(build_lists(coarse, vectors, [(vectors, places)])), vectors, np.arange(0, 2000, 20))
    few, all_ = trial.recall(Effort(1, 10))[0], trial.recall(Effort(20, 10))[0]
    assert 0.1 < few < 0.9 < all_

    effort, recall = trial.least_effort(0.8)
    assert recall >= 0.8
    fewer, error = trial.recall(Effort(effort.probes - 1, effort.depth))
    assert fewer - error < 0.8, "one list fewer would not have been enough"

    def measured_by_hand(probes):
        found = 0
        for row in range(0, 2000, 20):
            products = vectors @ vectors[row]
            best = [k for k in np.argsort(-products) if k != row][:10]
            lists = np.argsort(-(coarse @ vectors[row]))[:probes]
            found += sum(places[k] in lists for k in best)
        return found / 1000

    assert few == pytest.approx(measured_by_hand(1), abs=0.01)  # product quantization may drop a candidate


def test_a_recall_that_cannot_be_reached_is_told_as_it_is():
    vectors = unit(np.random.default_rng(0).standard_normal((1500, DIMENSION)))
    coarse = vectors[:10]
    places = (vectors @ coarse.T).argmax(axis=1).astype(np.int64)
    lists = InvertedLists(build_lists(coarse, vectors, [(vectors, places)]))
    effort, recall = Trial(lists, vectors, np.arange(50)).least_effort(1.1)
    assert effort.probes == 10
    assert recall <= 1


def test_queries_are_rows_that_no_centroid_was_made_of_where_there_are_such():
    used = np.arange(0, 10_000)
    queries = choose_queries(100_000, used)
    assert len(queries) == 400
    assert not set(queries) & set(used)
    assert len(choose_queries(100, np.arange(100))) == 100


def test_vectors_of_other_chunks_are_refused():
    assert list(rows_of_chunks(["b", "d"], ["a", "b", "c", "d"])) == [1, 3]
    with pytest.raises(ValueError, match="no such chunk"):
        list(rows_of_chunks(["d", "b"], ["a", "b", "c", "d"]))


def test_ids_are_beside_the_vectors_in_their_order(made):
    rows = list(read_rows(made.build() / NAMES))
    assert [row["chunk_id"] for row in rows] == [*made.names["a"], *made.names["b"]]
    assert [(row["shard"], row["row"]) for row in rows[49:52]] == [(0, 50), (1, 1), (1, 2)]


def test_a_version_is_named_by_the_keys_of_its_shards_in_any_order():
    assert version_name(["a", "b"]) == version_name(["b", "a"]) != version_name(["a", "c"])
