"""The base of every section of the config: typed, closed against unknown keys, and unchangeable."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Named = Annotated[str, Field(min_length=1)]
"""A path, model or field. Left empty it is a mistake: as a path it would be the working directory."""


class Section(BaseModel):
    """One section of the config: unknown keys are errors, docstrings of fields become the schema's descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _nothing_behind_a_key(cls, value: Any) -> Any:
        """Take ``paths:`` or ``recordings:`` with nothing behind it (null in YAML) as if the key were not there."""
        if not isinstance(value, dict):
            return value
        whole = {key for key, field in cls.model_fields.items() if isinstance(field.default, Section | list | dict)}
        return {key: part for key, part in value.items() if part is not None or key not in whole}

    def idle(self) -> set[str]:
        """Return the keys that nothing reads while the others are as they are; a change of one starts no job."""
        return set()


class ShardLimits(Section):
    """How much input one shard of a source holds. Larger shards mean fewer jobs, smaller ones less to repeat."""

    files: int = Field(200, ge=1)
    """At most this many files."""
    megabytes: int = Field(512, ge=1)
    """At most this many megabytes, unless one file alone is larger."""
