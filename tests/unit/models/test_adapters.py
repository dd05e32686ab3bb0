"""An adapter stands on one revision of its base: of another the weights may fit and mean something else."""

import pytest

from malgeul.models.adapters import AdapterBase, base_of
from malgeul.shards.files import write_json

OLD, NEW = "0123abcd" * 5, "89abcdef" * 5


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache with two commits of org/base, the newer of which is called main and v2."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub/models--org--base"
    for commit in (OLD, NEW):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}", encoding="utf-8")
    (folder / "refs").mkdir()
    for name in ("main", "v2"):
        (folder / "refs" / name).write_text(NEW, encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        (OLD, OLD, True),
        (OLD, NEW, False),
        (OLD, None, False),
        ("v2", None, True),
        ("main", "v2", True),
        (NEW, "main", True),
        ("gone", "main", False),
        (None, OLD, True),
    ],
    ids=["itself", "another", "not main", "no name is main", "two names", "a name and a commit", "not here", "unsaid"],
)
def test_a_base_of_the_hub_is_told_by_its_commit(said, wanted, same):
    assert AdapterBase("org/base", said).is_that_of("org/base", wanted) == same


def test_another_name_is_another_base():
    assert not AdapterBase("org/base", None).is_that_of("org/other", None)


def test_a_folder_has_no_revisions(tmp_path):
    assert AdapterBase(str(tmp_path), "v1").is_that_of(str(tmp_path), None)


def test_what_peft_says_of_the_base_is_read(tmp_path):
    assert base_of(tmp_path) is None
    write_json(tmp_path / "adapter_config.json", {"base_model_name_or_path": "org/base", "revision": OLD})
    assert str(base_of(tmp_path)) == f"org/base at {OLD}"
    write_json(tmp_path / "adapter_config.json", {"base_model_name_or_path": None, "revision": None})
    assert base_of(tmp_path) == AdapterBase("a base without a name", None)
