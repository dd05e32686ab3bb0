"""A model's card says what was measured and what it was made of, from files alone."""

import json
import sys

import pytest
import write_card
import yaml
from making import ROOT


@pytest.fixture
def made(tmp_path, monkeypatch):
    for kind, (measure, _label) in write_card.AXES.items():
        training = tmp_path / kind
        training.mkdir()
        points = [{"step": 20, "seconds": 30, "loss": 5.0}, {"step": 40, "seconds": 120, "loss": 1.0, measure: 0.25}]
        (training / "curves.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "figures.json").write_text('{"seen": {"cer": 0.0421}, "times_within_0.3_s": 0.93}')
    config = yaml.safe_load((ROOT / "resources" / "models" / "config.yaml").read_text(encoding="utf-8"))

    def make(kind, courses=1):
        out = tmp_path / "made" / f"{kind}-ko-demo"
        options = {
            "kind": kind, "model": tmp_path / "model", "figures": tmp_path / "figures.json",
            "training": [tmp_path / kind] * courses, "config": json.dumps(config), "out": out,
        }  # fmt: skip
        values = {name: value if isinstance(value, list) else [value] for name, value in options.items()}
        given = [word for name, words in values.items() for word in (f"--{name}", *map(str, words))]
        monkeypatch.setattr(sys, "argv", ["write_card", *given])
        write_card.main()
        return out

    return make


@pytest.mark.parametrize("kind", list(write_card.AXES))
def test_card_plot_and_weights_lie_in_one_folder(made, kind):
    out = made(kind)
    assert (out / "model.safetensors").read_bytes() == b"weights"
    assert (out / "curves.svg").read_text().startswith("<?xml")
    card = (out / "README.md").read_text(encoding="utf-8")
    for line in (f"# {kind}-ko-demo", "| seen: cer | 0.0421 |", "| times_within_0.3_s | 0.93 |", "| steps done | 40 |",
                 "| minutes | 2 |", "| seed | 0 |"):  # fmt: skip
        assert line in card


def test_every_course_has_its_plot(made):
    out = made("speech", courses=2)
    assert [file.name for file in sorted(out.glob("*.svg"))] == ["curves-1.svg", "curves-2.svg"]
    card = (out / "README.md").read_text(encoding="utf-8")
    for line in ("](curves-1.svg)", "](curves-2.svg)", "| steps done | 40 + 40 |", "| minutes | 2 + 2 |"):
        assert line in card


def test_the_speech_model_says_what_its_figures_are_not(made):
    assert "say nothing of people's speech" in (made("speech") / "README.md").read_text(encoding="utf-8")
