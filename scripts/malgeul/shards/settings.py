"""The base of every section of the config: typed, closed against unknown keys, and unchangeable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One section of the config: unknown keys are errors, docstrings of fields become the schema's descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ShardLimits(Section):
    """How much input one shard of a source holds. Larger shards mean fewer jobs, smaller ones less to repeat."""

    files: int = Field(200, ge=1)
    """At most this many files."""
    megabytes: int = Field(512, ge=1)
    """At most this many megabytes, unless one file alone is larger."""
