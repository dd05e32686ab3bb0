"""What documents of HPLT's monolingual sets (versions 2 and 3) bring with them: measured already, so free for a filter.

None where a document has no such field, as those of other sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from malgeul.text.measures import Measured


def quality_score(fields: Mapping[str, Any]) -> Measured:
    """Return the whole document's score of HPLT's scorer, 0 to 10 (the first of doc_scores)."""
    scores = fields.get("doc_scores")
    return _number(scores[0]) if isinstance(scores, list) and scores else None


def korean_probability(fields: Mapping[str, Any]) -> Measured:
    """Return the probability of Korean (kor_Hang); 0 where languages were identified and Korean is none of them."""
    languages, probabilities = fields.get("lang"), fields.get("prob")
    if not isinstance(languages, list) or not isinstance(probabilities, list):
        return None
    return next((_number(p) for one, p in zip(languages, probabilities, strict=False) if one == "kor_Hang"), 0.0)


def machine_translation_probability(fields: Mapping[str, Any]) -> Measured:
    """Return the probability of machine translation (MT of web-register, version 3)."""
    registers = fields.get("web-register")
    return _number(registers.get("MT")) if isinstance(registers, dict) else None


def was_dropped(fields: Mapping[str, Any]) -> Measured:
    """Return 1 where HPLT's own cleaning would drop the document (its filter says anything but keep)."""
    verdict = fields.get("filter")
    return float(verdict != "keep") if isinstance(verdict, str) else None


def _number(value: Any) -> Measured:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON's integers have any number of digits
        return None


META_MEASURES: dict[str, Callable[[Mapping[str, Any]], Measured]] = {
    "hplt_dropped": was_dropped,
    "hplt_score": quality_score,
    "hplt_korean": korean_probability,
    "hplt_machine_translation": machine_translation_probability,
}
"""Measures by name, of a document's meta."""
