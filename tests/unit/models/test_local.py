"""Where a model is: in a folder of the user's, or in the hub's cache."""

from malgeul.models.local import model_folder, resolve


def test_an_empty_name_is_not_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert resolve(".") is not None
    assert resolve("") is None
    assert model_folder("") is None
