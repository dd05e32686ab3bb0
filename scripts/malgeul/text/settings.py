"""Config of text sources, their ingestion and the filter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from malgeul.models.settings import TextClassifier
from malgeul.shards.settings import Named, Section, ShardLimits
from malgeul.text.profiles import REASONS, Rule, check_profile, check_thresholds

LANGUAGES = (
    "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv "
    "fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky "
    "la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa "
    "sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx"
)
"""What py3langid tells apart. Asking it takes a package that the process that reads the config may not have."""

Threshold = Annotated[float, Field(allow_inf_nan=True)]
"""An infinite one turns a rule off."""


class TextSource(Section):
    """Files of one kind with the fields they have."""

    path: Named
    """File, folder (searched to any depth) or glob; relative to the working directory or to the Snakefile. What runs
    have made in results/ is left out of a folder or glob that holds more than that."""
    name: str | None = None
    """Name of the source in shard ids; by default made of the last part of the path."""
    format: Literal["jsonl", "parquet", "arrow", "txt"]
    """jsonl (.jsonl, .ndjson or .json; plain, .gz, .zst, .bz2, .xz), parquet, arrow (what datasets' save_to_disk
    wrote), or txt (.txt and .md): a file a document."""
    text_field: Named = "text"
    """Field or column that holds the text."""
    id_field: Named | None = "id"
    """Field or column that holds the id; null: ids are made from file and text (a .txt file's
    name is its id). Of records of the source that share one, and pass the rules on the text, the first stays."""
    licence: str | None = None
    """Licence of the texts, for the dataset's card (an identifier as Hugging Face has them: cc-by-sa-4.0)."""
    profile: str | None = None
    """Filter profile for this source instead of filter.profile."""
    thresholds: dict[str, Threshold] = {}
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


class BoilerplateSettings(Section):
    """Lines that many documents share, such as menus and notices of copyright; boilerplate.parquet lists them."""

    documents: int = Field(100, ge=2)
    """In so many documents a line counts as boilerplate; duplicates are not counted."""
    remove: bool = False
    """Cut them out of the documents; what is left is judged once more by the rules on the text."""


class ScorerSettings(Section):
    """What every scorer has: which documents it rejects."""

    minimum: float | None = None
    """Documents with a lower score are rejected, with the scorer's name as the reason."""
    maximum: float | None = None
    """Documents with a higher score are rejected. Without either the score is only recorded."""

    @model_validator(mode="after")
    def _can_be_met(self) -> ScorerSettings:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"no score is at least {self.minimum} and at most {self.maximum}")
        return self

    def rules(self, name: str) -> list[Rule]:
        """Return the rules that compare the score."""
        rules = []
        if self.minimum is not None:
            rules.append(Rule(name, name, "<", self.minimum))
        if self.maximum is not None:
            rules.append(Rule(name, name, ">", self.maximum))
        return rules


class LanguageSettings(ScorerSettings):
    """How likely a text is of a language, by py3langid (naive Bayes over bytes)."""

    kind: Literal["language"]
    """Which of the scorers this is."""
    language: str = "ko"
    """Its code: of ISO 639-1, or of 639-3 where that has none."""

    @field_validator("language")
    @classmethod
    def _is_known(cls, language: str) -> str:
        if language not in LANGUAGES.split():
            raise ValueError(f"py3langid knows no language {language!r}; it knows {LANGUAGES}")
        return language


class ClassifierSettings(ScorerSettings, TextClassifier):
    """The probability of a label by a classifier of transformers, or by a model that answers a question."""

    kind: Literal["classifier"]
    """Which of the scorers this is."""
    label: Named
    """The label whose probability is the score, as the model's config.json (or its adapter's) names it."""


class OverlapSettings(ScorerSettings):
    """How much of a test set a text contains: the largest share of an item's n-grams of words found in it."""

    kind: Literal["overlap"]
    """Which of the scorers this is."""
    files: list[Named] = Field(min_length=1)
    """Test sets: .jsonl with the fields below, or .txt with an item a line."""
    fields: list[Named] = Field(["text"], min_length=1)
    """Fields of an item that are looked for, each by itself."""
    words: int = Field(8, ge=2)
    """Words of an n-gram; items that are shorter are not looked for."""


class OwnSettings(ScorerSettings):
    """A user's own program: a Python file whose ``load(**options)`` returns a function from texts to numbers.

    A change of the file scores again; a change of files that it reads by itself does not.
    """

    kind: Literal["own"]
    """Which of the scorers this is."""
    file: Named
    """The Python file."""
    options: dict[str, Any] = {}
    """Given to load."""

    @model_validator(mode="after")
    def _is_python(self) -> OwnSettings:
        if not self.file.endswith(".py"):
            raise ValueError(f"{self.file} is no Python file")
        return self


ScorerChoice = Annotated[
    LanguageSettings | ClassifierSettings | OverlapSettings | OwnSettings, Field(discriminator="kind")
]


class FilterSettings(Section):
    """Which documents stay."""

    profile: str = "malgeul"
    """Rules and thresholds by name: malgeul, hplt, fineweb2_ko, seed_compat or speech."""
    thresholds: dict[str, Threshold] = {}
    """Thresholds by rule, instead of those of the profile above; sources with another profile keep theirs. .inf turns a
    rule off that has a highest value, -.inf one that has a lowest."""

    measure: Literal["needed", "all"] = "needed"
    """needed: a document's later measures stay null once a rule rejects it. all: every rule's measure is taken of every
    document, to study thresholds without a second pass; it costs an analysis of each rejected document. Duplicates are
    looked for among documents that pass the rules before them in either case."""
    boilerplate: BoilerplateSettings = BoilerplateSettings()
    """Lines that many documents share."""
    scorers: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], ScorerChoice] = {}
    """Further measures by name: language, a classifier, overlap with test sets, a program of your own."""
    mask_personal_numbers: bool = True
    """Replace resident registration, business, card, account and phone numbers, e-mail and IP addresses by what they
    are, such as [전화번호]."""

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, name: str) -> str:
        return check_profile(name)

    @model_validator(mode="after")
    def _names_of_their_own(self) -> FilterSettings:
        if taken := sorted(self.scorers.keys() & REASONS):
            raise ValueError(f"scorers need names that no rule has; there are rules {', '.join(taken)}")
        return self

    @model_validator(mode="after")
    def _known_rules(self) -> FilterSettings:
        check_thresholds(self.profile, self.thresholds)
        return self
