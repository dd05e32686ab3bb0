"""The sentences that are spoken: made by the grammar, taken from the demo's dialogues and from its texts.

A sentence of the grammar is held out for evaluation by the hash of its letters alone, so that no draw, seed or size of
the training set can put it into training.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import yaml
from writing.frames import expand, frames_of

from making.numbers import digit_by_digit, native, sino

HERE = Path(__file__).resolve().parent
GRAMMAR = HERE / "grammar.yaml"

HELD_OUT_PERCENT = 2
SPEAKABLE = re.compile(r"[가-힣 .,?!]+")
"""What espeak-ng reads as it is written: digits and Latin letters have no single spoken form."""

SENTENCE_END = re.compile(r"(?<=[.?!])\s+")


def words_of(given: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the words of each slot; in the file they are parted by spaces, and _ is a space within one."""
    return {slot: [word.replace("_", " ") for word in words.split()] for slot, words in given.items()}


class Grammar:
    """Frames with slots; every slot is drawn anew wherever it stands."""

    def __init__(self, file: Path = GRAMMAR) -> None:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
        self._words = words_of(given["words"])
        self._frames = frames_of(given["frames"])

    def sentences(self, seed: int) -> Iterator[str]:
        """Yield sentences without end, the same for the same seed."""
        rng = random.Random(seed)
        slots = Slots(self._words, rng)
        while True:
            yield expand(rng.choice(self._frames), slots, rng)


class Slots(Mapping[str, str]):
    """A word for each slot, another one each time: of those given, of those made here and of those made ``further``."""

    def __init__(
        self, words: Mapping[str, list[str]], rng: random.Random, further: Mapping[str, Callable[[], str]] | None = None
    ) -> None:
        self._words, self._rng = words, rng
        draw = rng.randint
        self._made: dict[str, Callable[[], str]] = {
            "name": lambda: rng.choice(words["family"]) + rng.choice(words["given"]),
            "month": lambda: {6: "유", 10: "시"}.get(month := draw(1, 12), sino(month)),
            "day": lambda: sino(draw(1, 31)),
            "year": lambda: sino(draw(50, 99)),
            "hour": lambda: native(draw(1, 12)) + " 시",
            "minute": lambda: rng.choice(["반", *(f"{sino(minute)} 분" for minute in range(5, 60, 5))]),
            "ampm": lambda: rng.choice(["오전", "오후", "저녁", "아침", "밤"]),
            "count": lambda: native(draw(1, 30)),
            "sino": lambda: sino(rng.choice([draw(1, 99), draw(100, 999), 10 * draw(1, 900)])),
            "won": lambda: sino(rng.choice([1_000, 10_000, 100_000, 1_000_000]) * draw(1, 99) + 100 * draw(0, 9)),
            "digits": lambda: digit_by_digit("".join(str(draw(0, 9)) for _ in range(draw(4, 6)))),
            "phone": lambda: digit_by_digit(f"010-{draw(1000, 9999)}-{draw(0, 9999):04d}"),
            **(further or {}),
        }

    def __getitem__(self, slot: str) -> str:
        return self._made[slot]() if slot in self._made else self._rng.choice(self._words[slot])

    def __iter__(self) -> Iterator[str]:
        return iter({**self._words, **self._made})

    def __len__(self) -> int:
        return len(self._words) + len(self._made)


def letters_of(sentence: str) -> str:
    """Return the Hangul of a sentence, without spaces and marks."""
    return "".join(re.findall("[가-힣]", sentence))


def held_out(sentence: str) -> bool:
    """Return whether a sentence of the grammar belongs to the evaluation; spaces and marks do not decide."""
    return int.from_bytes(hashlib.sha256(letters_of(sentence).encode()).digest()[:4], "big") % 100 < HELD_OUT_PERCENT


def distinct(grammar: Grammar, seed: int, count: int, evaluation: bool, without: Iterable[str] = ()) -> list[str]:
    """Return ``count`` different sentences of the grammar, of the evaluation or of the training, ``without`` some."""
    found: dict[str, None] = {}
    unwanted = {letters_of(sentence) for sentence in without}
    for sentence in grammar.sentences(seed):
        if held_out(sentence) == evaluation and letters_of(sentence) not in unwanted:
            found.setdefault(sentence)
        if len(found) == count:
            return list(found)
    raise AssertionError("the grammar yields sentences without end")


def dialogue_turns(file: Path) -> list[str]:
    """Return what is said in the demo's dialogues, and the single sentences of longer turns."""
    dialogues = yaml.safe_load(file.read_text(encoding="utf-8"))["dialogues"]
    turns = [turn["say"] for dialogue in dialogues.values() for turn in dialogue["turns"]]
    return list(dict.fromkeys([*turns, *(part for turn in turns for part in SENTENCE_END.split(turn))]))


def speakable(texts: Iterator[str], shortest: int = 8, longest: int = 42) -> list[str]:
    """Return the different sentences of the texts that can be read aloud as they are written, by length in letters."""
    found: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            for sentence in SENTENCE_END.split(line.strip()):
                letters = len(letters_of(sentence))
                if SPEAKABLE.fullmatch(sentence) and shortest <= letters <= longest and sentence[-1] in ".?!":
                    found.setdefault(sentence)
    return list(found)


def clauses(sentence: str) -> list[str]:
    """Return the parts of a sentence between commas, as a window that is cut in a pause holds them."""
    return [part for part in re.split(r"(?<=,)\s+", sentence) if len(part) >= 6]
