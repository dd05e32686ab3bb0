"""Lexicons say which words were said, where, when and by which rule."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from malgeul.speech.lexicon import (
    Passage,
    Rule,
    compile_pattern,
    find_spans,
    locate_segments,
    read_lexicon,
    read_lexicons,
)

BUNDLED = sorted((Path(__file__).parents[3] / "resources/lexicons").glob("*.yaml"))
RULES = read_lexicons(BUNDLED)


def rule(id_, pattern):
    return Rule(id_, id_.split(".")[0], compile_pattern(pattern), (), ())


def passages(text, *segments):
    """Segments given as (text, speaker), two seconds each."""
    places = locate_segments(text, [words for words, _ in segments])
    return [
        Passage(start, end, 2.0 * n, 2.0 * n + 2, speaker)
        for n, ((start, end), (_, speaker)) in enumerate(zip(places, segments, strict=True))
    ]


def test_the_bundled_lexicons_have_threats_coercion_impersonation_and_demands():
    assert {rule.category for rule in RULES} == {"threat", "coercion", "impersonation", "demand"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_bundled_rule_matches_its_examples_however_they_are_spaced_and_not_its_counterexamples(rule):
    for example in rule.examples:
        assert rule.pattern.search(example), example
        assert rule.pattern.search(example.replace(" ", "  ")), f"{example} with wide spaces"
        assert rule.pattern.search(example.replace(" ", "")), f"{example} without spaces"
    for counterexample in rule.counterexamples:
        assert not rule.pattern.search(counterexample), counterexample


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_no_bundled_rule_matches_nothing(rule):
    assert not rule.pattern.search("")
    assert not rule.pattern.search("네, 안녕하세요. 오늘 날씨가 참 좋네요.")


def test_a_span_is_its_quote_at_its_place_with_the_times_of_its_segment():
    text = "여보세요. 지금 당장 이체하셔야 합니다. 네?"
    said = passages(text, ("여보세요.", "a"), ("지금 당장 이체하셔야 합니다.", "a"), ("네?", "b"))
    spans = find_spans(text, said, RULES)
    assert {span.rule for span in spans} == {"coercion.urgency", "demand.transfer"}
    for span in spans:
        assert text[span.start : span.end] == span.quote
        assert (span.start_seconds, span.end_seconds, span.speaker) == (2.0, 4.0, "a")


def test_a_match_may_cross_segments_of_one_speaker_but_not_from_one_to_another():
    text = "인증번호를 좀 불러 주세요"
    rules = [rule("demand.code", "인증번호를 .{0,9} 불러")]
    (span,) = find_spans(text, passages(text, ("인증번호를 좀", "a"), ("불러 주세요", "a")), rules)
    assert (span.start_seconds, span.end_seconds) == (0.0, 4.0)
    assert find_spans(text, passages(text, ("인증번호를 좀", "a"), ("불러 주세요", "b")), rules) == []


def test_spans_come_in_the_order_of_the_text():
    text = "나 가 나"
    said = passages(text, (text, None))
    spans = find_spans(text, said, [rule("x.a", "가"), rule("x.b", "나")])
    assert [span.quote for span in spans] == ["나", "가", "나"]


def test_segments_are_located_in_order_whatever_stands_between_them():
    assert locate_segments("네 네\n그래요", ["네", " 네 ", "그래요"]) == [(0, 1), (2, 3), (4, 7)]
    with pytest.raises(ValueError, match="does not hold"):
        locate_segments("네", ["아니요"])


@pytest.mark.parametrize(
    "text",
    [
        "category: x\nrules: [{id: a, says: s, pattern: '(', examples: [a]}]",
        "category: x\nrules: [{id: a, says: s, pattern: a}]",
        "category: x\nrules: [{id: a, says: s, patern: a, examples: [a]}]",
        "category: x\nrules: [{id: a, says: s, pattern: a, examples: [a, b]}]",
        "category: x\nrules: [{id: a, says: s, pattern: a, examples: [a], counterexamples: [ba]}]",
        "category: x\nrules: [{id: a, says: s, pattern: 'a*', examples: [a]}]",
        "- just\n- a list",
        "category: [",
    ],
)
def test_a_file_that_is_no_lexicon_is_named(text, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.yaml is no lexicon"):
        read_lexicon(file)


def test_a_lexicon_whose_korean_was_saved_decomposed_matches_as_any_other(tmp_path):
    file = tmp_path / "own.yaml"
    text = "category: x\nrules: [{id: a, says: s, pattern: 계좌 이체, examples: [계좌이체]}]"
    file.write_text(unicodedata.normalize("NFD", text), encoding="utf-8")
    assert read_lexicon(file)[0].pattern.search("계좌 이체")


def test_an_id_that_occurs_twice_is_an_error(tmp_path):
    for name in ("a.yaml", "b.yaml"):
        rules = "category: x\nrules: [{id: same, says: s, pattern: a, examples: [a]}]"
        (tmp_path / name).write_text(rules, encoding="utf-8")
    with pytest.raises(ValueError, match=r"two rules x\.same"):
        read_lexicons(sorted(tmp_path.iterdir()))
