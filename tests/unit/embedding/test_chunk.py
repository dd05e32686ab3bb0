"""Nothing lost, nothing empty, nothing over a limit, offsets exact, for any document."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malgeul.embedding.chunk import HYBRID, Size, chunks_of, sizes_of
from malgeul.embedding.settings import ChunkSettings

TEXT = st.text(
    alphabet=st.one_of(st.sampled_from("가나다라마 \n.?!。\t제1조①"), st.characters(exclude_categories=["Cs"])),
    max_size=900,
)


def count(text):
    """Tokens of a model that splits words into pairs of characters, with two special tokens."""
    return 2 + sum((len(word) + 1) // 2 for word in text.split())


@settings(max_examples=400, deadline=None)
@given(TEXT, st.integers(20, 200), st.integers(0, 60), st.integers(6, 64))
def test_invariants(text, longest, overlap, most_tokens):
    size = Size(longest, min(overlap, longest // 2))
    chunks = list(chunks_of(text, size, count, most_tokens))
    covered = set()
    for chunk in chunks:
        piece = text[chunk.start : chunk.end]
        assert piece.strip()
        assert len(piece) <= longest
        assert chunk.tokens == count(piece) <= most_tokens
        covered.update(range(chunk.start, chunk.end))
    assert all(k in covered for k, character in enumerate(text) if not character.isspace())
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
        assert before.end - after.start <= size.overlap


def test_sentences_stay_whole_where_they_fit():
    text = "첫 문장이다. 둘째 문장은 조금 더 길다. 셋째 문장이다."
    chunks = [text[c.start : c.end] for c in chunks_of(text, Size(26, 0), count, 512)]
    assert chunks == ["첫 문장이다. 둘째 문장은 조금 더 길다.", "셋째 문장이다."]


def test_a_paragraph_over_the_limit_is_split_and_not_dropped():
    text = "가" * 5000
    chunks = list(chunks_of(text, Size(800, 80), count, 512))
    assert "".join(text[c.start : c.end] for c in chunks) == text


@pytest.mark.parametrize(
    ("strategy", "kind", "longest"),
    [
        ("standard", "case", [800]),
        ("dynamic", "statute", [1000]),
        ("dynamic", "case", [2000]),
        ("hybrid", "case", None),
    ],
)
def test_strategies(strategy, kind, longest):
    sizes = sizes_of(ChunkSettings(strategy=strategy), {"kind": kind})
    assert [size.longest for size in sizes] == (longest or [size.longest for size in HYBRID])
