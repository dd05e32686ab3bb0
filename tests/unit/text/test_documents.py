"""Documents have clean text, an id of the source's where there is one, and lose none of the record's fields."""

import datetime
import hashlib
import json
import unicodedata
from collections import Counter
from time import process_time

import pytest

from malgeul.shards.faults import ItemFault
from malgeul.shards.tables import read_rows
from malgeul.text.documents import clean, document_of, meta_of
from malgeul.text.records import Record, Source
from unit.text.conftest import jsonl

SOURCE = Source("web", "jsonl", "text", "id", [])


def make(fields, source=SOURCE):
    return document_of(Record("a.jsonl:7", fields), source, Counter())


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        (unicodedata.normalize("NFD", "한글"), "한글"),
        ("가\r\n나\r다\x0c라\u2028마", "가\n나\n다\n라\n마"),
        ("가\x00나\x07다\x7f라\x9f", "가나다라"),
        ("\ufeff가\u200b나\u202e다", "가나다"),
        ("대한\u00ad민국 010\u00ad-1234-\u20625678", "대한민국 010-1234-5678"),
        ("가 \t\n나\u3000\n\n다  ", "가\n나\n\n다"),
        ("a\tb", "a\tb"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("❤️\u200d🔥 क्\u200dष می\u200cخواهم", "❤️\u200d🔥 क्\u200dष می\u200cخواهم"),
        ("ᄃ\u200dᅢ\u200d한민국 010\u200c-1234 \u200c\u200c ab\u200d👍\u200d", "대한민국 010-1234  ab👍"),
        ("가\u3164나\n\u3164\u3164\n\uffa0다\u2800", "가 나\n\n 다"),
    ],
)
def test_text_is_composed_without_invisible_characters_and_space_at_line_ends(raw, cleaned):
    assert clean(raw, Counter()) == cleaned


def test_a_run_of_joiners_takes_no_longer_than_other_text():
    hostile = "ا" + "\u200d" * 50_000 + "ا"
    started = process_time()
    assert clean(hostile, Counter()) == hostile
    assert process_time() - started < 2


def test_what_was_cleaned_is_counted():
    counts = Counter()
    clean("가\x00\x07\u200b", counts)
    clean(unicodedata.normalize("NFD", "한"), counts)
    assert counts == {"control_characters": 3, "normalized_texts": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"id": "x", "text": "가"}, "x"),
        ({"id": 12, "text": "가"}, "12"),
        ({"id": 0, "text": "가"}, "0"),
        ({"text": "가"}, ""),
        ({"id": None, "text": "가"}, ""),
        ({"id": "", "text": "가"}, ""),
    ],
)
def test_the_id_is_the_sources_own_where_there_is_one(fields, expected):
    assert make(fields)["id"] == expected


def test_an_id_made_from_the_text_does_not_change_with_what_stands_around(ingest, results):
    def ids(files):
        ingest(files)
        return [row["id"] for row in read_rows(results / "text" / "web-0000.parquet")]

    one, two = ({"text": text} for text in ("하나", "둘"))
    made = [hashlib.sha256(f"a.jsonl\0{text}".encode()).hexdigest()[:16] for text in ("하나", "둘")]
    assert ids({"a.jsonl": jsonl(one, two)}) == made
    assert not set(ids({"b.jsonl": jsonl(one, two)})) & set(made), "equal texts are told apart where they are kept"
    assert ids({"a.jsonl": jsonl({"text": "영"}, one, {"text": "하나\u200b"}, two)})[1:] == [
        made[0],
        f"{made[0]}-2",
        made[1],
    ]


