"""Verdicts on documents, in three steps: rules on the text alone, on duplicates in the corpus, on morphemes.

The first step is a stage of its own (screen), so that duplicates are looked for among documents that would stay, and
the morphological analysis, which costs most, is made of what is left.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from malgeul.shards.faults import Fault
from malgeul.shards.tables import DOCUMENTS, MENTIONS
from malgeul.text.duplicates import REPEATED_ID, REPEATED_RECORD
from malgeul.text.hplt import META_MEASURES
from malgeul.text.measures import TEXT_MEASURES
from malgeul.text.morphology import MORPHEME_MEASURES, Analysis
from malgeul.text.profiles import CORPUS_MEASURES, Rule
from malgeul.text.signatures import BAND_COLUMNS

SCREEN_MEASURES = (*META_MEASURES, *TEXT_MEASURES)
MEASURES = (*SCREEN_MEASURES, *CORPUS_MEASURES, *MORPHEME_MEASURES)
FEATURES = pa.struct([pa.field(name, pa.float64()) for name in MEASURES])
"""What was measured of a document; null where there was nothing to measure, an earlier rule had decided, or the profile
has no such rule."""

SCORES = pa.map_(pa.string(), pa.float64())
"""Scores of a document by the names of the config's scorers; null where a scorer could say nothing."""

SCORED = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("scores", SCORES, nullable=False)])
"""Documents in the order of text/; no scores for those that were rejected before."""

SCREENED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("features", pa.struct([pa.field(name, pa.float64()) for name in SCREEN_MEASURES]), nullable=False),
        pa.field("reason", pa.string()),  # null where the document passes
        pa.field("measured", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("lines", pa.list_(pa.uint64())),  # keys of its lines; null where it does not pass
        # Null where duplicates of the document are not looked for; bands also where it is too short.
        pa.field("text_hash", pa.binary(16)),
        *(pa.field(name, pa.uint64()) for name in BAND_COLUMNS),
    ]
)
"""Documents in the order of text/: what was measured of the text alone, and by what duplicates are found."""

FILTERED = pa.schema(
    [
        *DOCUMENTS,
        pa.field("features", FEATURES, nullable=False),
        pa.field("scores", SCORES, nullable=False),
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
        pa.field("scores", SCORES, nullable=False),
    ]
)
"""Documents that do not stay, with the measured value and the threshold that decided (null for a fault)."""


ONLY_BOILERPLATE = "only_boilerplate"
"""Reason of a document of which nothing is left when the lines that many documents share are cut out."""


@dataclass
class Verdict:
    """What is known of a document: measured values, then why it goes, or the morphemes with which it stays."""

    features: dict[str, float | None]
    scores: dict[str, float | None] = field(default_factory=dict)
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
            self._try(rule, value)

    def _try(self, rule: Rule, value: float | None) -> None:
        if self.kept and value is not None and rule.rejects(value):
            self.reason, self.measured, self.threshold = rule.reason, value, rule.threshold

    def weigh(self, scores: Mapping[str, float | None], rules: Iterable[Rule]) -> None:
        """Take the scores and reject by the first of ``rules`` that one of them breaks."""
        self.scores = dict(scores)
        for rule in rules:
            self._try(rule, self.scores.get(rule.measure))

    def condemn(self, fault: Fault) -> None:
        """Reject for a fault of the document."""
        self.reason, self.fault = fault.kind, asdict(fault)


@dataclass(frozen=True)
class Candidate:
    """A document to analyse, with the verdict so far; ``decided`` says that nothing is left to do."""

    text: str
    verdict: Verdict
    decided: bool = False


def screen(text: str, meta: str, rules: Iterable[Rule], *, measure_all: bool) -> Verdict:
    """Return what the rules on the document alone say; ``meta`` is a JSON object as in the tables."""
    verdict = Verdict({})

    def measure(name: str) -> float | None:
        return META_MEASURES[name](json.loads(meta)) if name in META_MEASURES else TEXT_MEASURES[name](text)

    verdict.apply((r for r in rules if r.measure in SCREEN_MEASURES), measure, measure_all=measure_all)
    return verdict


def compare(verdict: Verdict, kind: str | None, rules: Iterable[Rule]) -> None:
    """Go on with a verdict by the rules on duplicates; ``kind`` is the measure that is 1 for the document, if any.

    An id that another document has is a fault of the document whatever the rules: its rows could not be told apart. Of
    a document that was rejected before they are not measured: its duplicates were not looked for.
    """
    if not verdict.kept:
        return
    if kind != REPEATED_ID:
        found = "duplicate" if kind == REPEATED_RECORD else kind
        corpus_rules = (rule for rule in rules if rule.measure in CORPUS_MEASURES)
        verdict.apply(corpus_rules, lambda name: float(name == found), measure_all=False)
    if verdict.kept and kind in (REPEATED_ID, REPEATED_RECORD):
        verdict.condemn(Fault("DUPLICATE_ID", "an earlier document of the source has the id"))


def judge(
    candidates: Iterable[Candidate],
    rules: Sequence[Rule],
    analyze: Callable[[Iterable[str]], Iterator[Analysis | Fault]],
    *,
    measure_all: bool = False,
) -> Iterator[Verdict]:
    """Yield the candidates' verdicts, completed by the rules on morphemes, in order.

    ``analyze`` sees every document, so that its answers keep step; one that is decided without it as an empty text.
    ``measure_all`` measures what every rule asks for, also of documents that are rejected already.
    """
    deep = [rule for rule in rules if rule.measure in MORPHEME_MEASURES]
    under_way: deque[tuple[Verdict, bool]] = deque()

    def texts() -> Iterator[str]:
        for candidate in candidates:
            decided = candidate.decided or not (candidate.verdict.kept or measure_all)
            under_way.append((candidate.verdict, decided))
            yield "" if decided else candidate.text

    for analysis in analyze(texts()):
        verdict, decided = under_way.popleft()
        if not decided:
            complete(verdict, analysis, deep, measure_all=measure_all)
        yield verdict


def complete(verdict: Verdict, analysis: Analysis | Fault, rules: Iterable[Rule], *, measure_all: bool) -> None:
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
