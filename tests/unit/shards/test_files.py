"""Outputs appear whole or not at all (law 5)."""

import errno
import hashlib
import json
import os

import pytest

from malgeul.shards.files import files_under, sha256_of, write_json, written_whole


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")

    def fail():
        with written_whole(target) as staged:
            staged.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "stale").write_text("old")
    with written_whole(target) as staged:
        staged.mkdir()
        (staged / "fresh").write_text("new")
    assert [file.name for file in files_under(target)] == ["fresh"]


def test_snakemakes_timestamp_is_no_output(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / ".snakemake_timestamp").touch()
    assert [file.name for file in files_under(tmp_path)] == ["a"]
    assert sha256_of(tmp_path / "a").startswith("ca978112")


def test_json_is_utf8_whatever_the_bytes_of_a_path_and_comes_back_the_same(tmp_path):
    path = os.fsdecode("통화.wav".encode("euc-kr"))
    write_json(tmp_path / "plan.json", {"path": path})
    text = (tmp_path / "plan.json").read_text("utf-8")
    assert json.loads(text) == {"path": path}


def test_a_device_that_fails_while_a_file_is_hashed_is_told_with_the_file(tmp_path, monkeypatch):
    file = tmp_path / "vectors.parquet"
    file.write_bytes(b"x")

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(OSError, match=r"Input/output error: '.*/vectors\.parquet'"):
        sha256_of(file)
