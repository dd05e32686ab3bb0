"""What a source names is found once, whatever its glob matches."""

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
