"""Filter profiles: which measure of a document is compared with which threshold, in which order.

A profile is data: a tuple of rules over the measures of :mod:`malgeul.text.measures`, :mod:`malgeul.text.hplt` and
:mod:`malgeul.text.morphology`. First stand the rules on the document alone, then those on duplicates among what is
left, last those that need morphemes: the analysis costs a hundred times more than all the others.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

_COMPARISONS = {"<": operator.lt, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Rule:
    """A document is rejected when its ``measure`` compares so with the ``threshold``.

    ``name`` is what the config calls the rule; rejected documents carry ``reason``, by default the same.
    """

    name: str
    measure: str
    comparison: Literal["<", ">", ">="]
    threshold: float
    given_reason: str = ""

    @property
    def reason(self) -> str:
        """The reason under which a rejection is counted."""
        return self.given_reason or self.name

    def rejects(self, value: float) -> bool:
        """Tell whether a document with this measured value is rejected."""
        rejected: bool = _COMPARISONS[self.comparison](value, self.threshold)
        return rejected


CORPUS_MEASURES = ("duplicate", "near_duplicate")
"""Measures that are not the document's own: 1 where another document of the corpus that comes before it and passes the
rules before these has the same text, or nearly the same."""

DUPLICATE_RULES = (Rule("duplicate", "duplicate", ">", 0), Rule("near_duplicate", "near_duplicate", ">", 0))

REPEATED_NGRAMS = (
    # Gopher's limits as FineWeb-2 sets them for Korean, here over words between spaces.
    Rule("repeated_2grams", "top_2gram", ">", 0.282, "repeated_ngrams"),
    Rule("repeated_3grams", "top_3gram", ">", 0.228, "repeated_ngrams"),
    Rule("repeated_4grams", "top_4gram", ">", 0.185, "repeated_ngrams"),
)

WRITTEN = (
    Rule("too_short", "characters", "<", 200),
    Rule("too_long", "characters", ">", 100_000),
    Rule("low_hangul", "hangul", "<", 0.4),
    Rule("symbols", "symbols", ">", 0.30),
    Rule("replacement_characters", "replacement_characters", ">", 0.01),
    Rule("few_sentences", "sentence_ends", "<", 3),
    Rule("repeated_lines", "repeated_lines", ">", 0.374),
    *REPEATED_NGRAMS,
    Rule("repeated_characters", "repeated_characters", ">", 0.1),
    Rule("bullet_lines", "bullet_lines", ">", 0.9),
    Rule("ellipsis_lines", "ellipsis_lines", ">", 0.3),
    Rule("spam_words", "spam_words", ">=", 3),
    *DUPLICATE_RULES,
    Rule("few_stopwords", "stopwords", "<", 2),
    Rule("no_predicates", "predicates", "<", 0.05),
)
"""Written Korean with sentences: articles, essays, posts."""

PROFILES: dict[str, tuple[Rule, ...]] = {
    "malgeul": WRITTEN,
    # HPLT's web text: what its own tools measured comes first, since it costs nothing.
    "hplt": (
        Rule("hplt_dropped", "hplt_dropped", ">", 0),
        Rule("hplt_score", "hplt_score", "<", 5),
        Rule("not_korean", "hplt_korean", "<", 0.5),
        Rule("machine_translation", "hplt_machine_translation", ">", 0.5),
        *WRITTEN,
    ),
    # The rules of the forerunner's corpus (hong-seongmin/test_autocoref), which knows no duplicates: for comparison.
    "seed_compat": (
        Rule("too_short", "characters", "<", 800),
        Rule("too_long", "characters", ">", 2500),
        Rule("few_sentences", "plain_sentence_ends", "<", 3),
        Rule("low_hangul", "hangul", "<", 0.40),
        Rule("symbols", "symbols", ">", 0.30),
        Rule("few_names", "proper_nouns", "<", 0.05),
        Rule("many_names", "proper_nouns", ">", 0.20),
    ),
    # FineWeb-2's rules and thresholds for Korean, over morphemes as words; it keeps about 31 % of web documents.
    "fineweb2_ko": (
        Rule("repeated_lines", "repeated_line_count", ">", 0.374),
        Rule("few_punctuated_lines", "punctuated_lines", "<", 0.062),
        Rule("repeated_line_characters", "repeated_line_characters", ">", 0.1),
        Rule("bullet_lines", "plain_bullet_lines", ">", 0.9),
        Rule("ellipsis_lines", "plain_ellipsis_lines", ">", 0.3),
        *DUPLICATE_RULES,
        *(
            Rule(f"repeated_{n}grams", f"word_top_{n}gram", ">", most, "repeated_ngrams")
            for n, most in ((2, 0.282), (3, 0.228), (4, 0.185))
        ),
        *(
            Rule(f"repeated_{n}grams", f"word_repeated_{n}grams", ">", most, "repeated_ngrams")
            for n, most in ((5, 0.201), (6, 0.184), (7, 0.168), (8, 0.154), (9, 0.140), (10, 0.127))
        ),
        Rule("line_breaks", "line_breaks_per_word", ">", 0.196),
        Rule("too_short", "words", "<", 50),
        Rule("too_long", "words", ">", 100_000),
        Rule("short_words", "word_length", "<", 1),
        Rule("long_words", "word_length", ">", 6),
        Rule("hashes", "hashes_per_word", ">", 0.1),
        Rule("ellipses", "ellipses_per_word", ">", 0.1),
        Rule("few_letters", "words_with_letters", "<", 0.791),
        Rule("few_stopwords", "written_stopwords", "<", 2),
    ),
    # Transcripts: no paragraphs, often short; what a transcriber that runs in circles writes is what must go.
    "speech": (
        Rule("too_short", "characters", "<", 10),
        *REPEATED_NGRAMS,
    ),
}


def check_profile(name: str) -> str:
    """Return the name of a profile; raises ValueError that names the nearest one."""
    return _known(name, PROFILES, "profile")


def check_thresholds(profile: str, thresholds: Mapping[str, float]) -> None:
    """Check that a profile has every rule that ``thresholds`` names; raises ValueError that names the nearest one.

    A threshold that is no number (NaN) is an error as well: its rule would keep everything.
    """
    for name, threshold in thresholds.items():
        _known(name, [rule.name for rule in PROFILES[profile]], f"rule of the profile {profile}")
        if math.isnan(threshold):
            raise ValueError(f"{name}: nothing is above or below {threshold}")


REASONS = frozenset(name for rules in PROFILES.values() for rule in rules for name in (rule.name, rule.reason))
"""Every name and reason of a rule."""


def rules_of(profile: str, thresholds: Mapping[str, float]) -> list[Rule]:
    """Return a profile's rules in order, with the given thresholds by rule name instead of its own."""
    check_thresholds(profile, thresholds)
    return [replace(rule, threshold=thresholds.get(rule.name, rule.threshold)) for rule in PROFILES[profile]]


def _known(name: str, known: Iterable[str], what: str) -> str:
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"{name!r} is no {what}; {hint}")
