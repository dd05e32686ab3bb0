"""What the start of a run refuses, and does to the results of the last one; a dry run does nothing."""

import pytest

from malgeul import ROOT, startup
from malgeul.shards.files import write_json
from malgeul.shards.locks import OWNER


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Give a function that starts a run with a text, as the Snakefile does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OWNER, "0")
    monkeypatch.setattr(startup, "_held", [])
    (tmp_path / "a.txt").write_text("글")
    config = {"run": "small", "text": {"sources": [{"path": "a.txt", "format": "txt"}]}}
    return lambda *argv: startup.start(config, ROOT, main=True, argv=list(argv))


def test_a_model_that_is_gone_from_where_it_was_is_fetched_again(begin, tmp_path, capsys):
    models = tmp_path / "results/small/models"
    (models / "quantized").mkdir(parents=True)
    (models / "quantized/cut.json").write_text('{"folder": ')
    for name, folder in (("there", tmp_path), ("gone", tmp_path / "gone")):
        write_json(models / f"{name}.json", {"folder": str(folder)})
    begin("--cores", "1", "--dry-run")
    assert {file.name for file in models.rglob("*.json")} == {"there.json", "gone.json", "cut.json"}
    begin("--cores", "1")
    assert {file.name for file in models.rglob("*.json")} == {"there.json"}
    assert "gone.json names no model that is there; it is had again" in capsys.readouterr().err


def test_a_cap_of_memory_that_is_none_is_told_before_the_first_job(begin, tmp_path, monkeypatch):
    monkeypatch.setenv("MAX_MEMORY_GB", "much")
    begin("--cores", "1", "--dry-run")
    with pytest.raises(SystemExit, match="MAX_MEMORY_GB='much' is no number of gigabytes over 0"):
        begin("--cores", "1")
    assert not (tmp_path / "results").exists()
