"""Config of sample selection and tokenization."""

from __future__ import annotations

from pydantic import Field

from malgeul.shards.settings import Section


class SelectSettings(Section):
    """Which samples are made of a document."""

    max_entity_freq: int = Field(1000, ge=1)
    """At most this many samples per entity over the whole corpus; those with the smallest hashes stay."""
    sequence_length: int = Field(512, ge=16)
    """Tokens of a window, special tokens counted."""
    seed: int = 0
    """Seed of every hash that decides about samples and splits."""
    validation_share: float = Field(0.05, ge=0, lt=1)
    """Share of documents whose samples are for validation."""
    test_share: float = Field(0.05, ge=0, lt=1)
    """Share of documents whose samples are for testing."""


class TokenizeSettings(Section):
    """Which tokenizer, and how its output is written."""

    tokenizer: str = "resources/models/tokenizer-ko"
    """Hub id (kakaobank/kf-deberta-base) or folder of a fast tokenizer."""
    revision: str | None = None
    """Revision of a hub id; pin it for results that can be repeated."""
