"""Config of text sources, their ingestion and the filter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from malgeul.shards.settings import Section, ShardLimits
from malgeul.text.profiles import check_profile, check_thresholds


class TextSource(Section):
    """Files of one kind with the fields they have."""

    path: str
    """File, folder (searched to any depth) or glob; relative to the working directory or to the Snakefile."""
    name: str | None = None
    """Name of the source in shard ids; by default made of the last part of the path."""
    format: Literal["jsonl", "parquet", "arrow", "txt"]
    """jsonl (plain, .gz, .zst, .bz2, .xz), parquet, arrow (what datasets' save_to_disk wrote), or txt (.txt and .md): a
    file a document."""
    text_field: str = "text"
    """Field or column that holds the text."""
    id_field: str | None = "id"
    """Field or column that holds the id; null: ids are made from the file's name and the record's number."""
    licence: str | None = None
    """Licence of the texts, for the dataset's card (an identifier as Hugging Face has them: cc-by-sa-4.0)."""
    profile: str | None = None
    """Filter profile for this source instead of filter.profile."""
    thresholds: dict[str, float] = {}
    """Thresholds by rule for this source, over those of filter.thresholds where the profile is the same."""

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, name: str | None) -> str | None:
        return None if name is None else check_profile(name)


class TextInput(Section):
    """Which text goes in."""

    sources: list[TextSource] = []
    """Zero or more sources."""
    shard: ShardLimits = ShardLimits(files=1000, megabytes=256)
    """How many files make a shard; a larger uncompressed JSONL or Parquet file has several."""


class IngestSettings(Section):
    """How records are read."""

    max_record_bytes: int = Field(16 << 20, ge=1)
    """A longer line or file is quarantined as TOO_LARGE."""


class FilterSettings(Section):
    """Which documents stay."""

    profile: str = "malgeul"
    """Rules and thresholds by name: malgeul, hplt, fineweb2_ko, seed_compat or speech."""
    thresholds: dict[str, float] = {}
    """Thresholds by rule, instead of those of the profile above; sources with another profile keep theirs."""

    measure: Literal["needed", "all"] = "needed"
    """needed: a document's later measures stay null once a rule rejects it. all: every rule's measure is taken of every
    document, to study thresholds without a second pass; it costs an analysis of each rejected document."""
    mask_personal_numbers: bool = True
    """Replace resident registration, business, card, account and phone numbers, e-mail and IP addresses by what they
    are, such as [전화번호]."""

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, name: str) -> str:
        return check_profile(name)

    @model_validator(mode="after")
    def _known_rules(self) -> FilterSettings:
        check_thresholds(self.profile, self.thresholds)
        return self
