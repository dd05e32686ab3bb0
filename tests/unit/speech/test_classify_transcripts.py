"""The rule classify_transcripts: every passage of a transcript is seen whole, and nothing is classified twice."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

import classify_transcripts as script
from malgeul import ROOT
from malgeul.models.classifier import Classifier
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Tally, Units
from malgeul.shards.tables import read_rows
from malgeul.speech.classes import likeliest, named, pieces_of
from unit.speech.conversations import proofs


def transcript(name, texts):
    segments = [{"start": 2.0 * k, "end": 2.0 * k + 1.5, "text": text} for k, text in enumerate(texts)]
    return {"id": name, "text": " ".join(texts), "segments": segments}


SAID = {
    "a": ["여보세요, 검찰청입니다.", "계좌가 범죄에 쓰였습니다.", "지금 바로 현금을 찾아 두세요."],
    "b": ["내일 세 시에 뵙겠습니다."],
    "c": [],
    "d": ["네 " * 100 + "알겠습니다."],
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    tokenizer = AutoTokenizer.from_pretrained(str(ROOT / "resources/models/tokenizer-ko-demo"))
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label={0: "ordinary", 1: "phishing"},
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def results(tmp_path):
    results = tmp_path / "results"
    for name, texts in SAID.items():
        write_json(results / f"transcripts/calls-0000/{name}.json", transcript(name, texts))
    write_ledger(results)
    return results


def write_ledger(results):
    ledger = Ledger("transcribe", "calls-0000", Units("channel", "recording"), given=Tally.of(SAID))
    ledger.outputs = proofs(results, (results / "transcripts/calls-0000").iterdir())
    write_json(results / "ledger/transcribe/calls-0000.json", ledger.to_json())


def run(results, judge, **more):
    job = Job(
        inputs={
            "transcripts": [results / "transcripts/calls-0000"],
            "model": [],
            "ledger": [results / "ledger/transcribe/calls-0000.json"],
        },
        outputs={
            "classes": results / "classes/calls-0000.parquet",
            "ledger": results / "ledger/classify/calls-0000.json",
        },
        params={"classifiers": {"fraud": {"model": str(judge), "longest": 24, **more}}},
        units=Units("recording", "recording"),
        identity={"fraud": {"model": "judge", "digest": "0f"}},
    )
    try:
        job.run(script.classify_transcripts)
    finally:
        job.journal.close()
    return list(read_rows(results / "classes/calls-0000.parquet")), job.ledger


def test_every_passage_has_the_probabilities_of_all_labels_with_its_place_and_time(results, judge):
    rows, ledger = run(results, judge)
    assert (ledger.taken.n, ledger.given.n, ledger.imbalance()) == (4, 4, None)
    for row in rows:
        assert row["model"] == "judge@0f"
        text = " ".join(SAID[row["recording"]])
        assert text[row["start"] : row["end"]].strip()
        assert [one["label"] for one in row["probabilities"]] == ["ordinary", "phishing"]
        assert sum(one["probability"] for one in row["probabilities"]) == pytest.approx(1, abs=1e-5)
    for name, texts in SAID.items():
        own = [row for row in rows if row["recording"] == name]
        text = " ".join(texts)
        seen = "".join(text[row["start"] : row["end"]] for row in own)
        assert seen.replace(" ", "") == text.replace(" ", "")
        if name == "a":
            assert (own[0]["start_seconds"], own[-1]["end_seconds"]) == (0.0, 5.5)
        if name == "d":
            assert len(own) > 4, "what the model cannot see at once is parted"


def test_only_a_changed_transcript_is_classified_again(results, judge, monkeypatch):
    before, _ = run(results, judge)
    asked = []
    ask = Classifier.__call__
    monkeypatch.setattr(Classifier, "__call__", lambda self, texts: asked.extend(texts) or ask(self, texts))
    write_json(results / "transcripts/calls-0000/b.json", transcript("b", ["모레 뵙겠습니다."]))
    write_ledger(results)
    after, ledger = run(results, judge)
    assert asked == ["모레 뵙겠습니다."]
    assert ledger.reused == 3
    assert [row for row in after if row["recording"] != "b"] == [row for row in before if row["recording"] != "b"]


def test_another_setting_or_a_kill_loses_nothing(results, judge, monkeypatch):
    monkeypatch.setattr(script, "TOGETHER", 1)
    expected, _ = run(results, judge, longest=20)
    ask, asked = Classifier.__call__, []

    def dying(self, texts):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(texts)
        return ask(self, texts)

    monkeypatch.setattr(Classifier, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        run(results, judge, longest=18)
    monkeypatch.setattr(Classifier, "__call__", lambda self, texts: asked.append(texts) or ask(self, texts))
    run(results, judge, longest=18)
    assert len(asked) == 3, "three recordings are not silent"
    assert run(results, judge, longest=20)[0] == expected


@given(st.lists(st.text("가나 \n다", min_size=1, max_size=30).filter(str.strip), max_size=8), st.integers(1, 12))
def test_pieces_hold_everything_in_order_within_the_limit(texts, most):
    said = transcript("x", [text.strip() for text in texts])
    pieces = list(pieces_of(said, lambda text: len(text.split()), most))
    joined = " ".join(said["text"][p.start : p.end] for p in pieces)
    assert joined.split() == said["text"].split()
    assert all(len(said["text"][p.start : p.end].split()) <= most for p in pieces)


def test_a_recording_has_the_likeliest_passage_of_every_label():
    def row(start, end, fraud):
        return {
            "classifier": "fraud", "model": "m", "start": start, "end": end, "start_seconds": 0.0, "end_seconds": 1.0,
            "probabilities": [{"label": "yes", "probability": fraud}, {"label": "no", "probability": 1 - fraud}],
        }  # fmt: skip

    found = likeliest("네 계좌로 끊습니다", [row(0, 1, 0.1), row(2, 5, 0.9), row(6, 10, 0.9)])
    assert [(one["label"], one["probability"], one["quote"]) for one in found] == [
        ("yes", 0.9, "계좌로"),
        ("no", 0.9, "네"),
    ]
    assert likeliest("", []) == []


def test_a_model_is_named_with_its_content_and_its_adapter():
    adapter = {"model": "lora", "digest": "12"}
    assert named({"model": "org/base", "commit": "ab", "quantization": "int8", "adapter": adapter}) == (
        "org/base@ab int8 with lora@12"
    )
