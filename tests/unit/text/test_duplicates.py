"""Of equal texts the first by shard and row stays; the others are named with it."""

import unicodedata
from collections import Counter, defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from malgeul.shards.ledger import Tally, read_ledger
from malgeul.text.duplicates import Hashed, find_namesakes, find_repeats, hash_table, merge_clusters, text_hash
from unit.text.conftest import body, prose


def repeats(table):
    positions, firsts = find_repeats(table)
    return list(zip(positions.tolist(), firsts.tolist(), strict=True))


@given(st.lists(st.integers(0, 6), max_size=40))
def test_repeats_are_all_but_the_first_of_equal_hashes(values):
    places = defaultdict(list)
    for position, value in enumerate(values):
        places[value].append(position)
    expected = sorted((position, group[0]) for group in places.values() for position in group[1:])
    assert repeats(hash_table(text_hash(str(value)) for value in values)) == expected


def test_of_one_name_another_text_goes_and_the_same_text_is_a_duplicate():
    names = {0: "a", 2: "a", 3: "b", 5: "a", 6: "a", 7: "c", 8: "c"}
    texts = {0: "first", 1: "first", 2: "other", 5: "first", 8: "first"}
    named, signed = (
        Hashed(hash_table(map(text_hash, some.values())), np.array(list(some), np.int64)) for some in (names, texts)
    )
    positions, firsts = find_namesakes(named, signed)
    assert list(zip(positions.tolist(), firsts.tolist(), strict=True)) == [(2, 0), (6, 0), (8, 7)], (
        "6 and 7 have no text to compare"
    )
    unsigned = signed.without(signed.positions)
    assert find_namesakes(named, unsigned)[0].tolist() == named.repeats()[0].tolist() == [2, 5, 6, 8]
    left, of = signed.without(positions).repeats()
    assert list(zip(left.tolist(), of.tolist(), strict=True)) == [(1, 0), (5, 0)]


def test_equal_halves_of_a_hash_are_no_repeat():
    table = hash_table([b"a" * 8 + b"b" * 8, b"a" * 16, b"b" * 8 + b"a" * 8, b"a" * 16])
    assert repeats(table) == [(3, 1)]


def test_the_table_holds_hashes_across_blocks(monkeypatch):
    monkeypatch.setattr("malgeul.text.duplicates.HASHES_AT_ONCE", 3)
    hashes = [text_hash(str(k)) for k in range(10)]
    assert hash_table(iter(hashes)).tobytes() == b"".join(hashes)
    assert hash_table([]).shape == np.zeros(0).shape


def test_white_space_and_composition_do_not_make_another_text():
    decomposed = unicodedata.normalize("NFD", "한글 문서 이다")
    assert text_hash("한글  문서\n이다 ") == text_hash("한글 문서 이다") == text_hash(decomposed)
    assert text_hash("한글문서") != text_hash("한글 문서")


def test_documents_are_found_over_all_shards_and_accounted_for(find, results):
    rows, ledger = find(
        {
            "web-0001": {"1": "가나다라 마바사", "2": "아자차카 타파하"},
            "web-0000": {"9": "라마바사 아자차", "8": "가나다라\n마바사", "7": "라마바사 아자차"},
        }
    )
    assert rows == [("web-0000", "7", 2, "duplicate", "web/9"), ("web-0001", "1", 0, "duplicate", "web/8")]
    parents = [read_ledger(results / "ledger" / "screen" / f"{shard}.json").given for shard in ("web-0000", "web-0001")]
    assert ledger.taken == sum(parents, Tally())
    assert ledger.given == Tally.of(["web-0000/7", "web-0001/1"])
    assert (ledger.imbalance(), ledger.rejected) == (None, Counter())


def test_nearly_equal_texts_are_one_cluster_whose_first_stays(find):
    changed = prose(1).replace("토요일", "일요일")
    assert changed != prose(1)
    rows, ledger = find(
        {
            "web-0000": {"other": prose(1).translate(str.maketrans("다는을이", "고와를가")) * 1, "first": prose(1)},
            "web-0001": {
                "near": changed,
                "equal": prose(1),
                "near_too": prose(1) + " 끝났다.",
                "short": "세 낱말 뿐이다.",
            },
        }
    )
    assert {(row[1], row[3], row[4]) for row in rows} == {
        ("near", "near_duplicate", "web/first"),
        ("equal", "duplicate", "web/first"),
        ("near_too", "near_duplicate", "web/first"),
    }
    assert ledger.measured == {
        "duplicates": 1,
        "near_duplicates": 2,
        "clusters": 1,
        "repeated_ids": 0,
        "boilerplate_lines": 0,
    }


def test_an_id_that_another_shard_has_is_told_and_its_document_stands_for_no_other(find):
    text, other = (f"{body(seed)} 끝. 또 끝." * 3 for seed in (1, 2))
    rows, ledger = find(
        {
            "web-0000": {"1": prose(1), "2": text},
            "web-0001": {"1": other, "2": text, "3": other},
            "web-0002": {"1": "짧다", "4": other + " 끝났다."},
        }
    )
    assert rows == [
        ("web-0001", "1", 0, "repeated_id", "web/1"),
        ("web-0001", "2", 1, "repeated_record", "web/2"),
        ("web-0002", "4", 1, "near_duplicate", "web/3"),
    ]
    assert (ledger.measured["repeated_ids"], ledger.measured["clusters"]) == (1, 2)
    assert ledger.imbalance() is None


def test_a_document_that_is_rejected_anyway_takes_its_id_from_no_other(find):
    rows, _ = find({"web-0000": {"1": "짧다"}, "web-0001": {"1": prose(1)}})
    assert rows == []
    rows, _ = find({"web-0000": [("1", "짧다"), ("1", prose(1)), ("1", prose(2)), ("1", prose(1))]})
    assert [row[2:4] for row in rows] == [(2, "repeated_id"), (3, "repeated_record")], "nor in one shard"


def test_two_sources_may_use_the_same_ids(find):
    rows, _ = find({"web-0000": {"1": prose()}, "news-0000": {"1": body(1)}})
    assert rows == []


def test_a_document_that_is_rejected_anyway_stands_for_no_other(find):
    spam = "카지노 바카라 먹튀 없는 곳 "
    rows, _ = find({"web-0000": {"spam": spam + prose(1), "good": prose(1)}})
    assert rows == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_clusters_are_the_connected_components_over_all_bands(bands_of_documents):
    count = len(bands_of_documents)
    clusters = np.arange(count)
    for band in (0, 1):
        keys = np.array([keys[band] for keys in bands_of_documents], np.uint64)
        clusters = merge_clusters(clusters, keys, np.arange(count))
    expected = list(range(count))
    for _ in range(count):
        for a in range(count):
            for b in range(count):
                if any(x == y for x, y in zip(bands_of_documents[a], bands_of_documents[b], strict=True)):
                    expected[a] = expected[b] = min(expected[a], expected[b])
    assert clusters.tolist() == expected


def test_a_corpus_of_which_nothing_passes_has_no_duplicates(find):
    rows, ledger = find({"web-0000": {"1": "짧다", "2": "짧다."}})
    assert rows == []
    assert ledger.measured == {
        "duplicates": 0,
        "near_duplicates": 0,
        "clusters": 0,
        "repeated_ids": 0,
        "boilerplate_lines": 0,
    }
