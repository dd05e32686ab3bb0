"""Measures by hand-counted cases."""

import numpy as np
import pytest
from making.measures import bare, character_error_rate, share_within, spearman


def test_spaces_punctuation_and_unicode_forms_do_not_count():
    assert bare("네, 한빛은행 입니다.") == "네한빛은행입니다"
    assert character_error_rate(["가나 다라."], ["가 나다,라"]) == 0


def test_edits_are_counted_over_all_texts_together():
    assert character_error_rate(["가나다라", "마바"], ["가나라", "마사"]) == pytest.approx(2 / 6)
    assert character_error_rate(["가나"], ["가 나"], strip=False) == pytest.approx(1 / 2)


def test_text_where_nothing_was_said_is_an_error():
    assert character_error_rate(["가", ""], ["가", "나다"]) == 2


def test_share_within_counts_ties_against_the_right_answer():
    scores = np.array([[3, 2, 1], [2, 2, 1], [9, 8, 7]])
    assert share_within(scores, 1) == pytest.approx(1 / 3)
    assert share_within(scores, 2) == pytest.approx(2 / 3)
    assert share_within(scores, 3) == 1


def test_spearman_is_the_correlation_of_mean_ranks():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(0.9486833)
