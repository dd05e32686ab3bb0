"""Documents of HPLT are decided by what they bring, before anything is measured; others are not touched by it."""

import json

import pytest

from malgeul.text.filtering import screen
from malgeul.text.hplt import META_MEASURES
from malgeul.text.profiles import rules_of
from unit.text.conftest import prose

GOOD = {
    "lang": ["kor_Hang", "jpn_Jpan"], "prob": [0.98, 0.01], "doc_scores": [8.1, 10.0, 7.5], "filter": "keep",
    "web-register": {"MT": 0.02, "NA": 0.9}, "robots": "allowed", "u": "https://example.com",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"filter": "word_avg_3.1"}, "hplt_dropped"),
        ({"doc_scores": [4.9, 10.0]}, "hplt_score"),
        ({"lang": ["jpn_Jpan", "kor_Hang"], "prob": [0.6, 0.3]}, "not_korean"),
        ({"lang": ["jpn_Jpan"], "prob": [0.99]}, "not_korean"),
        ({"web-register": {"MT": 0.7}}, "machine_translation"),
    ],
)
def test_a_document_goes_for_what_it_brings(change, reason):
    verdict = screen(prose(), json.dumps(GOOD | change), rules_of("hplt", {}), measure_all=False)
    assert verdict.reason == reason
    if reason:
        assert "characters" not in verdict.features


@pytest.mark.parametrize("name", META_MEASURES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"lang": "ko", "prob": None, "doc_scores": [], "filter": 3, "web-register": []},
        {"lang": ["kor_Hang"], "prob": [10**400], "doc_scores": [10**400], "web-register": {"MT": -(10**400)}},
    ],
)
def test_what_is_not_there_is_not_measured(name, fields):
    assert META_MEASURES[name](fields) is None
