"""Optional measures of documents by models and references: language, a classifier, test sets, a user's own program.

A scorer gives a number to every text (or none, where it can say nothing). The config compares it with a minimum or a
maximum, as a rule of the filter; what was measured is kept for kept and rejected documents alike.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from malgeul.models.memory import DoesNotFit
from malgeul.shards.programs import load_program
from malgeul.text.settings import ClassifierSettings, LanguageSettings, OverlapSettings, OwnSettings
from malgeul.text.signatures import simplified

if TYPE_CHECKING:
    from malgeul.models.classifier import Classifier


class Scorer(Protocol):
    """Gives each text a number, or None where it can say nothing."""

    def __call__(self, texts: Sequence[str]) -> list[float | None]:
        """Return a score per text, in order."""


def load_language(settings: LanguageSettings) -> Scorer:
    """Return a scorer of language."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def score(texts: Sequence[str]) -> list[float | None]:
        return [float(dict(identifier.rank(text))[settings.language]) if text.strip() else None for text in texts]

    return score


def load_overlap(settings: OverlapSettings, items: Iterable[str]) -> tuple[Scorer, dict[str, int]]:
    """Return a scorer of overlap with test items, and how many items are looked for and how many are too short."""
    owners: dict[str, list[int]] = defaultdict(list)
    sizes: list[int] = []
    short = 0
    for item in items:
        ngrams = set(_ngrams(item, settings.words))
        short += not ngrams
        if ngrams:
            for ngram in ngrams:
                owners[ngram].append(len(sizes))
            sizes.append(len(ngrams))

    def score_one(text: str) -> float:
        found = Counter(item for ngram in set(_ngrams(text, settings.words)) for item in owners.get(ngram, ()))
        return max((count / sizes[item] for item, count in found.items()), default=0.0)

    def score(texts: Sequence[str]) -> list[float | None]:
        return [score_one(text) for text in texts]

    return score, {"items": len(sizes), "items_too_short": short}


def _ngrams(text: str, words: int) -> Iterator[str]:
    all_words = simplified(text).split(" ")
    return (" ".join(all_words[first : first + words]) for first in range(len(all_words) - words + 1))


def read_items(file: Path, fields: Sequence[str]) -> Iterator[str]:
    """Yield the items of a test set.

    Raises ValueError naming file and line where a line is no JSON object or lacks a field.
    """
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if file.suffix == ".txt":
                yield line
                continue
            try:
                record = json.loads(line)
                yield from (str(record[name]) for name in fields)
            except (ValueError, KeyError, TypeError) as error:
                wanted = ", ".join(fields)
                raise ValueError(f"{file}, line {number}: no JSON object with {wanted} ({error!r})") from error


def load_own(settings: OwnSettings, file: Path) -> Scorer:
    """Return the scorer of a user's own file.

    Raises TypeError for a file that is no such program.
    """
    own = load_program(file, settings.options)

    def score(texts: Sequence[str]) -> list[float | None]:
        scores = [None if score is None or math.isnan(score) else float(score) for score in own(list(texts))]
        if len(scores) != len(texts):
            raise ValueError(f"{file} gave {len(scores)} scores for {len(texts)} texts")
        return scores

    return score


def load_classifier(settings: ClassifierSettings, classifier: Classifier) -> Scorer:
    """Return a scorer that gives the probability of the settings' label; raises ValueError for one there is not."""
    if settings.label not in classifier.labels:
        raise ValueError(f"{settings.model} has no label {settings.label}; it has {', '.join(classifier.labels)}")
    label = classifier.labels.index(settings.label)

    def score(texts: Sequence[str]) -> list[float | None]:
        scores: list[float | None] = []
        for chances in classifier(texts):
            if isinstance(chances, DoesNotFit):
                raise MemoryError(str(chances))
            scores.append(chances[label])
        return scores

    return score
