"""The page shows of every training how its loss fell and what was measured before and after."""

import json
import xml.etree.ElementTree as ET

import pytest

from malgeul.pages.rendering import templates
from malgeul.report.curves import HEIGHT, WIDTH, chart, trainings
from malgeul.report.page import TEMPLATES
from malgeul.shards.ledger import Ledger, Units

POINTS = [
    {"step": 10, "loss": 4.0, "seconds": 1.0},
    {"step": 20, "loss": 2.0, "seconds": 2.0},
    {"step": 20, "validation_loss": 2.5, "seconds": 2.1},
]


def test_lines_lie_within_the_chart():
    found = chart(POINTS)
    assert (found["steps"], found["low"], found["high"]) == (20, 2.0, 4.0)
    assert [line["label"] for line in found["lines"]] == ["training rows", "validation rows"]
    assert found["lines"][0]["points"] == f"{WIDTH / 2:.1f},0.0 {WIDTH:.1f},{HEIGHT:.1f}"
    assert chart(POINTS[:1]) is None
    assert chart([{"step": k, "loss": 1.0} for k in (1, 2)])["lines"][0]["points"].endswith(",0.0")


@pytest.fixture
def trained(tmp_path):
    ledger = Ledger("train", "names", Units("row", "model"))
    ledger.measure(steps=20, best_step=20, precision="float32", training_seconds=2.1, samples_per_second=None)
    folder = tmp_path / "trained/names"
    folder.mkdir(parents=True)
    (folder / "curves.json").write_text(json.dumps(POINTS), encoding="utf-8")
    return tmp_path, [ledger]


FIGURES = {
    "sets": {
        "test": {
            "rows": 48,
            "reason": None,
            "figures": {
                "after": {"loss": 2.0, "spearman": None},
                "another": {"loss": 3.0},
                "before": {"loss": 9.0, "f1": {"a": 1}},
            },
        },
        "again": {"rows": 0, "reason": "there are no test rows", "figures": {"before": None, "after": None}},
    }
}


def test_figures_are_a_column_per_model_and_what_was_not_measured_is_no_number(trained):
    results, ledgers = trained
    (before,) = trainings(results, ledgers)
    assert before["sets"] == []
    (results / "evaluated").mkdir()
    (results / "evaluated/names.json").write_text(json.dumps(FIGURES), encoding="utf-8")
    (found,) = trainings(results, ledgers)
    test, again = found["sets"]
    assert test["models"] == ["before", "after", "another"]
    assert test["measures"] == [
        {"name": "loss", "values": [9.0, 2.0, 3.0]},
        {"name": "spearman", "values": [None, None, None]},
    ]
    assert (again["measures"], again["reason"]) == ([], "there are no test rows")
    page = templates(TEMPLATES).from_string('{% import "curves.j2" as curves with context %}{{ curves.training(one) }}')
    text = page.render(one=found)
    assert ET.fromstring(text).findall(".//polyline")
    assert "loss on validation rows" in text
    assert '<td class="n">9</td><td class="n">2</td>' in text
