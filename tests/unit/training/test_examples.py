"""Examples of user files: every line is accounted for, and lines of one document share a split."""

import json
from collections import Counter

import pytest

from malgeul.shards.faults import Fault
from malgeul.training.examples import Sharing, read_examples, read_scored

SHARING = Sharing(validation=0.2, test=0.2)


def write(tmp_path, *lines):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return file


def test_every_line_is_an_example_or_says_what_is_wrong_with_it(tmp_path):
    file = write(
        tmp_path,
        {"text": "가", "label": "a"},
        {"text": "나", "label": 3},
        {"text": "다", "label": True},
        b"{broken\n",
        b"[1]\n",
        b"\xff\n",
        {"text": "라"},
        {"text": " ", "label": "a"},
        {"text": "마", "label": 1.5},
        b"\n",
        {"text": "가", "label": "a"},
    )
    found = list(read_examples([file], ("text", "label"), None, SHARING))
    assert [one.place for one in found] == [f"lines.jsonl:{k}" for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)]
    assert [one.fields for one in found if isinstance(one.fields, tuple)] == [
        ("가", "a"),
        ("나", "3"),
        ("다", "true"),
        ("가", "a"),
    ]
    assert [one.fields.kind for one in found if isinstance(one.fields, Fault)] == [
        "BROKEN_JSON",
        "BROKEN_JSON",
        "INVALID_UTF8",
        "MISSING_FIELD",
        "EMPTY_TEXT",
        "MISSING_FIELD",
    ]
    assert [one.place for one in found if one.repeated] == ["lines.jsonl:11"]


def test_lines_of_one_document_share_a_split_and_shares_are_as_asked(tmp_path):
    records = [{"text": f"글 {k}", "label": "a", "document": f"문서 {k // 5}"} for k in range(5000)]
    file = write(tmp_path, *records)
    splits = {}
    for example in read_examples([file], ("text", "label"), "document", SHARING):
        line = int(example.place.rpartition(":")[2])
        splits.setdefault(records[line - 1]["document"], set()).add(example.split)
    assert all(len(found) == 1 for found in splits.values())
    counts = Counter(next(iter(found)) for found in splits.values())
    assert counts["test"] / 1000 == pytest.approx(0.2, abs=0.05)
    assert counts["validation"] / 1000 == pytest.approx(0.2, abs=0.05)


def test_added_lines_move_no_other_to_another_split(tmp_path):
    records = [{"text": f"글 {k}", "label": "a"} for k in range(50)]

    def splits(*lines):
        found = read_examples([write(tmp_path, *lines)], ("text", "label"), None, SHARING)
        return {one.fields: one.split for one in found}

    assert splits(*records).items() <= splits({"text": "새 글", "label": "b"}, *records).items()


def test_a_line_of_scored_pairs_that_is_none_is_named(tmp_path):
    file = write(tmp_path, {"text_a": "가", "text_b": "나", "score": 3}, {"text_a": "가"})
    with pytest.raises(ValueError, match="line 2: text_a, text_b and score are needed"):
        read_scored(file)
