"""Passages of calls that are phishing or ordinary talk: drawn from the grammar of resources/models/calls.

A passage is what is heard of one conversation in two to six sentences. Some are heard from one side only, and some are
written without punctuation, as recognizers do.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from writing.frames import ALTERNATES, expand, frames_of, with_particle

from making import ROOT
from making.numbers import digit_by_digit, sino
from making.sentences import SENTENCE_END, Slots, letters_of, words_of

FOLDER = ROOT / "resources" / "models" / "calls"
GRAMMAR = FOLDER / "grammar.yaml"
HELD_OUT = FOLDER / "held_out.jsonl"

LABELS = ("phishing", "ordinary")
FEWEST, MOST = 2, 6
"""Sentences of a passage."""
LIKE = 8
"""Letters by which the lengths of a pair differ at most, less one."""

# How often: an optional turn is said while there is room, one side is heard alone, a recognizer writes no punctuation,
# a turn begins with a filler.
OPTIONAL, ALONE, BARE, FILLER = 0.6, 0.25, 0.2, 0.08

_TURN = re.compile(r"(>)?(\?)? ?(.+)")
_AFTER_CONSONANT = {open_form: form for form, open_form in ALTERNATES.items()}
_PARTICLES = sorted({*ALTERNATES, *ALTERNATES.values()}, key=len, reverse=True)
_CHOICE = re.compile(rf"\[([^\[\]]*\|[^\[\]]*)\](?:({'|'.join(_PARTICLES)})(?![가-힣]))?")


@dataclass(frozen=True)
class Turn:
    """What one side says at once; the other side's turns are left out where only one side is heard."""

    frame: str
    other_side: bool
    optional: bool


@dataclass(frozen=True)
class Passage:
    """A passage, its label and the kind of talk that it belongs to."""

    text: str
    label: str
    kind: str


class Calls:
    """Skeletons of conversations by label and kind, with words and phrases for their slots."""

    def __init__(self, file: Path = GRAMMAR) -> None:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
        self._words = words_of(given["words"])
        self._phrases = {slot: frames_of(block) for slot, block in given["phrases"].items()}
        self.skeletons = {
            label: [(kind, turns) for kind, block in given[label].items() for turns in _skeletons(block)]
            for label in LABELS
        }

    def kinds(self, label: str) -> set[str]:
        """Return the kinds of talk that a label has."""
        return {kind for kind, _turns in self.skeletons[label]}

    def passages(self, label: str, seed: int) -> Iterator[tuple[Passage, list[str]]]:
        """Yield passages without end, each with its sentences as they were said; the skeletons take equal shares."""
        rng = random.Random(f"{label} {seed}")
        while True:
            for kind, turns in rng.sample(self.skeletons[label], len(self.skeletons[label])):
                said = self._said(turns, rng)
                yield (
                    Passage(self._heard(said, rng), label, kind),
                    [part for turn in said for part in sentences_of(turn)],
                )

    def _said(self, turns: list[Turn], rng: random.Random) -> list[str]:
        """Return the turns that are heard, in order, with FEWEST to MOST sentences in all."""
        slots = OnePassage(self._words, self._phrases, rng)
        said = [slots.fill(turn.frame) for turn in turns]
        lengths = [len(sentences_of(turn)) for turn in said]
        heard = {k for k, turn in enumerate(turns) if not turn.optional}
        own = {k for k, turn in enumerate(turns) if not turn.other_side}
        alone = rng.random() < ALONE and sum(lengths[k] for k in heard & own) >= FEWEST
        if alone:
            heard &= own
        more = [k for k, turn in enumerate(turns) if turn.optional and (k in own or not alone)]
        rng.shuffle(more)
        for k in more:
            total = sum(lengths[j] for j in heard)
            if total < FEWEST or (total + lengths[k] <= MOST and rng.random() < OPTIONAL):
                heard.add(k)
        return [said[k] for k in sorted(heard)]

    def _heard(self, said: list[str], rng: random.Random) -> str:
        """Return what a recognizer writes of the turns."""
        text = " ".join(
            f"{rng.choice(self._words['filler'])}, {turn}" if rng.random() < FILLER else turn for turn in said
        )
        return re.sub(r"[.,?!]", "", text) if rng.random() < BARE else text


