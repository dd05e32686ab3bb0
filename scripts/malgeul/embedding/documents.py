"""Documents of a database, whichever it is: what one says, what its rows hash to, and which buckets it falls into."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from malgeul.shards.buckets import bucket_of, power_of_two
from malgeul.shards.faults import Fault

FINEST = 1 << 12
"""Most buckets of a database."""

DIGEST_BYTES = 16

DIGESTS = 2
"""Raised when the same rows get another digest: then a former plan's are not taken again."""

NO_ID = "(no id)"
"""What a document is called whose id is NULL."""

PARAGRAPH_TABLES = {
    "case": ("case_paragraphs", "case_id"),
    "decision": ("decision_paragraphs", "decision_id"),
    "interpretation": ("interpretation_paragraphs", "interpretation_id"),
}
"""Law layout: kind of document, its table, the column that names the document."""

LAW_TABLES = frozenset({"statute_articles", *(table for table, _ in PARAGRAPH_TABLES.values())})
"""Tables of the law layout; any of them will do."""


@dataclass(frozen=True)
class Document:
    """A document: its id in the run (``case/2019다1234``), its text (NFC), what else its rows say, and their digest.

    ``fault`` is what keeps it out. Bytes that are not UTF-8 are lone surrogates (surrogateescape) in all of it.
    """

    id: str
    text: str
    meta: dict[str, Any]
    digest: bytes
    fault: Fault | None = None


class Survey:
    """Which documents a database holds: their ids and the digests of their rows, in the order they were found."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.digests: list[bytes] = []

    def add(self, name: str, digest: bytes) -> None:
        """Take note of one document."""
        self.ids.append(name)
        self.digests.append(digest)

    def count_buckets(self, rows_per_shard: int) -> int:
        """Return how many buckets there are: a power of two that follows the number of documents."""
        return min(FINEST, power_of_two(len(self.ids) / rows_per_shard))

    def buckets(self, count: int) -> list[tuple[int, str]]:
        """Return the number of documents and their digest for every bucket of ids; ``count`` is a power of two."""
        inside: list[list[bytes]] = [[] for _ in range(count)]
        for name, digest in zip(self.ids, self.digests, strict=True):
            inside[bucket_of(name, count)].append(digest)
        return [(len(digests), sum_of(digests)) for digests in inside]

    def contents(self) -> dict[str, bytes]:
        """Return the digest of every id; rows that share an id count together."""
        found = dict(zip(self.ids, self.digests, strict=True))
        if len(found) < len(self.ids):
            shared: dict[str, list[bytes]] = {}
            for name, digest in zip(self.ids, self.digests, strict=True):
                shared.setdefault(name, []).append(digest)
            found = {name: bytes.fromhex(sum_of(digests)) for name, digests in shared.items()}
        return found


def sum_of(digests: Collection[bytes]) -> str:
    """Return the digest of many documents in hex: a sum, as ledgers have it, so that the order does not count."""
    total = sum(int.from_bytes(digest, "big") for digest in digests)
    return f"{total % (1 << 8 * DIGEST_BYTES):0{2 * DIGEST_BYTES}x}"


def digest_of_rows(name: str, rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a hash of a document's id and rows; no two different ones give the same bytes to hash.

    Text comes as bytearray (from SQLite, undecoded) or str, a BLOB as bytes; so the two are told apart.
    """
    data: list[Any] = [b"", name.encode("utf-8", "surrogateescape")]
    shape: list[Any] = [len(data[1])]
    for row in rows:
        for value in row:
            kind = type(value)
            if kind is bytearray:
                data.append(value)
                shape.append(len(value))
            elif kind is str:
                raw = value.encode("utf-8", "surrogateescape")
                data.append(raw)
                shape.append(len(raw))
            elif kind is bytes:
                data.append(value)
                shape.append((len(value),))
            else:
                shape.append(repr(value))
        shape.append("")
    data[0] = repr(shape).encode()
    return hashlib.blake2b(b"".join(data), digest_size=DIGEST_BYTES).digest()


def fault_of(document: Document, former: str | None) -> Fault | None:
    """Return what keeps a document out, given the id of the one before it in the order of ids.

    Faults are an id that is NULL (MISSING_FIELD, set already), an id that an earlier document has (DUPLICATE_ID), and
    bytes that are not UTF-8 (INVALID_UTF8).
    """
    if document.fault:
        return document.fault
    if document.id == former:
        return Fault("DUPLICATE_ID", f"the id {document.id} was seen before in this database")
    for column, value in [("id", document.id), ("text", document.text), *document.meta.items()]:
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            return Fault("INVALID_UTF8", f"{column}: the character at {error.start} is not UTF-8")
    return None


def require_columns(needed: Iterable[str], found: Sequence[str], table: str | None = None) -> None:
    """Raise ValueError unless each of the needed columns is among those found, and once."""
    for name in needed:
        if found.count(name) != 1:
            what = "are several columns" if name in found else "is no column"
            where = f" in {table}" if table else ""
            raise ValueError(f"there {what} {name!r}{where}; there are {', '.join(found)}")


def missing_id(column: str) -> Fault:
    """Return the fault of a document whose id is NULL."""
    return Fault("MISSING_FIELD", f"the column {column} is NULL, so the document has no id")
