"""One recording however many files: the first by name stands for it, a lower shard's copy wins, nothing is left out."""

from __future__ import annotations

import pytest

from malgeul.audio.intake import take_in
from malgeul.shards.inputs import InputFile, Twin


@pytest.fixture
def files(tmp_path):
    contents = {"b.wav": b"one", "a.wav": b"one", "c.wav": b"two", "d.wav": b"", "e.wav": b"two"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [InputFile(name, len(content), str(tmp_path / name)) for name, content in contents.items()]


def test_of_equal_files_the_first_by_name_is_the_recording_and_the_others_are_its_aliases(files):
    intake = take_in(files)
    assert {r.file.name: [a.name for a in r.aliases] for r in intake.recordings} == {
        "a.wav": ["b.wav"],
        "c.wav": ["e.wav"],
    }
    assert [(file.name, fault.kind) for file, fault in intake.faults] == [("d.wav", "EMPTY")]


def test_the_order_of_the_files_does_not_matter(files):
    assert take_in(files) == take_in(reversed(files))


def test_recordings_come_in_the_order_of_their_ids(files):
    ids = [recording.id for recording in take_in(files).recordings]
    assert ids == sorted(ids)


def test_what_a_lower_shard_has_is_a_copy_here_and_names_the_lowest_shard(files, tmp_path):
    twin = tmp_path / "twin.wav"
    twin.write_bytes(b"one")
    twins = [Twin(InputFile("twin.wav", 3, str(twin)), shard) for shard in ("calls-0003", "calls-0001")]
    intake = take_in(files, twins)
    assert {(copy.file.name, copy.shard) for copy in intake.copies} == {
        ("a.wav", "calls-0001"),
        ("b.wav", "calls-0001"),
    }
    assert [recording.file.name for recording in intake.recordings] == ["c.wav"]


def test_a_twin_that_differs_or_is_gone_is_nobodys_twin(files, tmp_path):
    other = tmp_path / "other.wav"
    other.write_bytes(b"eno")
    twins = [Twin(InputFile(path.name, 3, str(path)), "s-0") for path in (other, tmp_path / "gone.wav")]
    assert take_in(files, twins) == take_in(files)


def test_every_file_is_in_one_list(files):
    files.append(InputFile("pipe.wav", 0, "pipe.wav", "NOT_A_FILE: neither a file nor a folder"))
    intake = take_in(files)
    found = [file.name for recording in intake.recordings for file in (recording.file, *recording.aliases)]
    found += [copy.file.name for copy in intake.copies] + [file.name for file, _ in intake.faults]
    assert sorted(found) == sorted(file.name for file in files)
