"""Verdicts on documents: cheap rules first, one morphological analysis for those that pass them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from malgeul.shards.faults import Fault
from malgeul.shards.tables import DOCUMENTS, MENTIONS
from malgeul.text.hplt import META_MEASURES
from malgeul.text.measures import TEXT_MEASURES
from malgeul.text.morphology import MORPHEME_MEASURES, Analysis
from malgeul.text.profiles import DUPLICATE, Rule

FEATURES = pa.struct(
    [pa.field(name, pa.float64()) for name in (DUPLICATE, *META_MEASURES, *TEXT_MEASURES, *MORPHEME_MEASURES)]
)
"""What was measured of a document; null where there was nothing to measure, an earlier rule had decided, or the profile
has no such rule."""

FILTERED = pa.schema(
    [
        *DOCUMENTS,
        pa.field("features", FEATURES, nullable=False),
        pa.field("n_morphemes", pa.int32(), nullable=False),
        pa.field("mentions", MENTIONS, nullable=False),
        pa.field("n_masked", pa.int32(), nullable=False),  # personal numbers replaced by placeholders
    ]
)
"""Documents that stay."""

REJECTED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # of a rule, or the class of a fault
        pa.field("measured", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("features", FEATURES, nullable=False),
    ]
)
"""Documents that do not stay, with the measured value and the threshold that decided (null for a fault)."""


@dataclass
class Verdict:
    """What is known of a document: measured values, then why it goes, or the morphemes with which it stays."""

    features: dict[str, float | None]
    reason: str | None = None
    measured: float | None = None
    threshold: float | None = None
    fault: dict[str, str] | None = None
    n_morphemes: int | None = None
    mentions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether the document stays."""
        return self.reason is None

    def apply(self, rules: Iterable[Rule], measure: Callable[[str], float | None], *, measure_all: bool) -> None:
        """Measure what ``rules`` ask for, until one of them rejects; with ``measure_all`` to the end."""
        for rule in rules:
            if not (self.kept or measure_all):
                return
            value = self.features[rule.measure] = measure(rule.measure)
            if self.kept and value is not None and rule.rejects(value):
                self.reason, self.measured, self.threshold = rule.reason, value, rule.threshold

    def condemn(self, fault: Fault) -> None:
        """Reject for a fault of the document."""
        self.reason, self.fault = fault.kind, asdict(fault)


@dataclass(frozen=True)
class Candidate:
    """A document to decide about: ``meta`` as in the tables; ``verdict`` is given where it was decided before."""

    text: str
    duplicate: bool = False
    verdict: Verdict | None = None
    meta: str = "{}"


def judge(
    candidates: Iterable[Candidate],
    rules: Sequence[Rule],
    analyze: Callable[[Iterable[str]], Iterator[Analysis | Fault]],
    *,
    measure_all: bool = False,
) -> Iterator[Verdict]:
    """Yield a verdict per document, in order.

    ``analyze`` sees every document, so that its answers keep step; one that is decided without it as an empty text.
    ``measure_all`` measures what every rule asks for, also of documents that are rejected already.
    """
    cheap = [rule for rule in rules if rule.measure not in MORPHEME_MEASURES]
    deep = [rule for rule in rules if rule.measure in MORPHEME_MEASURES]
    under_way: deque[tuple[Verdict, bool]] = deque()

    def texts() -> Iterator[str]:
        for candidate in candidates:
            verdict = candidate.verdict or first_verdict(candidate, cheap, measure_all=measure_all)
            decided = candidate.verdict is not None or not (verdict.kept or measure_all)
            under_way.append((verdict, decided))
            yield "" if decided else candidate.text

    for analysis in analyze(texts()):
        verdict, decided = under_way.popleft()
        if not decided:
            last_verdict(verdict, analysis, deep, measure_all=measure_all)
        yield verdict


def first_verdict(candidate: Candidate, rules: Iterable[Rule], *, measure_all: bool) -> Verdict:
    """Return what the rules say that need no morphemes."""
    verdict = Verdict({})

    def measure(name: str) -> float | None:
        if name == DUPLICATE:
            return float(candidate.duplicate)
        if name in META_MEASURES:
            return META_MEASURES[name](json.loads(candidate.meta))
        return TEXT_MEASURES[name](candidate.text)

    verdict.apply(rules, measure, measure_all=measure_all)
    return verdict


def last_verdict(
    verdict: Verdict, analysis: Analysis | Fault, rules: Iterable[Rule], *, measure_all: bool = False
) -> None:
    """Complete a verdict by what the rules say that need morphemes."""
    if isinstance(analysis, Fault):
        if verdict.kept:
            verdict.condemn(analysis)
        return
    verdict.features |= analysis.measured
    verdict.apply(rules, analysis.measured.__getitem__, measure_all=measure_all)
    if verdict.kept:
        verdict.n_morphemes, verdict.mentions = analysis.n_morphemes, analysis.mentions


def pack(verdicts: Iterable[Verdict]) -> bytes:
    """Return verdicts as bytes for a journal."""
    return json.dumps([asdict(verdict) for verdict in verdicts], ensure_ascii=False).encode("utf-8")


def unpack(data: bytes) -> list[Verdict]:
    """Read what :func:`pack` wrote."""
    return [Verdict(**verdict) for verdict in json.loads(data)]
