"""Config of sample selection and tokenization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from malgeul.shards.settings import Named, Section


class SelectSettings(Section):
    """Which samples are made of a document."""

    kind: Literal["mentions", "sequences"] = "mentions"
    """mentions: a window with one mention of a repeated name masked. sequences: plain text for a language model."""
    profile: Literal["malgeul", "seed_compat"] = "malgeul"
    """Of mentions. seed_compat: the rules of hong-seongmin/test_autocoref, for comparison: no document with a pronoun,
    the first window only, and of a name the second to fourth mention."""
    packing: Literal["packed", "document"] = "packed"
    """Of sequences. packed: stretches of several documents share a row, none is cut; document: a row holds one
    stretch of one."""
    max_entity_freq: int = Field(1000, ge=1)
    """At most this many samples per entity over the whole corpus; those with the smallest hashes stay."""
    sequence_length: int = Field(512, ge=16)
    """Tokens of a window, special tokens counted."""
    min_distance: int = Field(10, ge=0)
    """Characters between a masked mention and the one before it, at least."""
    max_distance: int = Field(2000, ge=1)
    """Characters between a masked mention and the one before it, at most."""
    masked_per_group: int = Field(3, ge=1)
    """At most this many mentions of a group are masked, one a sample; the first mention never is."""
    seed: int = 0
    """Seed of every hash that decides about samples and splits."""
    validation_share: float = Field(0.05, ge=0, lt=1)
    """Share of documents whose samples are for validation."""
    test_share: float = Field(0.05, ge=0, lt=1)
    """Share of documents whose samples are for testing."""

    def idle(self) -> set[str]:
        """Return the keys that are of the other kind of samples."""
        if self.kind == "mentions":
            return {"packing"}
        return {"profile", "min_distance", "max_distance", "masked_per_group"}

    @model_validator(mode="after")
    def _some_distance_fits(self) -> SelectSettings:
        if self.min_distance > self.max_distance:
            raise ValueError(f"no distance is at least {self.min_distance} and at most {self.max_distance} characters")
        return self

    @model_validator(mode="after")
    def _something_is_left_for_training(self) -> SelectSettings:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing for training")
        return self


class TokenizeSettings(Section):
    """Which tokenizer makes pieces of the text."""

    tokenizer: Named = "resources/models/tokenizer-ko-demo"
    """Hub id (kakaobank/kf-deberta-base) or folder of a fast tokenizer."""
    revision: Named | None = None
    """Revision of a hub id; pin it for results that can be repeated."""


class MergeSettings(Section):
    """What the merged dataset is given beside its Arrow files."""

    parquet: bool = False
    """Write dataset/parquet too, which ``datasets.load_dataset`` opens and other programs read."""
