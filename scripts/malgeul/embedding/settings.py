"""Config of document databases, chunks, vectors and the index."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, field_validator, model_validator

from malgeul.models.precision import Precision
from malgeul.shards.settings import Named, Section

Storage = Literal["float32", "float16", "int8"]
"""What vectors may be stored as."""


def is_server(address: str) -> bool:
    """Tell whether an address is PostgreSQL's and not that of a file."""
    return address.startswith(("postgresql://", "postgres://", "service="))


def check_address(address: str) -> None:
    """Raise ValueError for an address of PostgreSQL that has a password or more than a service's name."""
    if not is_server(address):
        return
    if address.startswith("service="):
        if not re.fullmatch(r"service=[A-Za-z0-9_.-]+", address):
            raise ValueError("write service=NAME alone; everything else belongs into ~/.pg_service.conf")
        return
    parts = urlsplit(address)
    if parts.password or "password" in parse_qs(parts.query):
        raise ValueError(
            "an address with a password would be written into results and logs: take it out, and put it into "
            "~/.pgpass, PGPASSWORD or a service of ~/.pg_service.conf (path: service=NAME)"
        )


class Database(Section):
    """A database with documents: an SQLite file, or a PostgreSQL server with pgvector."""

    path: Named
    """The SQLite file, relative to the working directory or to the Snakefile; or postgresql://user@host/database, or
    service=NAME of ~/.pg_service.conf. A password belongs into ~/.pgpass or PGPASSWORD, never here."""
    name: str | None = None
    """Name in shard ids; by default made of the file's or the server's database's name."""
    layout: Literal["law", "table", "query"] = "law"
    """law: the tables of a law-firm database (statutes, cases, decisions, interpretations, old embeddings)."""
    table: str | None = None
    """layout table: the table or view with one row a document."""
    query: str | None = None
    """layout query: a SELECT that yields one row a document."""
    id: Named = "id"
    """layout table or query: column with the document's id."""
    text: Named = "text"
    """layout table or query: column with the text. Where chunks begin and end is counted in characters of its composed
    form (NFC); in the law layout, of a document's paragraphs with an empty line between them."""
    rows_per_shard: int = Field(5000, ge=1)
    """About how many documents make a shard; shards split by doubling when the database grows. The export of each reads
    the whole database, which takes about 3 s of a processor where there are a million short documents."""

    @property
    def is_server(self) -> bool:
        """Tell whether the database is a PostgreSQL server's."""
        return is_server(self.path)

    @property
    def default_name(self) -> str:
        """What the database is called where the config names it not."""
        if self.path.startswith("service="):
            return self.path.removeprefix("service=")
        if self.is_server:
            return urlsplit(self.path).path.rsplit("/", 1)[-1] or "postgres"
        return self.path.rstrip("/").rsplit("/", 1)[-1].rsplit(".", 1)[0]

    @model_validator(mode="after")
    def _address_is_plain(self) -> Database:
        """Look at the address here, not at the field: an error of a field shows its value, and a password with it."""
        check_address(self.path)
        return self

    @model_validator(mode="after")
    def _source_is_named(self) -> Database:
        for layout, source in (("table", self.table), ("query", self.query)):
            if self.layout == layout and not source:
                raise ValueError(f"layout: {layout} needs the key {layout}")
            if self.layout != layout and source:
                raise ValueError(f"the key {layout} is read with layout: {layout} alone; the layout is {self.layout}")
        return self


class DocumentsInput(Section):
    """Which databases go in, and whether vectors go back."""

    databases: list[Database] = []
    """Zero or more databases."""
    write_back: Literal["off", "copy", "in_place"] = "copy"
    """copy: the new version goes into results/<run>/database/; in_place: into the database itself; off: nowhere.
    A PostgreSQL database is no file to copy: in_place or off."""
    min_chars: int = Field(50, ge=1)
    """A shorter document is rejected as too_short."""

    @field_validator("write_back", mode="before")
    @classmethod
    def _off_without_quotes(cls, value: object) -> object:
        """Take a bare off as it is meant: YAML 1.1, which Snakemake reads, has it for false."""
        return "off" if value is False else value

    @model_validator(mode="after")
    def _files_alone_are_copied(self) -> DocumentsInput:
        servers = [database.path for database in self.databases if database.is_server]
        if servers and self.write_back == "copy":
            raise ValueError(
                f"{servers[0]} is no file that could be copied: set write_back: in_place (the new version stands "
                "beside the old ones there, and switching back is one command) or off"
            )
        return self


class ChunkLimits(Section):
    """How large the chunks of a kind of document are (strategy dynamic)."""

    min_chars: int = Field(ge=1)
    """Smallest chunk in characters, where the document is long enough."""
    max_chars: int = Field(ge=50)
    """Largest chunk in characters."""
    overlap: float = Field(0.0, ge=0, le=0.5)
    """Share of a chunk that the next one begins with again, at most."""

    @model_validator(mode="after")
    def _minimum_is_the_smaller(self) -> ChunkLimits:
        if self.min_chars >= self.max_chars:
            raise ValueError("min_chars must be less than max_chars")
        return self


KINDS = {
    "statute": ChunkLimits(min_chars=300, max_chars=1000, overlap=0.15),
    "case": ChunkLimits(min_chars=500, max_chars=2000, overlap=0.30),
}
"""Limits of the kinds of document that the law layout knows."""


