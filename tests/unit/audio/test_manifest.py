"""The manifest holds a line per recording, sorted by id; what it says besides names can be taken again."""

from __future__ import annotations

import json
import os
import unicodedata

from malgeul.audio.intake import Recording
from malgeul.audio.manifest import read_facts, row_of, write_manifest
from malgeul.shards.files import StatKey
from malgeul.shards.inputs import InputFile
from malgeul.shards.names import nfc
from malgeul.shards.sources import Content
from malgeul.speech.manifest import read_manifest


def recording(digit: str, *names: str) -> Recording:
    first, *others = (InputFile(nfc(name), 1, name) for name in names)
    return Recording(Content(digit * 64, StatKey(1, 2, 3)), first, tuple(others))


def test_rows_are_sorted_by_id_and_names_composed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "통화.m4a")
    rows = [row_of(recording("b", "b.wav"), {"seconds": 1.0}), row_of(recording("a", decomposed, "사본.m4a"), {})]
    write_manifest(tmp_path / "manifest.jsonl", rows)
    read = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in read] == ["a" * 16, "b" * 16]
    assert (read[0]["name"], read[0]["aliases"]) == ("통화.m4a", ["사본.m4a"])


def test_facts_are_read_back_without_the_names(tmp_path):
    write_manifest(
        tmp_path / "m.jsonl", [row_of(recording("a", "a.wav", "b.wav"), {"seconds": 1.5, "channels": ["a"]})]
    )
    assert read_facts(tmp_path / "m.jsonl") == {"a" * 16: {"seconds": 1.5, "channels": ["a"]}}
    assert read_facts(None) == {}


def test_a_tag_may_hold_what_other_programs_end_lines_with(tmp_path):
    facts = {"source": {"tags": {"title": "a\u2028b\x85c\rd"}}}
    write_manifest(tmp_path / "manifest.jsonl", [row_of(recording("a", "a.wav"), facts)])
    assert read_facts(tmp_path / "manifest.jsonl") == {"a" * 16: facts}
    assert read_manifest(tmp_path)["a" * 16]["source"] == facts["source"]


def test_a_name_that_is_no_unicode_can_be_written(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [row_of(recording("a", os.fsdecode(b"\xff.wav")), {})])
    (tmp_path / "m.jsonl").read_text("utf-8")
