"""The manifest of the conversion is read by recording."""

from malgeul.speech.manifest import read_manifest


def test_rows_are_found_by_id(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "name": "통화.m4a"}\n{"id": "b"}\n', encoding="utf-8")
    assert read_manifest(tmp_path) == {"a": {"id": "a", "name": "통화.m4a"}, "b": {"id": "b"}}
