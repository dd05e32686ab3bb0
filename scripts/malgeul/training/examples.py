"""Examples in files of the user's: JSON lines, each with its place, its split, and what is wrong with it, if so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgeul.shards.faults import Fault
from malgeul.shards.names import stable_hash

TEST = "test"
"""The split that models are measured on, and the name of the run's own rows among the sets."""

SPLITS = ("train", "validation", TEST)

DUPLICATE = "duplicate"
"""Why an example is left out whose fields an earlier one has."""


@dataclass(frozen=True)
class Sharing:
    """How examples are dealt out: the shares of documents for validation and test."""

    validation: float
    test: float

    def split_of(self, document: str) -> str:
        """Return the split of all examples of a document, by its hash."""
        place = stable_hash(f"split:{document}") / 2**64
        if place < self.test:
            return TEST
        return "validation" if place < self.test + self.validation else "train"


@dataclass(frozen=True)
class Example:
    """A line: its place (file and number), its fields as texts or what is wrong with it, and its split."""

    place: str
    fields: tuple[str, ...] | Fault
    split: str = ""
    repeated: bool = False


def read_examples(
    files: Sequence[Path], fields: Sequence[str], id_field: str | None, sharing: Sharing
) -> Iterator[Example]:
    """Yield the examples of JSON lines files in order, empty lines left out.

    Values are texts; whole numbers and truth values are taken by their names. Without ``id_field`` the first of
    ``fields`` decides about the split. An example is ``repeated`` when an earlier one has the same fields.
    """
    seen: set[int] = set()
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                place = f"{file.name}:{number}"
                found = _parse(line, [*fields, *([id_field] if id_field else [])])
                if isinstance(found, Fault):
                    yield Example(place, found)
                    continue
                values = found[: len(fields)]
                key = stable_hash("\0".join(values))
                yield Example(place, values, sharing.split_of(found[-1] if id_field else values[0]), key in seen)
                seen.add(key)


def _parse(line: bytes, fields: Sequence[str]) -> tuple[str, ...] | Fault:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Fault("INVALID_UTF8", str(error))
    except ValueError as error:
        return Fault("BROKEN_JSON", str(error))
    if not isinstance(record, dict):
        return Fault("BROKEN_JSON", "the line is no JSON object")
    values = []
    for name in fields:
        value = _text_of(record.get(name))
        if value is None:
            return Fault("MISSING_FIELD", f"{name} is missing or no text; the fields are {', '.join(sorted(record))}")
        if not value.strip():
            return Fault("EMPTY_TEXT", f"{name} is empty")
        values.append(value)
    return tuple(values)


def _text_of(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int) else None


def read_scored(file: Path) -> list[tuple[str, str, float]]:
    """Return pairs of texts with their scores; raises ValueError naming the line that is none."""
    pairs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            pairs.append((str(record["text_a"]), str(record["text_b"]), float(record["score"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number}: text_a, text_b and score are needed ({error!r})") from error
    return pairs