def _skeletons(block: str) -> Iterator[list[Turn]]:
    """Yield the skeletons of a block, parted by empty lines."""
    for lines in re.split(r"\n\s*\n", block):
        turns = [match for line in frames_of(lines) if (match := _TURN.fullmatch(line))]
        if turns:
            yield [Turn(frame, bool(other), bool(optional)) for other, optional, frame in (m.groups() for m in turns)]


def sentences_of(turn: str) -> list[str]:
    """Return the sentences of a turn."""
    return SENTENCE_END.split(turn)


class OnePassage(Mapping[str, str]):
    """Slots that keep their value for a passage; one with a capital letter at its end has another value."""

    def __init__(self, words: Mapping[str, list[str]], phrases: Mapping[str, list[str]], rng: random.Random) -> None:
        draw = rng.randint
        sums: dict[str, Callable[[], str]] = {
            "sum": lambda: sino(10_000 * rng.choice([100 * draw(1, 9), 10 * draw(11, 99), 1000 * draw(1, 6)])),
            "small": lambda: sino(10_000 * draw(3, 99)),
            "fee": lambda: sino(500 * draw(4, 99)),
            "code": lambda: digit_by_digit("".join(str(draw(0, 9)) for _ in range(6))),
            "rate": lambda: f"{sino(draw(2, 9))} 점 {sino(draw(1, 9))} {rng.choice(['프로', '퍼센트'])}",
        }
        self._slots = Slots(words, rng, sums)
        self._phrases, self._rng = phrases, rng
        self._drawn: dict[str, str] = {}

    def fill(self, frame: str) -> str:
        """Return what a frame says here; a particle after a choice suits what was chosen."""
        return expand(_CHOICE.sub(self._chosen, frame), self, self._rng)

    def _chosen(self, choice: re.Match[str]) -> str:
        chosen, particle = self._rng.choice(choice[1].split("|")), choice[2] or ""
        particle = _AFTER_CONSONANT.get(particle, particle)
        if chosen.endswith("}"):  # the slot takes it
            return f"{chosen[:-1]}{particle}}}"
        return with_particle(chosen, particle) if particle else chosen

    def __getitem__(self, slot: str) -> str:
        if slot not in self._drawn:
            plain = slot[:-1] if slot[-1].isupper() else slot
            phrases = self._phrases.get(plain)
            self._drawn[slot] = self.fill(self._rng.choice(phrases)) if phrases else self._slots[plain]
        return self._drawn[slot]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._phrases, **self._slots})

    def __len__(self) -> int:
        return len(self._phrases) + len(self._slots)


def draw(calls: Calls, seed: int, each: int, without: Iterable[str] = ()) -> list[Passage]:
    """Return ``each`` passages of every label that differ in their letters; none has a sentence of ``without``.

    They come in pairs of like length: ordinary talk is shorter, and a model would learn that.
    """
    unwanted = {letters_of(sentence) for sentence in without}
    streams = [_distinct(calls.passages(label, seed), unwanted) for label in LABELS]
    waiting: dict[int, tuple[deque[Passage], ...]] = {}
    drawn: list[Passage] = []
    while len(drawn) < each * len(LABELS):
        for number, stream in enumerate(streams):
            passage = next(stream)
            alike = waiting.setdefault(len(letters_of(passage.text)) // LIKE, tuple(deque() for _ in LABELS))
            alike[number].append(passage)
            if all(alike):
                drawn += [queue.popleft() for queue in alike]
    return drawn[: each * len(LABELS)]


def _distinct(drawn: Iterator[tuple[Passage, list[str]]], unwanted: set[str]) -> Iterator[Passage]:
    seen = set()
    for passage, sentences in drawn:
        letters = letters_of(passage.text)
        if letters not in seen and unwanted.isdisjoint(map(letters_of, sentences)):
            seen.add(letters)
            yield passage


def runs(text: str, words: int) -> set[tuple[str, ...]]:
    """Return every run of so many words of a text, without punctuation."""
    plain = re.sub(r"[^가-힣 ]", "", text).split()
    return {tuple(plain[k : k + words]) for k in range(len(plain) - words + 1)}
