"""Of equal texts the first by shard and row stays; the others are named with it."""

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from find_duplicates import find_duplicates as run_find_duplicates
from malgeul.shards.ledger import Tally, read_ledger
from malgeul.shards.tables import read_rows
from malgeul.text.duplicates import find_repeats, hash_table, text_hash
from unit.text.conftest import jsonl


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


def test_equal_halves_of_a_hash_are_no_repeat():
    table = hash_table([b"a" * 8 + b"b" * 8, b"a" * 16, b"b" * 8 + b"a" * 8, b"a" * 16])
    assert repeats(table) == [(3, 1)]


def test_the_table_holds_hashes_across_blocks(monkeypatch):
    monkeypatch.setattr("malgeul.text.duplicates.HASHES_AT_ONCE", 3)
    hashes = [text_hash(str(k)) for k in range(10)]
    assert hash_table(iter(hashes)).tobytes() == b"".join(hashes)
    assert hash_table([]).shape == np.zeros(0).shape


def test_white_space_and_composition_do_not_make_another_text():
    assert text_hash("한글  문서\n이다 ") == text_hash("한글 문서 이다") == text_hash("한글 문서 이다")
    assert text_hash("한글문서") != text_hash("한글 문서")


def test_documents_are_found_over_all_shards_and_accounted_for(ingest, make_job, results):
    ingest({"b.jsonl": jsonl({"id": "1", "text": "가 나"}, {"id": "2", "text": "다"})}, shard="web-0001")
    ingest(
        {"a.jsonl": jsonl({"id": "9", "text": "라"}, {"id": "8", "text": "가\n나"}, {"id": "7", "text": "라"})},
        shard="web-0000",
    )
    ledgers = [f"ingest/web-{shard}.json" for shard in ("0001", "0000")]
    job = make_job(
        "dedup",
        "all",
        {"duplicates": "duplicates.parquet"},
        ledgers=ledgers,
        inputs={"text": [results / "text" / f"web-{shard}.parquet" for shard in ("0001", "0000")]},
    )
    job.run(run_find_duplicates)
    assert [tuple(row.values()) for row in read_rows(results / "duplicates.parquet")] == [
        ("web-0000", "7", 2, "web/9"),
        ("web-0001", "1", 0, "web/8"),
    ]
    ledger = read_ledger(job.outputs["ledger"])
    assert ledger.taken == sum((read_ledger(results / "ledger" / name).given for name in ledgers), Tally())
    assert ledger.given == Tally.of(["web-0000/7", "web-0001/1"])
    assert (ledger.imbalance(), ledger.rejected) == (None, Counter())
