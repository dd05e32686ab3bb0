"""The kinds of training, each joined with the wing that made what it learns from.

Like the config and the plan this module knows the wings; the training wing itself knows none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from malgeul.dataset.collator import MaskedMentionCollator
from malgeul.embedding.encoder import pool_padded
from malgeul.embedding.recipe import Dense, read_recipe
from malgeul.models.adapters import labels_of
from malgeul.models.positions import longest_input_of
from malgeul.models.tokenizers import load_fast_tokenizer
from malgeul.training.classes import ClassifierTask, sorted_labels
from malgeul.training.examples import read_examples, read_scored
from malgeul.training.masked import IGNORED, MentionTask, SequenceTask
from malgeul.training.pairs import PairTask, key_of
from malgeul.training.settings import (
    ClassifierTraining,
    CorefTraining,
    EmbeddingTraining,
    FileTraining,
    MlmTraining,
    TrainingSettings,
    sharing_of,
)
from malgeul.training.tasks import Row, Task

Rows = Callable[[str], Sequence[Row]]


def task_of(
    settings: TrainingSettings,
    base: Path,
    tokenizer: Path,
    *,
    dataset: Path | None = None,
    files: Sequence[Path] = (),
    scored: Path | None = None,
) -> Task:
    """Return the task of a training.

    ``tokenizer`` is the folder with the tokenizer that made ``dataset`` (of trainings on files: the base's own),
    ``files`` and ``scored`` are the user's. Raises ValueError where the base and the data do not fit each other.
    """
    match settings:
        case CorefTraining():
            assert dataset is not None
            check_vocabulary(base, tokenizer)
            return MentionTask(saved_rows(dataset), MaskedMentionCollator(_pad_id(tokenizer)), longest_row(dataset))
        case MlmTraining():
            assert dataset is not None
            check_vocabulary(base, tokenizer)
            return _sequences(settings, tokenizer, dataset)
        case ClassifierTraining():
            return _classifier(settings, base, files)
        case EmbeddingTraining():
            return _pairs(settings, base, files, scored)
    raise TypeError(f"{type(settings).__name__} is no training")


def task_beside(settings: TrainingSettings, model: Path, tokenizer: Path, **data: Any) -> Task:
    """Return the task for a model that was trained elsewhere and is measured beside: it keeps its own query prompt.

    Raises ValueError also where a classifier knows other labels than the rows have.
    """
    if isinstance(settings, EmbeddingTraining):
        settings = settings.model_copy(update={"query_prompt": read_recipe(model).query_prompt})
    task = task_of(settings, model, tokenizer, **data)
    if isinstance(task, ClassifierTask) and set(known := labels_of(model) or ()) != set(task.labels):
        raise ValueError(f"{model} knows the labels {', '.join(known) or '(none)'}, the rows {', '.join(task.labels)}")
    return task


def _sequences(settings: MlmTraining, folder: Path, dataset: Path) -> Task:
    tokenizer = load_fast_tokenizer(folder)
    if tokenizer.mask_id is None:
        raise ValueError("the tokenizer has no mask token, which a masked language model needs")
    special = {number for number, token in tokenizer.backend.get_added_tokens_decoder().items() if token.special}
    return SequenceTask(
        saved_rows(dataset),
        partial(_unlabelled, MaskedMentionCollator(_pad_id(folder))),
        longest_row(dataset),
        mask_id=tokenizer.mask_id,
        special=sorted(special),
        vocabulary=tokenizer.backend.get_vocab_size(),
        share=settings.mask_share,
        seed=settings.seed,
    )


def saved_rows(dataset: Path) -> Rows:
    """Return the rows of a merged dataset by split, with the columns that are learnt from."""
    from datasets import load_from_disk

    splits = load_from_disk(str(dataset))

    def rows(split: str) -> Sequence[Row]:
        columns = [name for name in ("input_ids", "labels") if name in splits[split].column_names]
        found: Sequence[Row] = splits[split].select_columns(columns)
        return found

    return rows


def longest_row(dataset: Path) -> int:
    """Return how many pieces the longest row of a merged dataset has, over all splits."""
    from datasets import load_from_disk
    from pyarrow import compute

    columns = [split.data.column("input_ids") for split in load_from_disk(str(dataset)).values() if len(split)]
    return max((compute.max(compute.list_value_length(column)).as_py() for column in columns), default=0)


def check_vocabulary(base: Path, tokenizer: Path) -> None:
    """Raise ValueError when a base has another vocabulary than the tokenizer that made the dataset.

    A base without a tokenizer of its own must have as many embeddings as the tokenizer has pieces.
    """
    wanted = load_fast_tokenizer(tokenizer).backend.get_vocab()
    if (base / "tokenizer.json").is_file() or (base / "vocab.txt").is_file():
        if load_fast_tokenizer(base).backend.get_vocab() != wanted:
            raise ValueError(
                f"{base} has another vocabulary than the dataset's tokenizer ({tokenizer}); what learns from "
                "it needs that of tokenize.tokenizer"
            )
        return
    from transformers import AutoConfig

    pieces = AutoConfig.from_pretrained(str(base)).vocab_size
    if pieces <= max(wanted.values()):
        raise ValueError(f"{base} knows {pieces:,} pieces, the dataset's tokenizer has {len(wanted):,}")


def _unlabelled(collate: MaskedMentionCollator, rows: Sequence[Row]) -> dict[str, Any]:
    """Return sequences, which have no labels yet, as a batch."""
    batch = collate([{**row, "labels": [IGNORED] * len(row["input_ids"])} for row in rows])
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _classifier(settings: ClassifierTraining, base: Path, files: Sequence[Path]) -> Task:
    examples = _examples(settings, (settings.text_field, settings.label_field), files)
    labels = sorted_labels([label for _, label in examples["train"]])
    named = labels_of(base) or []
    if sorted(named) == labels:  # the model was trained for them, in its own order
        labels = named
    numbers = {label: number for number, label in enumerate(labels)}
    for split, some in examples.items():
        if unknown := sorted({label for _, label in some} - numbers.keys()):
            raise ValueError(f"the label {unknown[0]!r} of a {split} row has no row for training")
    encode = _encoder(base, min(settings.longest, longest_input_of(base) or settings.longest))

    @cache
    def rows(split: str) -> Sequence[Row]:
        ids = encode([text for text, _ in examples[split]])
        return [
            {"input_ids": one, "label": numbers[label]} for one, (_, label) in zip(ids, examples[split], strict=True)
        ]

    return ClassifierTask(rows, partial(_unlabelled, MaskedMentionCollator(_pad_id(base))), labels)


def _pairs(settings: EmbeddingTraining, base: Path, files: Sequence[Path], scored: Path | None) -> Task:
    examples = _examples(settings, (settings.query_field, settings.positive_field), files)
    recipe = read_recipe(base)
    if any(isinstance(step, Dense) for step in recipe.steps):
        raise ValueError(f"{base} has a Dense module behind the pooling, which is neither trained nor measured here")
    encode = _encoder(base, min(settings.longest, recipe.longest))

    @cache
    def rows(split: str) -> Sequence[Row]:
        queries = encode([settings.query_prompt + query for query, _ in examples[split]])
        answers = encode([recipe.prompt + answer for _, answer in examples[split]])
        return [
            {"query_ids": query, "positive_ids": answer, "key": key_of(text)}
            for query, answer, (_, text) in zip(queries, answers, examples[split], strict=True)
        ]

    collate = partial(_unlabelled, MaskedMentionCollator(_pad_id(base)))
    pooled = partial(pool_padded, how=recipe.pooling)
    pairs = read_scored(scored) if scored else []
    first = encode([recipe.prompt + one for one, _, _ in pairs])
    second = encode([recipe.prompt + other for _, other, _ in pairs])
    known = [
        ({"query_ids": one, "positive_ids": other, "key": 0}, score)
        for one, other, (_, _, score) in zip(first, second, pairs, strict=True)
    ]
    return PairTask(rows, collate, pooled, scale=settings.scale, batch=settings.batch, scored=known)


def _examples(settings: FileTraining, fields: Sequence[str], files: Sequence[Path]) -> dict[str, list[tuple[str, ...]]]:
    """Return the fields of the sound examples by split; what is wrong with others the job tells."""
    found: dict[str, list[tuple[str, ...]]] = {"train": [], "validation": [], "test": []}
    for example in read_examples(files, fields, settings.id_field, sharing_of(settings)):
        if isinstance(example.fields, tuple) and not example.repeated:
            found[example.split].append(example.fields)
    return found


def _encoder(base: Path, longest: int) -> Callable[[list[str]], list[list[int]]]:
    """Return what makes pieces of texts, cut to so many, special ones counted."""
    backend = load_fast_tokenizer(base).backend
    backend.enable_truncation(longest)

    def encode(texts: list[str]) -> list[list[int]]:
        return [found.ids for found in backend.encode_batch(texts)]

    return encode


def _pad_id(folder: Path) -> int:
    """Return the id that pads; the attention mask leaves it out, so that 0 does where a tokenizer names none."""
    from transformers import AutoTokenizer

    pad = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).pad_token_id
    return 0 if pad is None else int(pad)
