"""Sizes follow the strategy, the kind of document and the type of query, and may be configured."""

import pytest
from pydantic import ValidationError

from malgeul.embedding.settings import ChunkSettings
from malgeul.embedding.sizes import kind_of, sizes_of
from unit.embedding.test_statute import ARTICLES

LIMITS = {"min_chars": 90, "max_chars": 200}


def limits(kind=None, most_tokens=512, **settings):
    return [(size.shortest, size.longest) for size in sizes_of(ChunkSettings(**settings), kind, most_tokens)]


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({}, "case", [(400, 800)]),
        ({"min_chars": 100, "max_chars": 300}, None, [(100, 300)]),
        ({"strategy": "dynamic"}, "statute", [(300, 1000)]),
        ({"strategy": "dynamic"}, "case", [(500, 2000)]),
        ({"strategy": "dynamic"}, "decision", [(400, 1500)]),
        ({"strategy": "dynamic"}, None, [(400, 1500)]),
        ({"strategy": "dynamic", "query_type": "precise"}, "case", [(500, 1250)]),
        ({"strategy": "dynamic", "query_type": "broad"}, "case", [(1250, 2000)]),
        ({"strategy": "dynamic", "kinds": {"notice": {"min_chars": 90, "max_chars": 200}}}, "notice", [(90, 200)]),
        ({"strategy": "dynamic", "kinds": {"notice": {"min_chars": 90, "max_chars": 200}}}, "case", [(500, 2000)]),
        ({"strategy": "dynamic", "kinds": {"case": {"min_chars": 90, "max_chars": 200}}}, "case", [(90, 200)]),
        ({"strategy": "hybrid"}, "case", [(400, 800), (800, 1500), (1500, 2500)]),
        ({"strategy": "tokens"}, None, [(256, 512)]),
        ({"strategy": "tokens", "max_tokens": 200, "min_tokens": 50}, None, [(50, 200)]),
    ],
)
def test_limits(settings, kind, expected):
    assert limits(kind, **settings) == expected


@pytest.mark.parametrize("strategy", ["standard", "dynamic", "hybrid", "tokens"])
def test_what_another_strategy_reads_changes_no_size(strategy):
    others = {"min_chars": 100, "max_chars": 300, "overlap_chars": 9, "query_type": "broad", "other": LIMITS}
    others |= {"min_tokens": 50, "max_tokens": 200, "overlap_tokens": 9, "kinds": {"case": LIMITS}}
    chosen = ChunkSettings(strategy=strategy, **others)
    read = chosen.model_dump(exclude=chosen.idle())
    for kind in ("case", None):
        assert sizes_of(ChunkSettings(**read), kind, 512) == sizes_of(chosen, kind, 512)
    assert chosen.idle() == {key for key in others if limits_change_by(strategy, key, others[key]) is False}


def limits_change_by(strategy, key, value):
    """Tell whether another value of a key gives other sizes."""
    before, after = ChunkSettings(strategy=strategy), ChunkSettings(strategy=strategy, **{key: value})
    return any(sizes_of(before, kind, 512) != sizes_of(after, kind, 512) for kind in ("case", None))


def test_overlap_is_a_share_of_the_chunk_before_in_strategy_dynamic():
    (statute,) = sizes_of(ChunkSettings(strategy="dynamic"), "statute", 512)
    (case,) = sizes_of(ChunkSettings(strategy="dynamic"), "case", 512)
    assert (statute.shared(1000), statute.shared(400), case.shared(2000)) == (150, 60, 600)


def test_sizes_say_what_they_are_for():
    sizes = sizes_of(ChunkSettings(strategy="hybrid"), None, 512)
    assert [(size.category, size.query_type) for size in sizes] == [
        ("small", "precise"),
        ("medium", "balanced"),
        ("large", "broad"),
    ]
    (size,) = sizes_of(ChunkSettings(strategy="dynamic", query_type="broad"), None, 512)
    assert (size.category, size.query_type) == ("large", "broad")
    (size,) = sizes_of(ChunkSettings(strategy="tokens"), None, 512)
    assert (size.unit, size.category, size.query_type) == ("tokens", "tokens", None)
    (size,) = sizes_of(ChunkSettings(), None, 512)
    assert (size.unit, size.category, size.query_type) == ("chars", "standard", None)


def test_a_model_that_takes_less_decides_in_tokens():
    assert limits(strategy="tokens", most_tokens=128) == [(64, 128)]
    assert limits(strategy="tokens", most_tokens=8192) == [(256, 512)], "one that takes more does not"
    assert limits(strategy="tokens", overlap_tokens=64, most_tokens=128) == [(64, 128)]
    with pytest.raises(ValueError, match=r"chunk.max_tokens is 256, but the model takes 128 tokens"):
        limits(strategy="tokens", max_tokens=256, most_tokens=128)
    with pytest.raises(ValueError, match=r"chunk.overlap_tokens \(65\) half of it at most"):
        limits(strategy="tokens", overlap_tokens=65, most_tokens=128)
    with pytest.raises(ValueError, match=r"chunk.min_tokens \(128\) must be less than chunk.max_tokens \(128\)"):
        limits(strategy="tokens", min_tokens=128, most_tokens=128)


def test_a_text_that_plainly_is_a_statute_is_one_unless_its_kind_is_stated():
    assert kind_of(ARTICLES, None) == "statute"
    assert kind_of(ARTICLES, "case") == "case"
    assert kind_of("그는 갔다.", None) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"min_chars": 800},
        {"overlap_chars": 401},
        {"max_tokens": 64, "overlap_tokens": 33},
        {"kinds": {"statute": {"min_chars": 500, "max_chars": 400}}},
        {"other": {"min_chars": 100, "max_chars": 400, "overlap": 0.6}},
    ],
)
def test_limits_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValidationError):
        ChunkSettings(**settings)
