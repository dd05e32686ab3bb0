"""Config of trainings: what is learnt from what, how long, and in which precision."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from malgeul.shards.settings import Named, Section
from malgeul.training.examples import TEST, Sharing

NAME = "^[a-z][a-z0-9_]*$"
"""What a training may be called: it is the name of its folder."""


class AdapterSettings(Section):
    """A low-rank adapter (LoRA, Hu et al. 2021) that learns instead of the model's own weights, by peft."""

    rank: int = Field(8, ge=1)
    """Rank of the update of a matrix."""
    alpha: int = Field(16, ge=1)
    """The update is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are left out while it learns."""
    targets: Annotated[list[Named], Field(min_length=1)] | None = None
    """Ends of the names of the matrices that get one (query, value); null: what peft knows for the architecture."""
    base_precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What the base's own weights are kept in, which do not learn; those of the adapter and of a new head are float32.
    auto: bfloat16 where that is computed in, else float32. In 16 bits they can be kept only where the same is computed
    in."""


class TrainingSettings(Section):
    """What every training has."""

    base: Named
    """Hub id or folder of the model that learns."""
    revision: Named | None = None
    """Branch, tag or commit of a hub id; pin it for results that can be repeated."""
    adapter: AdapterSettings | None = None
    """Train an adapter; null: all weights learn."""
    epochs: float = Field(1.0, gt=0)
    """How often every row is seen; the rows of an epoch that do not fill a batch, others each time, are left out."""
    steps: int | None = Field(None, ge=1)
    """Steps instead of epochs."""
    batch: int = Field(32, ge=1)
    """Rows of a step over all GPUs. How many of them are computed at a time is found out by halving when memory runs
    out; the step stays the same."""
    learning_rate: float = Field(5e-5, gt=0)
    """The highest, after the warm-up; it falls linearly to zero."""
    warmup: float = Field(0.06, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """Of AdamW."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What is computed in; weights that learn are float32. auto: bfloat16 on GPUs that have it, float16 on others,
    float32 on CPUs."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time."""
    log_every: int = Field(10, ge=1)
    """Steps between points of the curve of the loss."""
    measure_every: int = Field(200, ge=1)
    """Steps between two measures on the validation rows, each with a checkpoint from which a killed job goes on."""
    validation_rows: int = Field(2000, ge=1)
    """Validation rows that are measured at most while training, spread evenly over all."""
    patience: int = Field(0, ge=0)
    """End after so many measures in a row without a lower loss on the validation rows; 0: never. In either case the
    weights with the lowest are kept."""
    seed: int = Field(0, ge=0, lt=1 << 32)
    """Seed of new weights, the order of rows, dropout and masks."""
    licence: str | None = None
    """Licence of the trained model, for its card (an identifier as Hugging Face has them)."""
    beside: dict[Annotated[str, Field(pattern=NAME)], Named] = {}
    """Other models by name (hub id or folder), or adapters on the same base, that the evaluation measures on the same
    rows, such as one trained on samples of seed_compat."""

    @property
    def reads(self) -> list[str]:
        """Files and folders of the user's that the training or its evaluation reads, beside models."""
        return []

    @model_validator(mode="after")
    def _checkpoints_fall_on_points(self) -> TrainingSettings:
        if self.measure_every % self.log_every:
            raise ValueError(
                f"measure_every {self.measure_every} is no multiple of log_every {self.log_every}, so that the curve "
                "of a resumed training would differ"
            )
        if taken := sorted({"before", "after"} & self.beside.keys()):
            raise ValueError(f"beside: the name {taken[0]} stands for the base or the trained model; give another")
        return self

    @model_validator(mode="after")
    def _base_is_kept_as_it_is_computed(self) -> TrainingSettings:
        if self.precision != "auto":
            base_precision(self, self.precision)
        return self


def base_precision(settings: TrainingSettings, computed: str) -> str:
    """Return what weights of the base are kept in where so much is ``computed`` in: float32 where they learn.

    Raises ValueError for 16 bits that are not computed in.
    """
    if settings.adapter is None:
        return "float32"
    wanted = settings.adapter.base_precision
    if wanted == "auto":
        return "bfloat16" if computed == "bfloat16" else "float32"
    if wanted not in ("float32", computed):
        raise ValueError(f"adapter.base_precision {wanted} needs precision {wanted}; what is computed in is {computed}")
    return wanted