def test_without_an_id_field_the_id_stays_in_meta():
    document = make({"id": "x", "text": "가"}, Source("web", "jsonl", "text", None, []))
    assert (document["id"], document["meta"]) == ("", '{"id": "x"}')


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"id": "x"}, "MISSING_FIELD"),
        ({"id": "x", "text": None}, "MISSING_FIELD"),
        ({"id": "x", "text": ["가"]}, "MISSING_FIELD"),
        ({"id": True, "text": "가"}, "MISSING_FIELD"),
        ({"id": 1.5, "text": "가"}, "MISSING_FIELD"),
        ({"id": "x", "text": " \n\u3000\u200b"}, "EMPTY_TEXT"),
        ({"id": "x", "text": b"\xff"}, "INVALID_UTF8"),
        ({"id": "x", "text": "가\ud800"}, "INVALID_UTF8"),
        ({"id": "x\ud800", "text": "가"}, "INVALID_UTF8"),
        ({"id": "x", "text": "가", "title": "\udfff"}, "INVALID_UTF8"),
        ({"id": "x", "text": "가", "nan": float("nan"), "deep": json.loads("[" * 900 + "]" * 900)}, "BROKEN_JSON"),
    ],
)
def test_what_makes_no_document_is_a_fault_of_its_class(fields, kind):
    with pytest.raises(ItemFault) as found:
        make(fields)
    assert found.value.fault.kind == kind


def test_all_other_fields_stay_as_json_with_sorted_keys():
    hplt = {"id": "h", "text": "가", "u": "https://a", "prob": [0.9, 0.1], "pii": [[1, 2]], "filter": "keep", "b": "나"}
    meta = make(hplt)["meta"]
    assert json.loads(meta) == {key: value for key, value in hplt.items() if key not in {"id", "text"}}
    assert list(json.loads(meta)) == sorted(json.loads(meta))
    assert "나" in meta


def test_values_that_json_does_not_know_are_told_as_text_or_null():
    meta = meta_of(
        {"when": datetime.datetime(2026, 1, 2, 3, 4), "raw": b"\x00\xff", "share": float("nan"), "deep": [{"x": 1e999}]}
    )
    assert json.loads(meta) == {"when": "2026-01-02T03:04:00", "raw": "AP8=", "share": None, "deep": [{"x": None}]}


def test_a_shard_accounts_for_every_record(ingest, results):
    ledger = ingest(
        {
            "a.jsonl": jsonl(
                {"id": "1", "text": "하나"}, {"id": "1", "text": "둘"}, {"id": "3", "text": " "}, {"text": "넷"}
            )
            + b"{broken\n",
            "sub/b.jsonl": jsonl({"id": "5", "text": "다섯", "u": "x"}),
            "gone.jsonl": None,
            "pipe.jsonl": b"",
        },
        problems={"pipe.jsonl": "NOT_A_FILE: neither a file nor a folder"},
    )
    assert {fault["item"]: fault["class"] for fault in ledger.quarantined} == {
        "a.jsonl:3": "EMPTY_TEXT",
        "a.jsonl:5": "BROKEN_JSON",
        "gone.jsonl": "VANISHED",
        "pipe.jsonl": "NOT_A_FILE",
    }
    assert ledger.imbalance() is None
    assert (ledger.taken.n, ledger.used.n, ledger.given.n) == (8, 4, 4)
    rows = list(read_rows(results / "text" / "web-0000.parquet"))
    assert [(row["id"], row["text"], row["source"], row["meta"]) for row in rows] == [
        ("1", "하나", "web", "{}"),
        ("1", "둘", "web", "{}"),
        (hashlib.sha256("a.jsonl\0넷".encode()).hexdigest()[:16], "넷", "web", "{}"),
        ("5", "다섯", "web", '{"u": "x"}'),
    ]
    assert ledger.measured["characters"] == 6


def test_a_shards_key_depends_on_the_bytes_of_every_file_and_on_no_path(ingest):
    files = {"a/x.jsonl": jsonl({"text": "가"}), "b/x.jsonl": jsonl({"text": "나"})}
    first = ingest(files)
    assert first.reused == 0
    moved = ingest(files, folder="elsewhere")
    assert (moved.reused, moved.key) == (2, first.key)
    changed = ingest(files | {"a/x.jsonl": jsonl({"text": "다"})})
    assert changed.key != first.key
    assert changed.reused == 0
