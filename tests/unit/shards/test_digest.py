"""A rule's result depends on the modules that its script imports (law 7)."""

import pytest

from malgeul.shards import digest


@pytest.fixture
def root(tmp_path, monkeypatch):
    package = tmp_path / "malgeul"
    for folder in ("text", "audio", "shards", "models"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "text" / "filter.py").write_text("from malgeul.text import rules\nX = 1\n")
    (package / "text" / "rules.py").write_text("Y = 1\n")
    (package / "audio" / "wave.py").write_text("Z = 1\n")
    (package / "shards" / "job.py").write_text("J = 1\n")
    for name in ("devices", "sampling", "profiling"):
        (package / "models" / f"{name}.py").write_text("D = 1\n")
    (tmp_path / "filter_text.py").write_text(
        "from malgeul.shards import job\nfrom malgeul.models import devices, profiling\n"
        "from malgeul.models.sampling import sampled\n\ndef f():\n    from malgeul.text import filter\n"
    )
    monkeypatch.setattr(digest, "SCRIPTS", tmp_path)
    return tmp_path


def fresh(script="filter_text"):
    digest.code_digest.cache_clear()
    digest._parse.cache_clear()
    return digest.code_digest(script)


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("text/filter.py", True),
        ("text/rules.py", True),
        ("models/devices.py", True),
        ("audio/wave.py", False),
        ("shards/job.py", False),
        ("models/sampling.py", False),
        ("models/profiling.py", False),
    ],
)
def test_only_reached_modules_count(root, module, counts):
    before = fresh()
    file = root / "malgeul" / module
    file.write_text(file.read_text() + "W = 2\n")
    assert (fresh() != before) is counts


def test_comments_and_docstrings_do_not_count(root):
    before = fresh()
    file = root / "malgeul" / "text" / "rules.py"
    file.write_text('"""Rules."""\n# why\nY = 1\n')
    assert fresh() == before
