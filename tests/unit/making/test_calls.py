"""The talk that tells phishing from ordinary calls: drawn the same each time, and nothing of what it is measured on."""

import json
import random
import re
from collections import Counter
from itertools import islice
from statistics import mean

import pytest
import yaml
from making import ROOT
from making.calls import FEWEST, GRAMMAR, HELD_OUT, LABELS, LIKE, MOST, Calls, OnePassage, draw, runs
from making.sentences import SENTENCE_END, dialogue_turns, letters_of
from write_calls import main

EACH = 2500
"""Of each label: 5,000 draws."""
RUN = 5
"""Words in a row that the held-out passages and the demo share with no draw."""

TURNS = dialogue_turns(ROOT / "resources" / "demo" / "dialogues.yaml")


@pytest.fixture(scope="module")
def calls():
    return Calls()


@pytest.fixture(scope="module")
def drawn(calls):
    passages = draw(calls, 1, EACH, without=TURNS)
    return {label: [passage for passage in passages if passage.label == label] for label in LABELS}


@pytest.fixture(scope="module")
def held_out():
    return [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]


def written(tmp_path, monkeypatch, *options):
    file = tmp_path / "calls.jsonl"
    monkeypatch.setattr("sys.argv", ["write_calls", "--out", str(file), *options])
    main()
    return file.read_bytes()


def test_the_same_seed_writes_the_same_file(tmp_path, monkeypatch):
    first = written(tmp_path, monkeypatch, "--each", "40")
    assert first == written(tmp_path, monkeypatch, "--each", "40")
    assert first != written(tmp_path, monkeypatch, "--each", "40", "--seed", "1")


def test_a_file_has_as_many_of_each_label_mixed(tmp_path, monkeypatch):
    rows = [json.loads(line) for line in written(tmp_path, monkeypatch, "--each", "60").splitlines()]
    assert Counter(row["label"] for row in rows) == dict.fromkeys(LABELS, 60)
    assert len({row["label"] for row in rows[:20]}) == 2
    assert all(row.keys() == {"text", "label", "kind"} for row in rows)


def test_there_are_skeletons_enough(calls):
    assert len(calls.skeletons["phishing"]) >= 60
    assert len(calls.skeletons["ordinary"]) >= 90


def test_passages_differ_and_every_kind_is_among_them(calls, drawn):
    for label in LABELS:
        assert len({letters_of(passage.text) for passage in drawn[label]}) == EACH
        assert {passage.kind for passage in drawn[label]} == calls.kinds(label)
        assert {passage.label for passage in drawn[label]} == {label}
    assert not {letters_of(one.text) for one in drawn["phishing"]} & {letters_of(one.text) for one in drawn["ordinary"]}


def test_passages_are_korean_as_it_is_spoken_in_two_to_six_sentences(calls):
    for label in LABELS:
        for passage, sentences in islice(calls.passages(label, 2), 1500):
            assert re.fullmatch(r"[가-힣 .,?!]+", passage.text), passage.text
            assert "  " not in passage.text
            assert FEWEST <= len(sentences) <= MOST, passage.text


def test_a_passage_heard_from_one_side_has_nothing_of_the_other(tmp_path):
    skeleton = "하나요. 둘이요.\n> 셋이요.\n>? 넷이요.\n? 다섯이요."
    file = tmp_path / "grammar.yaml"
    given = {"words": {"filler": "음"}, "phrases": {}, **{label: {"counting": skeleton} for label in LABELS}}
    file.write_text(yaml.safe_dump(given, allow_unicode=True), encoding="utf-8")
    drawn = {" ".join(sentences) for _passage, sentences in islice(Calls(file).passages("ordinary", 0), 400)}
    assert drawn == {
        "하나요. 둘이요.",
        "하나요. 둘이요. 다섯이요.",
        "하나요. 둘이요. 셋이요.",
        "하나요. 둘이요. 셋이요. 넷이요.",
        "하나요. 둘이요. 셋이요. 다섯이요.",
        "하나요. 둘이요. 셋이요. 넷이요. 다섯이요.",
    }


