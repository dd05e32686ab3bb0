"""Names and ids: what a shard, a recording and a file are called, on any file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata

SHARD_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""What a shard id looks like, for Snakemake's wildcards. It has no dot, so that an output without a suffix is a folder.
"""

TRANSCRIPTS = "transcripts"
"""The text source that transcripts enter the text wing as."""


def nfc(text: str) -> str:
    """Return ``text`` composed (NFC), the form in which names are shown, compared and hashed."""
    return unicodedata.normalize("NFC", text)


def slug(text: str) -> str:
    """Return an ASCII name for a source: letters, digits, ``_`` and ``-``; at most 40 characters.

    A name without any ASCII letter or digit (상담) gets a short hash of itself, so that it stays stable and unique.
    """
    ascii_part = re.sub(r"[^A-Za-z0-9_]+", "-", nfc(text)).strip("-").lower()[:40]
    return ascii_part or f"source-{hashlib.sha256(nfc(text).encode()).hexdigest()[:6]}"


def stable_hash(text: str) -> int:
    """Return a 64-bit number that depends on ``text`` alone, the same on every machine and in every Python."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def printable(text: str) -> str:
    """Return ``text`` as valid Unicode: bytes of a path that are no UTF-8 (names in EUC-KR) become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def content_id(sha256: str) -> str:
    """Return the id that content makes, a recording's bytes or a text: the first 16 hex digits of its sha256."""
    return sha256[:16]
