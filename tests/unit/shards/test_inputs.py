"""What a source names is found once, whatever its glob matches."""

import os
from pathlib import Path

import pytest

from malgeul.shards.inputs import find_files, look_at


def test_a_file_that_a_glob_matches_more_than_once_is_found_once(tmp_path):
    (tmp_path / "calls/march").mkdir(parents=True)
    for name in ("a.wav", "march/b.wav"):
        (tmp_path / "calls" / name).touch()
    for pattern in ("**", "calls/**", "**/*", "calls/*"):
        assert sorted(file.path for file in find_files(tmp_path / pattern, ["wav"]).files) == [
            str(tmp_path / "calls/a.wav"),
            str(tmp_path / "calls/march/b.wav"),
        ]


def test_a_file_whose_name_would_be_a_glob_is_itself(tmp_path):
    for name in ("통화[1].wav", "통화1.wav"):
        (tmp_path / name).touch()
    assert [file.name for file in find_files(tmp_path / "통화[1].wav", ["wav"]).files] == ["통화[1].wav"]


def test_what_a_glob_names_itself_does_not_count_as_left_out(tmp_path):
    (tmp_path / "calls/march").mkdir(parents=True)
    for name in ("a.txt", "march/b.wav", "march/c.txt"):
        (tmp_path / "calls" / name).touch()
    every = find_files(tmp_path / "calls/**", ["wav"])
    assert (len(every.files), every.ignored) == (3, {})


def test_a_glob_may_begin_at_the_root(tmp_path):
    (tmp_path / "a.wav").touch()
    first, *_ = tmp_path.parts[1:]
    (found,) = find_files(Path(f"/{first[:-1]}?").joinpath(*tmp_path.parts[2:], "a.wav"), ["wav"]).files
    assert (found.path, found.name) == (str(tmp_path / "a.wav"), str((tmp_path / "a.wav").relative_to("/")))


@pytest.mark.parametrize("pattern", ["*/*.wav", "*/a.wav", "*/march/*.wav", "**/*.wav"])
def test_folders_that_a_glob_cannot_look_into_are_counted(tmp_path, monkeypatch, pattern):
    for folder in ("open/march", "closed/march"):
        (tmp_path / folder).mkdir(parents=True)
        for place in (tmp_path / folder, (tmp_path / folder).parent):
            (place / "a.wav").touch()
    assert find_files(tmp_path / pattern, ["wav"]).ignored == {}
    access, closed = os.access, str(tmp_path / "closed")
    # root may look everywhere
    monkeypatch.setattr(os, "access", lambda path, how: str(path).rstrip("/") != closed and access(path, how))
    assert find_files(tmp_path / pattern, ["wav"]).ignored == {"(unreadable)": 1}


def test_a_suffix_may_have_its_dot(tmp_path):
    (tmp_path / "a.WAV").touch()
    assert len(find_files(tmp_path, [".wav"]).files) == 1


def test_hidden_files_are_left_out_and_counted(tmp_path):
    (tmp_path / ".trash").mkdir()
    for name in ("a.wav", "._a.wav", ".trash/b.wav", "cover.jpg"):
        (tmp_path / name).touch()
    found = find_files(tmp_path, ["wav"])
    assert [file.name for file in found.files] == ["a.wav"]
    assert found.ignored == {"(hidden)": 2, "jpg": 1}


@pytest.mark.parametrize(
    "name",
    [
        "통화.wav",
        "-rf $(x) `y` '\" * ?.wav",
        "{shard}.wav",
        "<results>.wav",
        "new\nline.wav",
        os.fsdecode("통화.wav".encode("euc-kr")),
    ],
)
def test_of_every_file_its_raw_path_size_and_time_are_known(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(b"RIFF")
    (found,) = find_files(tmp_path, ["wav"]).files
    assert (found.path, found.size, found.modified) == (str(file), 4, file.stat().st_mtime_ns)
    assert found.problem is None


def test_a_file_that_is_looked_at_again_is_what_it_was_until_it_changes(tmp_path, monkeypatch):
    file = tmp_path / "통화.wav"
    file.write_bytes(b"RIFF")
    (planned,) = find_files(tmp_path, ["wav"]).files

    def is_the_same():
        return look_at(planned.path, planned.name) == planned

    assert is_the_same()
    os.link(file, tmp_path / "backup")
    assert is_the_same(), "a link more is no change, as of a backup"
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)  # root may read everything
        assert not is_the_same()
        assert look_at(planned.path, planned.name).fault.kind == "UNREADABLE"
    stat = file.stat()
    os.utime(file, ns=(1, 1))
    assert not is_the_same()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert is_the_same()
    file.unlink()
    assert not is_the_same()
