"""Profiles are data that the config may change rule by rule; a wrong name is said with the nearest right one."""

import pytest

from malgeul.config import ConfigError, read_config
from malgeul.text.filtering import SCREEN_MEASURES
from malgeul.text.morphology import MORPHEME_MEASURES
from malgeul.text.profiles import CORPUS_MEASURES, PROFILES, rules_of


@pytest.mark.parametrize("profile", PROFILES)
def test_every_rule_has_a_measure_and_a_name_of_its_own_and_the_cheap_ones_stand_first(profile):
    rules = PROFILES[profile]
    assert len({rule.name for rule in rules}) == len(rules)
    steps = [SCREEN_MEASURES, CORPUS_MEASURES, MORPHEME_MEASURES]
    taken = [next(number for number, measures in enumerate(steps) if rule.measure in measures) for rule in rules]
    assert taken == sorted(taken)


def test_the_default_profile_has_its_rules_in_order():
    reasons = list(dict.fromkeys(rule.reason for rule in PROFILES["malgeul"]))
    assert reasons == [
        "too_short", "too_long", "low_hangul", "symbols", "replacement_characters", "few_sentences", "repeated_lines",
        "repeated_ngrams", "repeated_characters", "bullet_lines", "ellipsis_lines", "spam_words", "duplicate",
        "near_duplicate", "few_stopwords", "no_predicates",
    ]  # fmt: skip


def test_a_threshold_of_the_config_takes_the_place_of_the_profiles():
    rules = {rule.name: rule.threshold for rule in rules_of("malgeul", {"too_short": 50, "repeated_3grams": 0.5})}
    assert (rules["too_short"], rules["repeated_3grams"], rules["repeated_2grams"]) == (50, 0.5, 0.282)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"filter": {"thresholds": {"too_shrot": 5}}}, "did you mean 'too_short'?"),
        ({"filter": {"profile": "speech", "thresholds": {"symbols": 5}}}, "'symbols' is no rule of the profile speech"),
        ({"filter": {"profile": "malguel"}}, "did you mean 'malgeul'?"),
        ({"text": {"sources": [{"path": "x", "format": "txt", "profile": "speach"}]}}, "did you mean 'speech'?"),
        (
            {"text": {"sources": [{"path": "x", "format": "txt", "thresholds": {"symbol": 1}}]}},
            "text.sources.0.thresholds: 'symbol' is no rule of the profile malgeul; did you mean 'symbols'?",
        ),
    ],
)
def test_an_unknown_profile_or_rule_is_an_error_of_the_config(raw, message):
    with pytest.raises(ConfigError) as error:
        read_config(raw)
    assert message in str(error.value)
