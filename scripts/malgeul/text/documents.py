"""Documents of records: an id, clean text, and the record's other fields as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from datetime import date, datetime, time
from typing import Any

from malgeul.shards.faults import Fault, ItemFault
from malgeul.shards.ledger import Ledger
from malgeul.shards.names import content_id, nfc
from malgeul.shards.tables import TableWriter
from malgeul.text.records import Record, Source, decode

_LINE_BREAKS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters but the tab and what breaks a line
    "\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
    # soft hyphen, zero width, direction, annotation
)
_JOINED = "[^\\s -~가-힣ㄱ-ㆎ\u1100-\u11ff]"
_IDLE_JOINERS = re.compile(
    # Each run is read once, from its beginning: a run may be as long as a document.
    f"(?<!{_JOINED})[\u200c\u200d]++|(?<![\u200c\u200d])[\u200c\u200d]++(?!{_JOINED})"
)
"""Joiners at the border of the text or beside Hangul, ASCII or white space, which have no forms to join: mail and web
pages pad lines with them, and a name with one inside is another name to every program."""

_FILLERS = re.compile("[\u2800\u3164\uffa0]")
"""Blanks that are no white space to Unicode (Hangul fillers, empty Braille): written where a page drops spaces."""


def clean(text: str, counts: Counter[str]) -> str:
    """Return text in NFC, lines parted by line feeds alone, without invisible characters and space at line ends.

    Hangul fillers become spaces, which they are written for. Joiners stay where they hold emoji and some scripts
    together. Adds to ``counts`` how many control_characters were removed and how many texts were not in NFC
    (normalized_texts).
    """
    text = _FILLERS.sub(" ", _LINE_BREAKS.sub("\n", text))
    text, removed = _INVISIBLE.subn("", text)
    if "\u200c" in text or "\u200d" in text:  # a tenth of the time that looking for idle ones takes
        text, idle = _IDLE_JOINERS.subn("", text)
        removed += idle
    counts["control_characters"] += removed
    composed = nfc(text)
    counts["normalized_texts"] += composed != text
    return "\n".join(line.rstrip() for line in composed.split("\n")).strip()


def document_of(record: Record, source: Source, counts: Counter[str]) -> dict[str, Any]:
    """Return the row of :data:`malgeul.shards.tables.DOCUMENTS` that a record makes; raises ItemFault.

    The id is empty where the record has none.
    """
    if isinstance(record.fields, Fault):
        raise ItemFault(record.fields.kind, record.fields.reason)
    fields = dict(record.fields)
    text = fields.pop(source.text_field, None)
    if isinstance(text, bytes):
        text = decode(text)
    if not isinstance(text, str):
        what = "is not there" if text is None else f"is no text but a {type(text).__name__}"
        raise ItemFault("MISSING_FIELD", f"{source.text_field} {what}")
    row = {"id": _id_of(fields, source, record.given_id), "text": clean(text, counts), "source": source.name}
    try:
        row["meta"] = meta_of(fields)
    except RecursionError:
        raise ItemFault("BROKEN_JSON", "the fields are nested too deep") from None
    for column, value in row.items():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ItemFault("INVALID_UTF8", f"{column}: half of a surrogate pair at {error.start}") from None
    if not row["text"]:
        raise ItemFault("EMPTY_TEXT", "nothing but white space")
    return row


def _id_of(fields: dict[str, Any], source: Source, given_id: str) -> str:
    """Take the id out of the fields; a record without one has ``given_id``, which may be empty."""
    value = fields.pop(source.id_field, None) if source.id_field else None
    if value is None or value == "":
        return given_id
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ItemFault("MISSING_FIELD", f"{source.id_field} is no id but a {type(value).__name__}")
    return str(value)


def meta_of(fields: dict[str, Any]) -> str:
    """Return fields as a JSON object with sorted keys. A number that JSON cannot say (NaN) becomes null."""
    try:
        return _dumps(fields)
    except ValueError:
        return _dumps(_finite(fields))


def _dumps(fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True, allow_nan=False, default=_plain)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> str:
    """Return a value that only Parquet knows as text: times in ISO 8601, bytes in Base64, decimals in digits."""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return str(value)


class Intake:
    """Takes the records of one shard: documents go to its table, every record to its ledger.

    A document without an id has one made from its file and text, so that it stays the same when lines come before it.
    Ids that occur twice are for the search for duplicates to find, when it is known which documents pass.
    """

    def __init__(self, source: Source, table: TableWriter, ledger: Ledger) -> None:
        self.source, self.table, self.ledger = source, table, ledger
        self.counts: Counter[str] = Counter(control_characters=0, normalized_texts=0, characters=0)
        self._made: Counter[str] = Counter()

    def take(self, record: Record) -> None:
        """Write the record's document, or quarantine the record."""
        try:
            row = document_of(record, self.source, self.counts)
            row["id"] = row["id"] or self._id_from(record.file, row["text"])
        except ItemFault as found:
            self.ledger.quarantine(record.place, found.fault)
            return
        self.counts["characters"] += len(row["text"])
        self.table.write(row)
        self.ledger.use(record.place)
        self.ledger.give(row["id"])

    def _id_from(self, file: str, text: str) -> str:
        """Return the first 16 hex digits of a sha256; from the second time on with a number behind them.

        It is of the file's name, too: a repeated text is for the search for duplicates to find, which not every profile
        asks for, and no fault.
        """
        made = content_id(hashlib.sha256(f"{file}\0{text}".encode("utf-8", "surrogateescape")).hexdigest())
        self._made[made] += 1
        return made if self._made[made] == 1 else f"{made}-{self._made[made]}"

    def close(self) -> None:
        """Leave the counts in the ledger."""
        self.ledger.measure(**self.counts)
