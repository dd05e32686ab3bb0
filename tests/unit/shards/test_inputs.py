"""What a source names is found once, whatever its glob matches."""

import os

import pytest
from snakemake.io import apply_wildcards
from snakemake.pathvars import Pathvars

from malgeul.shards.inputs import find_files


def test_a_file_that_a_glob_matches_more_than_once_is_found_once(tmp_path):
    (tmp_path / "calls/march").mkdir(parents=True)
    for name in ("a.wav", "march/b.wav"):
        (tmp_path / "calls" / name).touch()
    for pattern in ("**", "calls/**", "**/*", "calls/*"):
        assert sorted(file.path for file in find_files(tmp_path / pattern, ["wav"]).files) == [
            str(tmp_path / "calls/a.wav"),
            str(tmp_path / "calls/march/b.wav"),
        ]


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
        "<results>.wav",
        "<b>.wav",
        "{shard}.wav",
        "{wildcards.shard}.wav",
        "new\nline.wav",
        os.fsdecode("통화.wav".encode("euc-kr")),
    ],
)
def test_a_file_whose_name_snakemake_does_not_take_as_it_is_is_no_input_and_its_time_tells_a_change(name, tmp_path):
    file = tmp_path / name
    file.touch()
    (found,) = find_files(tmp_path, ["wav"]).files
    assert found.problem is None
    assert not found.is_input
    assert found.modified == file.stat().st_mtime_ns


@pytest.mark.parametrize("name", ["통화.wav", "-rf $(x) `y` '\" * ?.wav", "a:b|c&d;%s.wav"])
def test_any_other_file_is_an_input_and_snakemake_takes_its_name_as_it_is(name, tmp_path):
    file = tmp_path / name
    file.touch()
    (found,) = find_files(tmp_path, ["wav"]).files
    assert found.is_input
    assert found.modified is None
    assert apply_wildcards(Pathvars.with_defaults().apply(found.path), {}) == str(file)
