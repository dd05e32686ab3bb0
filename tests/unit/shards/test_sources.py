"""Files are opened by their raw path, known by their bytes, and what cannot be opened has a class."""

from __future__ import annotations

import errno
import hashlib
import os
import unicodedata

import pytest

from malgeul.shards.faults import ItemFault
from malgeul.shards.inputs import InputFile, Twin, find_files
from malgeul.shards.sources import Sources, digests_of, opened, read_content


def fault_of(path):
    with pytest.raises(ItemFault) as caught:
        read_content(str(path))
    return caught.value.fault.kind


def test_a_recording_is_known_by_the_first_16_digits_of_the_sha256_of_its_bytes(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF and so on")
    assert read_content(str(file)).id == hashlib.sha256(b"RIFF and so on").hexdigest()[:16]


def test_a_decomposed_name_is_shown_composed_and_opened_as_it_is(tmp_path):
    decomposed = unicodedata.normalize("NFD", "상담 녹음.wav")
    file = tmp_path / decomposed
    file.write_bytes(b"x")
    (source,) = find_files(tmp_path, ["wav"]).files
    assert source.shown == unicodedata.normalize("NFC", "상담 녹음.wav")
    assert read_content(source.path).stat.size == 1


def test_a_name_that_is_no_unicode_is_shown_as_valid_text():
    name = os.fsdecode(b"\xbf\xf8.wav")
    assert InputFile(name, 0, name).shown == r"\udcbf\udcf8.wav"


def test_a_problem_of_the_plan_becomes_a_fault():
    fault = InputFile("a", 0, "a", "NOT_A_FILE: neither a file nor a folder").fault
    assert (fault.kind, fault.reason) == ("NOT_A_FILE", "neither a file nor a folder")
    assert InputFile("a", 0, "a").fault is None


def test_what_cannot_be_read_has_a_class(tmp_path):
    empty, pipe = tmp_path / "empty.m4a", tmp_path / "pipe.wav"
    empty.touch()
    os.mkfifo(pipe)
    loop = tmp_path / "loop.wav"
    loop.symlink_to(loop)
    assert fault_of(empty) == "EMPTY"
    assert fault_of(tmp_path / "gone.wav") == "VANISHED"
    assert fault_of(tmp_path) == "NOT_A_FILE"
    assert fault_of(loop) == "NOT_A_FILE"
    assert fault_of(pipe) == "NOT_A_FILE", "and it is not waited for"


def refuse(number, text):
    def failing(*_):
        raise OSError(number, text)

    return failing


def test_a_file_without_permission_is_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", refuse(errno.EACCES, "Permission denied"))  # root may read everything
    assert fault_of(tmp_path / "secret.wav") == "UNREADABLE"


def test_an_error_of_the_device_is_not_taken_for_one_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", refuse(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"), opened(str(tmp_path / "a.wav")):
        pass


def test_files_are_told_apart_by_their_content_or_by_what_is_wrong_with_them(tmp_path):
    for name, content in (("a.wav", b"one"), ("b.wav", b"one"), ("c.wav", b"two"), ("d.wav", b"")):
        (tmp_path / name).write_bytes(content)
    files = [*find_files(tmp_path, ["wav"]).files, InputFile("e.wav", 3, str(tmp_path / "e.wav"))]
    pipe = InputFile("f.wav", 0, "f.wav", "NOT_A_FILE: neither a file nor a folder")
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert digests_of([*files, pipe]) == [one, one, two, "EMPTY", "VANISHED", "NOT_A_FILE"]


def test_every_file_of_a_job_is_read_once_however_often_it_is_asked_for(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.wav").write_text(name)
    first, *others = find_files(tmp_path, ["wav"]).files
    read: list[str] = []

    def reading(path):
        read.append(path)
        return read_content(path)

    monkeypatch.setattr("malgeul.shards.sources.read_content", reading)
    sources = Sources([first, *others], [Twin(first, "s-0000")], threads=2)
    one = sources.digests_of(sources.files)
    assert sources.digests_of([twin.file for twin in sources.twins]) == one[:1]
    assert sources.content_of(first).sha256 == one[0]
    assert sorted(read) == [file.path for file in sources.files]
    assert sources.were_as_planned([])


def test_a_twin_that_could_not_be_opened_for_a_moment_is_not_as_planned(tmp_path, monkeypatch):
    """Its bytes were taken for nobody's else, though it looks as planned before and after."""
    (tmp_path / "a.wav").write_text("a")
    (file,) = find_files(tmp_path, ["wav"]).files
    sources = Sources([], [Twin(file, "s-0000")])
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse(errno.ENOENT, "No such file or directory"))
        assert sources.content_of(file).kind == "VANISHED"
    assert not sources.were_as_planned([])