class ChunkSettings(Section):
    """How documents are cut."""

    strategy: Literal["standard", "dynamic", "hybrid", "tokens"] = "standard"
    """standard: one size in characters; dynamic: sizes by kind of document and of query; hybrid: three sizes at once;
    tokens: one size in tokens of the embedding model. What the model takes is the limit in any case."""
    sentences: Literal["kiwi", "punctuation"] = "kiwi"
    """What tells sentences apart. Kiwi knows Korean endings and takes about 25 ms for 1,000 characters; documents that
    are one chunk are not given to it."""
    min_chars: int | None = Field(None, ge=1)
    """Smallest chunk in characters, where the document is long enough (standard); by default half of max_chars."""
    max_chars: int = Field(800, ge=50)
    """Largest chunk in characters (standard)."""
    overlap_chars: int = Field(80, ge=0)
    """Characters a chunk shares with the one before, at most; sentences where some fit (standard)."""
    kinds: dict[str, ChunkLimits] = KINDS
    """Limits by kind of document, which is `kind` of its meta; a text that plainly is a statute is one (dynamic).
    Kinds that are not named here keep theirs: statute 300 to 1,000 characters with an overlap of 0.15, case 500 to
    2,000 with 0.30."""
    other: ChunkLimits = ChunkLimits(min_chars=400, max_chars=1500, overlap=0.15)
    """Limits of documents of any other kind (dynamic)."""
    query_type: Literal["precise", "balanced", "broad"] = "balanced"
    """What will be asked. precise: facts, found best in small chunks, so the lower half of the limits; broad: questions
    that need context, the upper half; balanced: all of it (dynamic)."""
    min_tokens: int | None = Field(None, ge=1)
    """Smallest chunk in tokens, where the document is long enough (tokens); by default half of max_tokens."""
    max_tokens: int | None = Field(None, ge=64)
    """Largest chunk in tokens, prompt and special tokens counted (tokens); by default 512, or what the model takes
    where that is less."""
    overlap_tokens: int = Field(32, ge=0)
    """Tokens a chunk shares with the one before, at most (tokens)."""

    def idle(self) -> set[str]:
        """Return the keys that are of another strategy."""
        read_by: dict[str, set[str]] = {
            "standard": {"min_chars", "max_chars", "overlap_chars"},
            "dynamic": {"kinds", "other", "query_type"},
            "hybrid": set(),
            "tokens": {"min_tokens", "max_tokens", "overlap_tokens"},
        }
        return set().union(*read_by.values()) - read_by[self.strategy]

    @field_validator("kinds")
    @classmethod
    def _others_keep_theirs(cls, kinds: dict[str, ChunkLimits]) -> dict[str, ChunkLimits]:
        return KINDS | kinds

    @model_validator(mode="after")
    def _minimum_and_overlap_are_the_smaller(self) -> ChunkSettings:
        for unit in ("chars", "tokens"):
            least, most, shared = (getattr(self, f"{name}_{unit}") for name in ("min", "max", "overlap"))
            if most is None:
                continue  # the model decides; compared when it is known
            if least is not None and least >= most:
                raise ValueError(f"min_{unit} must be less than max_{unit}")
            if shared * 2 > most:
                raise ValueError(f"overlap_{unit} may be half of max_{unit} at most")
        return self


class EmbedSettings(Section):
    """Which model embeds what."""

    HANDLING: ClassVar = ["model", "revision", "batch_tokens", "max_truncated_share"]
    # These change no vector: what a model holds is in the job's identity, however it is spelled.

    model: Named = "resources/models/embed-ko-demo"
    """Hub id (BAAI/bge-m3) or folder in sentence-transformers' format."""
    revision: Named | None = None
    """Revision of a hub id; pin it for results that can be repeated."""
    inputs: list[Literal["documents", "text", "transcripts"]] = ["documents", "text", "transcripts"]
    """What becomes chunks and vectors."""
    batch_tokens: int = Field(16384, ge=1)
    """Tokens of one batch, at most, on a processor for each of its cores; fewer where the device's free memory does not
    hold them, and 4,096 for a core, which more do not make faster. Halved when memory runs out all the same."""
    precision: Precision = "auto"
    """In what the model computes. auto: float16 on a GPU, float32 on a processor. fastest: what embeds a sample of
    the texts fastest on this machine, of the precisions that keep to ``parity``: float32, bfloat16 (where there are
    instructions for it) and int8 on a processor; measured once in a run. int8 hangs a little on which texts are in a
    batch, and so on the number of cores."""
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

    def idle(self) -> set[str]:
        """Return parity where no precision is looked for."""
        return set() if self.precision == "fastest" else {"parity"}

    @field_validator("inputs")
    @classmethod
    def _are_named_once(cls, inputs: list[str]) -> list[str]:
        """Refuse an input that is named twice: each of its chunks would stand twice in the index."""
        if twice := [name for name, count in Counter(inputs).items() if count > 1]:
            raise ValueError(f"{twice[0]} is named twice")
        return inputs


class IndexSettings(Section):
    """How vectors are searched."""

    exact_below: int = Field(250_000, ge=100)
    """Fewer vectors are compared one by one; of more, FAISS finds the candidates."""
    recall: float = Field(0.99, ge=0.5, le=1.0)
    """Share of the ten nearest that FAISS has to find; how many lists that takes is measured when they are built. More
    than ten are searched exactly."""


def version_settings(documents: DocumentsInput, chunk: ChunkSettings, embed: EmbedSettings) -> dict[str, Any]:
    """Return what a version says of the settings that it was made with; those that change no vector are left out."""
    apart = {"inputs", "query_prompt", "batch_tokens", "max_truncated_share"}
    return {
        "min_chars": documents.min_chars,
        "chunk": chunk.model_dump(mode="json"),
        "embed": embed.model_dump(mode="json", exclude=apart),
    }
