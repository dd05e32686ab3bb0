"""Scorers: what each measures, and the stage that asks them of documents that would stay."""

import json
import shutil

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import ValidationError

import score_text
from malgeul.models.classifier import load_classifiers
from malgeul.models.devices import cpu
from malgeul.shards.ledger import Ledger, Units, read_ledger
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.text.duplicates import DUPLICATES
from malgeul.text.scorers import load_classifier, load_language, load_overlap, load_own, read_items
from malgeul.text.settings import (
    LANGUAGES,
    ClassifierSettings,
    FilterSettings,
    LanguageSettings,
    OverlapSettings,
    OwnSettings,
)
from screen_text import screen_text
from unit.text.conftest import jsonl, prose

ITEM = "대한민국의 주권은 국민에게 있고 모든 권력은 국민으로부터 나온다"


def test_language_tells_korean_from_others():
    korean, english, japanese, nothing = load_language(LanguageSettings(kind="language"))(
        [prose(1), "The sea was calm that morning, and nobody spoke.", "今日は海がとても静かだった。", " "]
    )
    assert korean > 0.99
    assert english < 0.1 > japanese
    assert nothing is None


def test_the_languages_of_a_config_are_those_that_are_told_apart():
    assert sorted(LanguageIdentifier.from_model_file(MODEL_FILE).labels) == LANGUAGES.split()
    with pytest.raises(ValueError, match=r"knows no language 'kor'; it knows .*ko"):
        LanguageSettings(kind="language", language="kor")


def test_overlap_is_the_largest_share_of_an_item():
    settings = OverlapSettings(kind="overlap", files=["x.txt"], words=3)
    score, counts = load_overlap(settings, [ITEM, "짧은 것"])
    assert counts == {"items": 1, "items_too_short": 1}
    half = " ".join(ITEM.split()[:5])
    whole, part, none = score([f"시험 문제에 이렇게 나왔다: {ITEM}.", f"{half} 그 뒤는 다르다", prose(1)])
    n = len(ITEM.split()) - 2
    assert (whole, none) == (1.0, 0.0)
    assert part == pytest.approx(3 / n)


def test_test_sets_are_read_and_a_broken_line_is_named(tmp_path):
    file = tmp_path / "set.jsonl"
    file.write_text(jsonl({"question": "무엇인가", "answer": "답"}).decode() + "\n{broken\n", encoding="utf-8")
    items = read_items(file, ["question", "answer"])
    assert [next(items), next(items)] == ["무엇인가", "답"]
    with pytest.raises(ValueError, match=r"set\.jsonl, line \d: no JSON object with question, answer"):
        list(items)
    plain = tmp_path / "set.txt"
    plain.write_text("하나\n\n둘\n", encoding="utf-8")
    assert [line.strip() for line in read_items(plain, [])] == ["하나", "둘"]


def own(tmp_path, body):
    file = tmp_path / "mine.py"
    file.write_text(body, encoding="utf-8")
    return load_own(OwnSettings(kind="own", file=str(file), options={"letter": "가"}), file)


def test_a_program_of_the_users_scores(tmp_path):
    score = own(
        tmp_path, "def load(letter):\n    return lambda texts: [t.count(letter) or float('nan') for t in texts]\n"
    )
    assert score(["가나가", "나"]) == [2.0, None]


def test_a_program_may_have_dataclasses(tmp_path):
    body = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n@dataclass\nclass Rule:\n    x: int\n"
        "def load(letter):\n    return lambda texts: [Rule(1).x for _ in texts]\n"
    )
    assert own(tmp_path, body)(["가"]) == [1.0]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("x = 1\n", TypeError, "has no function load"),
        ("def load(letter):\n    return 3\n", TypeError, "has no function load"),
        ("def load(letter):\n    return lambda texts: [1.0]\n", ValueError, "gave 1 scores for 2 texts"),
    ],
)
def test_a_program_that_does_not_fit_is_told_so(tmp_path, body, error, message):
    with pytest.raises(error, match=message):
        own(tmp_path, body)(["가", "나"])


