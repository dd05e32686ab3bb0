"""Lexicons: rules in YAML, and the spans of a transcript that they match, as evidence with place, time and quote.

A span says that these words were said, by rule so-and-so; never what they mean in the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import yaml
from pydantic import Field

from malgeul.shards.names import nfc
from malgeul.shards.settings import Section


class _RuleText(Section):
    """A rule as a lexicon spells it."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    says: str
    pattern: str
    examples: list[str] = Field(min_length=1)
    counterexamples: list[str] = []


class _LexiconText(Section):
    """A lexicon file."""

    category: str = Field(pattern=r"^[a-z0-9_]+$")
    rules: list[_RuleText]


@dataclass(frozen=True)
class Rule:
    """A rule: its id (category.name), and what it matches, with the examples that its lexicon gives."""

    id: str
    category: str
    pattern: re.Pattern[str]
    examples: tuple[str, ...]
    counterexamples: tuple[str, ...]


@dataclass(frozen=True)
class Passage:
    """A segment in its transcript: text[start:end] of the transcript, its times in seconds, who speaks."""

    start: int
    end: int
    start_seconds: float
    end_seconds: float
    speaker: str | None


@dataclass(frozen=True)
class Span:
    """What a rule matched: text[start:end] == quote, and the times of the segments that hold it."""

    rule: str
    category: str
    start: int
    end: int
    start_seconds: float
    end_seconds: float
    speaker: str | None
    quote: str


def lexicons_at(place: Path) -> list[Path]:
    """Return the lexicons at a place: the .yaml files of a folder, or the file itself."""
    return sorted(place.glob("*.yaml")) if place.is_dir() else [place]


def read_lexicon(file: Path) -> list[Rule]:
    """Read the rules of a lexicon; raises ValueError naming the file and what is wrong with it.

    Wrong is a rule, too, that does not match its examples, or matches its counterexamples or the empty text.
    """
    try:
        lexicon = _LexiconText.model_validate(yaml.safe_load(nfc(file.read_text(encoding="utf-8"))))
        rules = [
            Rule(
                f"{lexicon.category}.{rule.id}",
                lexicon.category,
                compile_pattern(rule.pattern),
                tuple(rule.examples),
                tuple(rule.counterexamples),
            )
            for rule in lexicon.rules
        ]
        for rule in rules:
            _check(rule)
    except (yaml.YAMLError, ValueError, re.error) as error:
        raise ValueError(f"{file} is no lexicon: {error}") from None
    return rules


def _check(rule: Rule) -> None:
    if missed := [example for example in rule.examples if not rule.pattern.search(example)]:
        raise ValueError(f"{rule.id} does not match its example {missed[0]!r}")
    if matched := [text for text in ("", *rule.counterexamples) if rule.pattern.search(text)]:
        raise ValueError(f"{rule.id} matches {matched[0]!r}")


def read_lexicons(files: Iterable[Path]) -> list[Rule]:
    """Read all lexicons in the order of their rules' ids; raises ValueError for an id that occurs twice."""
    rules = sorted((rule for file in files for rule in read_lexicon(file)), key=lambda rule: rule.id)
    for rule, following in pairwise(rules):
        if rule.id == following.id:
            raise ValueError(f"the lexicons have two rules {rule.id}")
    return rules


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a rule's regular expression. A space stands for any white space or none: transcripts space freely."""
    return re.compile(pattern.replace(" ", r"\s*"))


def locate_segments(text: str, segments: Sequence[str]) -> list[tuple[int, int]]:
    """Return where each segment lies in the transcript's text, which holds them in this order.

    Raises ValueError when it does not.
    """
    places = []
    position = 0
    for segment in map(str.strip, segments):
        start = text.find(segment, position)
        if start < 0:
            raise ValueError(f"the transcript's text does not hold its segment {segment!r}")
        position = start + len(segment)
        places.append((start, position))
    return places


def find_spans(text: str, passages: Sequence[Passage], rules: Sequence[Rule]) -> list[Span]:
    """Return what the rules match in ``text``, in its order.

    A match may cross segments, but not from one speaker to another.
    """
    spans = [span for run in _runs(passages) for rule in rules for span in _matches(text, run, rule)]
    return sorted(spans, key=lambda span: (span.start, span.end, span.rule))


def _runs(passages: Sequence[Passage]) -> Iterator[list[Passage]]:
    for _, run in groupby(passages, key=lambda passage: passage.speaker):
        yield list(run)


def _matches(text: str, run: list[Passage], rule: Rule) -> Iterator[Span]:
    for match in rule.pattern.finditer(text, run[0].start, run[-1].end):
        start, end = match.span()
        holding = [passage for passage in run if passage.start < end and start < passage.end]
        if holding:
            yield Span(
                rule.id,
                rule.category,
                start,
                end,
                min(passage.start_seconds for passage in holding),
                max(passage.end_seconds for passage in holding),
                run[0].speaker,
                match.group(),
            )
