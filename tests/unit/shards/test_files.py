"""Outputs appear whole or not at all (law 5)."""

import errno
import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul.shards.files import beside, digest_of, files_under, remove, sha256_of, write_json, written_whole


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
    for place in (target, beside(target)):  # what a job finished, and what a killed one left
        place.mkdir()
        (place / "stale").write_text("old")
    with written_whole(target) as staged:
        staged.mkdir()
        (staged / "fresh").write_text("new")
    assert [file.name for file in files_under(target)] == ["fresh"]


def test_what_is_put_in_place_has_reached_the_disk_before_and_its_place_after(tmp_path, monkeypatch):
    target = tmp_path / "folder"
    synced, opened = [], []
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(here(descriptor)), opened.append(descriptor)))

    def here(descriptor):
        return os.fstat(descriptor).st_ino, target.exists()

    with written_whole(target) as staged:
        staged.mkdir()
        (staged / "a").write_text("a")
    assert synced == [
        ((target / "a").stat().st_ino, False),
        (target.stat().st_ino, False),
        (tmp_path.stat().st_ino, True),
    ]
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_what_a_link_leads_to_is_not_removed_with_it(tmp_path):
    (tmp_path / "users").mkdir()
    (tmp_path / "users/notes.txt").write_text("notes")
    (tmp_path / "link").symlink_to(tmp_path / "users")
    remove(tmp_path / "link")
    remove(tmp_path / "nothing there")
    assert [*tmp_path.iterdir(), *files_under(tmp_path)] == [tmp_path / "users", tmp_path / "users/notes.txt"]


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    assert digest_of(dict(reversed(value.items()))) == digest_of(value)
    assert digest_of([value, "more"]) != digest_of(value)


def test_the_files_of_an_output_come_in_order_and_snakemakes_timestamp_is_none(tmp_path):
    names = ["b", "a", "d/z", "c/x", "c/a"]
    for name in [*names, ".snakemake_timestamp"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [str(file.relative_to(tmp_path)) for file in files_under(tmp_path)] == sorted(names)
    assert list(files_under(tmp_path / "a")) == [tmp_path / "a"]
    assert list(files_under(tmp_path / "none")) == []
    assert sha256_of(tmp_path / "a").startswith("ca978112")


def test_json_is_utf8_whatever_the_bytes_of_a_path_and_comes_back_the_same(tmp_path):
    path = os.fsdecode("통화.wav".encode("euc-kr"))
    write_json(tmp_path / "plan.json", {"path": path, "name": "통화"})
    text = (tmp_path / "plan.json").read_text("utf-8")
    assert text.startswith('{\n "name": "통화",\n "path": "'), "keys in order, a text that can be read"
    assert json.loads(text) == {"path": path, "name": "통화"}


def test_a_device_that_fails_while_a_file_is_hashed_is_told_with_the_file(tmp_path, monkeypatch):
    file = tmp_path / "vectors.parquet"
    file.write_bytes(b"x")

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(OSError, match=r"Input/output error: '.*/vectors\.parquet'"):
        sha256_of(file)
