"""FineWeb-2's measures over words, against a plain reading of their definitions."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul.text.words import WORD_MEASURES, Words

TEXTS = st.lists(st.sampled_from(["가", "나", "다라", "마", "바사아", ".", "10"]), max_size=40)


def top_share(text, words, n):
    grams = [" ".join(words[k : k + n]) for k in range(len(words) - n + 1)]
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count / len(text)


def repeated_share(text, words, n):
    seen, repeated, at = set(), 0, 0
    while at <= len(words) - n:
        gram = tuple(words[at : at + n])
        if gram in seen:
            repeated += len("".join(gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return repeated / len(text)


@given(words=TEXTS, n=st.integers(2, 10))
def test_ngrams_are_counted_as_they_are_defined(words, n):
    text = " ".join(words)
    counted = Words(text, words)
    if text:
        assert counted.repeated_share(n) == pytest.approx(repeated_share(text, words, n))
    if len(words) >= n:
        assert counted.top_share(n) == pytest.approx(top_share(text, words, n))


def test_other_measures():
    words = Words("# 문서를 다 읽… 3 …\n끝", ["#", "문서", "를", "다", "읽", "…", "3", "…", "끝"])
    measured = {name: measure(words) for name, measure in WORD_MEASURES.items()}
    assert measured["words"] == 6
    assert measured["word_length"] == pytest.approx(7 / 6)
    assert measured["hashes_per_word"] == pytest.approx(1 / 9)
    assert measured["ellipses_per_word"] == pytest.approx(2 / 9)
    assert measured["line_breaks_per_word"] == pytest.approx(1 / 9)
    assert measured["words_with_letters"] == pytest.approx(5 / 9)
    assert measured["written_stopwords"] == 2


def test_of_nothing_nothing_is_measured():
    assert {measure(Words("", [])) for measure in WORD_MEASURES.values()} == {None, 0}