def test_a_slot_keeps_its_value_in_a_passage_and_its_twin_has_another():
    words = {"thing": [f"물건{k}" for k in "가나다라마바사아자차"], "family": ["김"], "given": ["해랑"]}
    slots = OnePassage(words, {"phrase": ["{thing} [있어요|있어요]."]}, random.Random(0))
    once, again, twin = slots.fill("{thing}"), slots.fill("{thing}"), {slots.fill(f"{{thing{c}}}") for c in "BCDEFGH"}
    assert once == again
    assert len(twin) > 1
    assert slots.fill("{phrase}") == f"{once} 있어요."


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("[통장|통장]를 봅니다", "통장을 봅니다"),
        ("[카드|카드]이 왔어요", "카드가 왔어요"),
        ("[우리 {child}|우리 {child}]이 왔어요", "우리 막내가 왔어요"),
        ("[가|가] 주세요", "가 주세요"),
        ("[오늘|오늘]이라도 [좋아요|좋아요]", "오늘이라도 좋아요"),
    ],
)
def test_a_particle_suits_what_was_chosen_before_it(frame, said):
    assert OnePassage({"child": ["막내"]}, {}, random.Random(0)).fill(frame) == said


def test_length_does_not_tell_the_label(drawn):
    lengths = [[len(letters_of(passage.text)) for passage in drawn[label]] for label in LABELS]
    assert all(abs(one - other) < LIKE for one, other in zip(*lengths, strict=True))
    assert abs(mean(lengths[0]) - mean(lengths[1])) < 1


def test_what_is_to_be_left_out_is_left_out(calls):
    first, sentences = next(calls.passages("ordinary", 5))
    assert first in draw(calls, 5, 100)
    kept = draw(calls, 5, 100, without=[f"{sentences[0]} "])
    assert len(kept) == 200
    assert first not in kept


def test_no_sentence_and_no_wording_of_the_demo_is_drawn(drawn):
    said = set(map(letters_of, TURNS))
    demo = set().union(*(runs(turn, RUN) for turn in TURNS))
    for passage in (one for label in LABELS for one in drawn[label]):
        assert not said & {letters_of(part) for part in SENTENCE_END.split(passage.text)}, passage.text
        assert not demo & runs(passage.text, RUN), passage.text


def test_held_out_passages_are_labelled_and_many(calls, held_out):
    assert all(row.keys() == {"text", "label", "level", "kind"} for row in held_out)
    assert len({letters_of(row["text"]) for row in held_out}) == len(held_out)
    counts = Counter((row["label"], row["level"]) for row in held_out)
    assert counts.keys() == {("phishing", "known"), ("phishing", "new"), ("ordinary", "hard"), ("ordinary", "easy")}
    for label in LABELS:
        assert sum(count for (of, _level), count in counts.items() if of == label) >= 80
    hard = counts["ordinary", "hard"] / (counts["ordinary", "hard"] + counts["ordinary", "easy"])
    assert 0.4 < hard < 0.6
    kinds = {level: {row["kind"] for row in held_out if row["level"] == level} for level in ("known", "new")}
    assert kinds["known"] <= calls.kinds("phishing")
    assert not kinds["new"] & calls.kinds("phishing")


def test_no_wording_of_a_held_out_passage_is_drawn(drawn, held_out):
    trained = set().union(*(runs(passage.text, RUN) for label in LABELS for passage in drawn[label]))
    assert len(trained) > 30_000
    for row in held_out:
        assert not runs(row["text"], RUN) & trained, row["text"]


def test_held_out_passages_say_nothing_of_the_demo(held_out):
    demo = set().union(*(runs(turn, RUN) for turn in TURNS))
    said = set(map(letters_of, TURNS))
    for row in held_out:
        assert not runs(row["text"], RUN) & demo, row["text"]
        assert not said & {letters_of(part) for part in SENTENCE_END.split(row["text"])}, row["text"]


def test_the_texts_stay_small():
    assert GRAMMAR.stat().st_size < 60 * 1024
    assert HELD_OUT.stat().st_size < 120 * 1024
