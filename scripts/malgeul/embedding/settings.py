"""Config of document databases, chunks, vectors and the index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from malgeul.models.precision import Precision
from malgeul.shards.settings import Section

Storage = Literal["float32", "float16", "int8"]
"""What vectors may be stored as."""


class Database(Section):
    """An SQLite database with documents."""

    path: str
    """The file; relative to the working directory or to the Snakefile."""
    name: str | None = None
    """Name in shard ids; by default made of the file's name."""
    layout: Literal["law", "table", "query"] = "law"
    """law: the tables of a law-firm database (statutes, cases, decisions, interpretations, old embeddings)."""
    table: str | None = None
    """layout table: the table or view with one row a document."""
    query: str | None = None
    """layout query: a SELECT that yields one row a document."""
    id: str = "id"
    """layout table or query: column with the document's id."""
    text: str = "text"
    """layout table or query: column with the text."""
    rows_per_shard: int = Field(5000, ge=1)
    """About how many documents make a shard; shards split by doubling when the database grows."""

    @model_validator(mode="after")
    def _source_is_named(self) -> Database:
        if self.layout == "table" and not self.table:
            raise ValueError("layout: table needs the key table")
        if self.layout == "query" and not self.query:
            raise ValueError("layout: query needs the key query")
        return self


class DocumentsInput(Section):
    """Which databases go in, and whether vectors go back."""

    databases: list[Database] = []
    """Zero or more databases."""
    write_back: Literal["off", "copy", "in_place"] = "copy"
    """copy: the new version goes into results/<run>/database/; in_place: into the database itself; off: nowhere."""
    min_chars: int = Field(50, ge=1)
    """A shorter document is rejected as too_short."""


class ChunkSettings(Section):
    """How documents are cut."""

    strategy: Literal["standard", "dynamic", "hybrid"] = "standard"
    """standard: one size; dynamic: sizes by kind of document; hybrid: three sizes at once."""
    max_chars: int = Field(800, ge=50)
    """Largest chunk in characters (standard)."""
    overlap_chars: int = Field(80, ge=0)
    """Characters a chunk shares with the one before, at most: whole sentences (standard)."""

    @model_validator(mode="after")
    def _overlap_is_the_smaller(self) -> ChunkSettings:
        if self.overlap_chars * 2 > self.max_chars:
            raise ValueError("overlap_chars may be half of max_chars at most")
        return self


class EmbedSettings(Section):
    """Which model embeds what."""

    model: str = "resources/models/embed-ko-demo"
    """Hub id (BAAI/bge-m3) or folder in sentence-transformers' format."""
    revision: str | None = None
    """Revision of a hub id; pin it for results that can be repeated."""
    inputs: list[Literal["documents", "text", "transcripts"]] = ["documents", "text", "transcripts"]
    """What becomes chunks and vectors."""
    batch_tokens: int = Field(16384, ge=1)
    """Tokens of one batch, at most; fewer where the device's free memory does not hold them, and 4,096 at most on a
    processor, whose caches do not. Halved when memory runs out all the same."""
    precision: Precision = "auto"
    """In what the model computes. auto: float16 on a GPU, float32 on a processor. fastest: what embeds a sample of the
    shard fastest on this machine, of the precisions that keep to ``parity``: float32, bfloat16 (where there are
    instructions for it) and int8 on a processor. int8 hangs a little on which texts are in a batch."""
    parity: float = Field(0.9999, gt=0, le=1)
    """precision fastest: the least cosine that every vector of the sample must have with that of float32."""
    prompt: str | None = None
    """Stands before every text, in the place of the prompt for documents that the model's files name (e5, whose files
    name none, wants "passage: ")."""
    query_prompt: str | None = None
    """Stands before what is searched for, in the place of the model's own (e5: "query: ")."""
    max_truncated_share: float = Field(0.01, ge=0, le=1)
    """Share of the tokens that may be cut off because the model takes no more of a text. Chunks are made to fit, so
    that nothing is cut; over this share the shard fails, since the ends of texts would not be found."""
    dimensions: int | None = Field(None, ge=1)
    """Of every vector the first so many numbers are kept, at unit length again; for models made for it (Matryoshka)."""
    storage: Storage = "float32"
    """What embeddings/ holds numbers as: float16 takes half the room and keeps 3 digits (cosine with the whole vector
    about 0.9999999), int8 with a scale a vector a quarter (about 0.9999)."""