@pytest.fixture(scope="module")
def judge_model(tmp_path_factory):
    """A BERT with random weights that tells 'good' from 'bad'."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from malgeul import ROOT

    folder = tmp_path_factory.mktemp("judge")
    tokenizer = AutoTokenizer.from_pretrained(str(ROOT / "resources/models/tokenizer-ko-demo"))
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1}, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(str(folder))
    return folder


def classifier(folder, **settings):
    chosen = ClassifierSettings(kind="classifier", model=str(folder), **settings)
    return load_classifier(
        chosen, load_classifiers({"it": chosen}, cpu(), 1, Ledger("score", "x", Units("document", "document")))["it"]
    )


def test_a_classifier_gives_the_labels_probability_whatever_the_batch(judge_model):
    texts = [prose(k)[: 40 * (k + 1)] for k in range(6)]

    def scores(**settings):
        return classifier(judge_model, **settings)(texts)

    good = scores(label="good")
    assert scores(label="good", batch_tokens=1) == pytest.approx(good, abs=1e-5)
    assert [a + b for a, b in zip(good, scores(label="bad"), strict=True)] == pytest.approx([1.0] * 6, abs=1e-5)
    assert len({round(score, 4) for score in good}) > 1
    with pytest.raises(ValueError, match="has no label fine; it has bad, good"):
        scores(label="fine")


def test_labels_of_a_multi_label_model_do_not_exclude_each_other(judge_model, tmp_path):
    folder = tmp_path / "several"
    shutil.copytree(judge_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))

    def score(where, label):
        return classifier(where, label=label)([prose(1)])[0]

    odds = {label: score(folder, label) / (1 - score(folder, label)) for label in ("good", "bad")}
    assert score(judge_model, "good") == pytest.approx(odds["good"] / (odds["good"] + odds["bad"]), abs=1e-5)


def test_a_model_that_gives_no_number_is_an_error(judge_model, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(judge_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] * float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="broken gave nan for a text"):
        classifier(folder, label="good")([prose(1)])


def test_the_config_knows_each_kind_and_tells_what_is_wrong():
    chosen = {"korean": {"kind": "language", "minimum": 0.5}, "mine": {"kind": "own", "file": "a.py"}}
    assert [type(scorer) for scorer in FilterSettings(scorers=chosen).scorers.values()] == [
        LanguageSettings,
        OwnSettings,
    ]
    limits = {"minimum": 0.6, "maximum": 0.5}
    for wrong in (
        {"Korean!": {"kind": "language"}},
        {"a": {"kind": "sound"}},
        {"a": {"kind": "own", "file": "a.sh"}},
        {"too_short": {"kind": "language"}},
        {"a": {"kind": "language", **limits}},
    ):
        with pytest.raises(ValidationError):
            FilterSettings(scorers=wrong)


@pytest.fixture
def score(ingest, make_job, results):
    """Ingest and screen texts, then score them; returns the rows and the job."""
    texts = {str(k): prose(k) for k in range(5)} | {"short": "짧다.", "twice": prose(1)}

    def run(scorers, measure="needed", thresholds=None, files=()):
        ingest({"a.jsonl": jsonl(*({"id": name, "text": text} for name, text in texts.items()))})
        text = [results / "text/web-0000.parquet"]
        judged = {"profile": "malgeul", "thresholds": {}, "measure": "needed"}
        screened = {"screened": "screened/web-0000.parquet"}
        make_job("screen", "web-0000", screened, ledgers=["ingest/web-0000.json"], inputs={"text": text}, **judged).run(
            screen_text
        )
        with TableWriter(results / "duplicates.parquet", DUPLICATES) as table:
            found = {"shard": "web-0000", "id": "twice", "row": 6, "kind": "duplicate", "duplicate_of": "web/1"}
            table.write(found)
        inputs = {
            "text": text,
            "screened": [results / "screened/web-0000.parquet"],
            "duplicates": [results / "duplicates.parquet"],
            "scorers": list(files),
        }
        job = make_job(
            "score",
            "web-0000",
            {"scores": "scores/web-0000.parquet"},
            ledgers=["screen/web-0000.json"],
            inputs=inputs,
            scorers=scorers,
            measure=measure,
            profile="malgeul",
            thresholds=thresholds or {},
        )
        job.run(score_text.score_text)
        return {row["id"]: dict(row["scores"]) for row in read_rows(job.outputs["scores"])}, job

    return run


def test_documents_that_would_stay_are_scored_and_all_are_accounted_for(score):
    rows, job = score({"korean": {"kind": "language", "language": "ko"}})
    assert [name for name, scores in rows.items() if not scores] == ["short", "twice"]
    assert all(rows[str(k)]["korean"] > 0.99 for k in range(5))
    ledger = read_ledger(job.outputs["ledger"])
    assert ledger.imbalance() is None
    assert len(rows) == 7
    rows, _ = score({"korean": {"kind": "language", "language": "ko"}}, measure="all")
    assert all(scores for scores in rows.values())


def test_a_duplicate_that_the_config_keeps_is_scored_too(score):
    rows, _ = score({"korean": {"kind": "language", "language": "ko"}}, thresholds={"duplicate": 1})
    assert [name for name, scores in rows.items() if not scores] == ["short"]


def test_a_killed_stage_asks_again_only_for_what_is_missing(score, tmp_path, monkeypatch):
    monkeypatch.setattr(score_text, "BATCH", 2)
    calls = tmp_path / "calls"
    file = tmp_path / "mine.py"
    file.write_text(
        "import pathlib\n"
        "def load(calls):\n"
        "    def score(texts):\n"
        "        with open(calls, 'a') as out:\n"
        "            out.write('x' * len(texts))\n"
        "        if pathlib.Path(calls).stat().st_size == 4:\n"
        "            raise KeyboardInterrupt\n"
        "        return [len(text) for text in texts]\n"
        "    return score\n",
        encoding="utf-8",
    )
    scorers = {"mine": {"kind": "own", "file": str(file), "options": {"calls": str(calls)}}}
    with pytest.raises(KeyboardInterrupt):
        score(scorers)
    assert len(calls.read_text()) == 4
    rows, _ = score(scorers)
    assert json.dumps(rows["0"]) == json.dumps({"mine": float(len(prose(0)))})
    assert len(calls.read_text()) == 4 + 3


def test_a_changed_program_is_asked_again_for_all(score, tmp_path, monkeypatch):
    monkeypatch.setattr(score_text, "BATCH", 2)
    file = tmp_path / "mine.py"
    scorers = {"mine": {"kind": "own", "file": str(file), "options": {}}}
    file.write_text(
        "def load():\n"
        "    def score(texts):\n"
        "        if any('2번째' in text for text in texts):\n"
        "            raise RuntimeError('wrong')\n"
        "        return [1] * len(texts)\n"
        "    return score\n",
        encoding="utf-8",
    )
    with pytest.raises(RuntimeError, match="wrong"):
        score(scorers, files=[file])
    file.write_text("def load():\n    return lambda texts: [2] * len(texts)\n")
    rows, _ = score(scorers, files=[file])
    assert {scores["mine"] for scores in rows.values() if scores} == {2.0}


def test_the_stage_loads_a_classifier_and_names_its_device(score, judge_model):
    chosen = ClassifierSettings(kind="classifier", model=str(judge_model), label="good").model_dump(mode="json")
    rows, job = score({"quality": {key: chosen[key] for key in chosen if key not in {"minimum", "maximum"}}})
    assert all(0 < rows[str(k)]["quality"] < 1 for k in range(5))
    ledger = read_ledger(job.outputs["ledger"])
    assert ledger.device["kind"] in {"cpu", "cuda"}
    load = ledger.measured["load"]
    assert (load["models"], load["bytes"]) == (1, (judge_model / "model.safetensors").stat().st_size)