class DatasetTraining(TrainingSettings):
    """What trainings on the merged dataset have."""

    also_on: dict[Annotated[str, Field(pattern=NAME)], Named] = {}
    """Other datasets by name (folders like results/<run>/dataset) on whose test rows the models are measured too, such
    as that of a run with select.profile seed_compat."""

    @model_validator(mode="after")
    def _own_rows_keep_their_name(self) -> DatasetTraining:
        if TEST in self.also_on:
            raise ValueError(f"also_on: the name {TEST} stands for the test rows of this run; give another")
        return self

    @property
    def reads(self) -> list[str]:
        """The other datasets."""
        return list(self.also_on.values())


class CorefTraining(DatasetTraining):
    """Mention reference prediction (Ye et al. 2020) on the dataset's samples of masked mentions."""

    kind: Literal["coref"]
    """What is learnt."""


class MlmTraining(DatasetTraining):
    """Masked language modelling (BERT's: 80 % masked, 10 % random, 10 % left) on the dataset's sequences."""

    kind: Literal["mlm"]
    """What is learnt."""
    mask_share: float = Field(0.15, gt=0, lt=1)
    """Share of the pieces that are to be predicted."""


class FileTraining(TrainingSettings):
    """What trainings on files of the user's have: JSON lines, split by a hash of what each is of."""

    files: list[Named] = Field(min_length=1)
    """JSON lines files: paths, relative to the working directory or to the Snakefile."""
    id_field: Named | None = None
    """Field that names the document a line is of; lines of one document share a split. null: every text is its own."""
    longest: int = Field(512, ge=8)
    """Tokens of a text that the model sees at most; fewer where it takes fewer."""
    validation_share: float = Field(0.1, gt=0, lt=1)
    """Share of documents that are for validation."""
    test_share: float = Field(0.1, ge=0, lt=1)
    """Share of documents that are for testing."""

    @property
    def reads(self) -> list[str]:
        """The files."""
        return self.files

    @model_validator(mode="after")
    def _something_is_left_for_training(self) -> FileTraining:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing for training")
        return self


class ClassifierTraining(FileTraining):
    """A classifier of texts: each line has a text and its label."""

    kind: Literal["classifier"]
    """What is learnt."""
    text_field: Named = "text"
    """Field of the text."""
    label_field: Named = "label"
    """Field of the label: a text or a whole number."""


class EmbeddingTraining(FileTraining):
    """Vectors of texts: each line has a query and a text that answers it; the other answers of a batch are wrong ones.

    The loss is the cross entropy over the cosines of a query with all answers of the batch (Henderson et al. 2017).
    """

    kind: Literal["embedding"]
    """What is learnt."""
    query_field: Named = "query"
    """Field of the query."""
    positive_field: Named = "positive"
    """Field of the text that answers it. It gets the base's own prompt for documents, if there is one."""
    query_prompt: str = ""
    """Before every query, such as "query: " of multilingual-e5."""
    scale: float = Field(20.0, gt=0)
    """Factor of the cosines (one over the temperature)."""
    scored: Named | None = None
    """JSON lines with text_a, text_b and score, on which Spearman's correlation with the cosines is measured."""

    @property
    def reads(self) -> list[str]:
        """The files, and that of scored pairs."""
        return [*self.files, *([self.scored] if self.scored else [])]


TrainingChoice = Annotated[
    CorefTraining | MlmTraining | ClassifierTraining | EmbeddingTraining, Field(discriminator="kind")
]

MEASURED_ON = frozenset({"beside", "also_on", "scored"})
"""Settings that the evaluation alone depends on."""

SAMPLES_OF = {"coref": "mentions", "mlm": "sequences"}
"""Kinds that learn from the merged dataset, and the kind of samples (select.kind) that they need."""

_CHOICE: TypeAdapter[TrainingChoice] = TypeAdapter(TrainingChoice)


def settings_of(value: dict[str, Any]) -> TrainingChoice:
    """Read the settings of a training from plain data."""
    return _CHOICE.validate_python(value)


def sharing_of(settings: FileTraining) -> Sharing:
    """Return how the examples of a training are dealt out."""
    return Sharing(settings.validation_share, settings.test_share)


def fields_of(settings: FileTraining) -> tuple[str, str]:
    """Return the two fields of a line that a training on files reads."""
    if isinstance(settings, ClassifierTraining):
        return settings.text_field, settings.label_field
    assert isinstance(settings, EmbeddingTraining)
    return settings.query_field, settings.positive_field
