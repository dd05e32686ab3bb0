"""A training by transformers' Trainer: steps that fit into memory, exact resume, curves, the best weights kept.

The Trainer has the loop, the order of rows, optimizer, schedule, mixed precision and checkpoints. What a step computes
is ours: a batch is done in as many parts as memory asks for, and the gradients of several processes are added once at
its end, so that a batch halved in one of them neither changes the step nor leaves the others waiting.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import ExportableState, PrinterCallback

from malgeul.models.memory import Batcher, DoesNotFit
from malgeul.models.profiling import NO_PROFILE, Profile
from malgeul.shards.files import remove, sync_file, write_json
from malgeul.training.pairs import RandomState
from malgeul.training.ranks import OutOfMemory, Ranks
from malgeul.training.settings import TrainingChoice, base_precision
from malgeul.training.tasks import Batch, Pass, Row, Task

log = logging.getLogger(__name__)

COMPLETE = "complete.json"
"""File of a checkpoint that was written to its end by all processes, with the sizes of the others."""

JUDGED_AT_ONCE = 64
"""Rows that are measured at a time, fewer where memory asks for it."""

Point = dict[str, Any]


@dataclass(frozen=True)
class Course:
    """What became of a training.

    ``points`` are those of its curves, ``rows_at_once`` how many rows of a process fitted into memory at a time,
    ``best_step`` that of the weights that were kept, ``peak_bytes`` the most that was allocated on a GPU (None on a
    CPU), ``precision`` what was computed in, ``base_precision`` what the weights of the base were kept in.
    """

    points: list[Point]
    steps: int
    planned_steps: int
    best_step: int
    rows_at_once: int
    seconds: float
    samples_per_second: float | None
    peak_bytes: int | None
    precision: str
    base_precision: str
    weights: int
    learning_weights: int


def learn(
    task: Task,
    settings: TrainingChoice,
    folder: str,
    journal: Path,
    *,
    cuda: bool,
    threads: int,
    told: Callable[[Point], None] = lambda point: None,
    loading: Callable[[Path], AbstractContextManager[None]] = lambda folder: nullcontext(),
    profile: Profile = NO_PROFILE,
) -> tuple[Any, Course]:
    """Return the model of ``folder`` trained on a task, with the weights of the lowest validation loss, and its course.

    Checkpoints are in ``journal``; the newest that is complete is gone on from. ``told`` hears every point of the
    curves, ``loading`` gives what a folder is loaded in, and a step is a batch of ``profile``. Raises ValueError where
    the rows or the machine do not allow what ``settings`` ask for.
    """
    ranks = Ranks()
    train, validation = task.rows("train"), task.rows("validation")
    if settings.batch % ranks.size:
        raise ValueError(f"a batch of {settings.batch} rows cannot be shared evenly by {ranks.size} processes")
    if len(train) < settings.batch:
        raise ValueError(f"{len(train)} rows for training are fewer than a batch of {settings.batch}; lower batch")
    if not len(validation):
        raise ValueError("there are no rows for validation; raise validation_share or give more data")
    precision = precision_of(settings, cuda)
    kept = base_precision(settings, precision)
    set_seed(settings.seed)
    with loading(Path(folder)):
        model = task.load(folder, kept).to(torch.device("cuda" if cuda else "cpu"))
    model = adapted(model, settings, kept)
    arguments = _arguments(settings, journal, precision, cuda, threads, ranks)
    learner = Learner(
        task, model, arguments, train, spread(validation, settings.validation_rows), settings, told, profile
    )
    if ranks.rank == 0:
        remove_unusable(journal)
    ranks.wait()
    newest = newest_checkpoint(journal)
    if newest is None:
        learner.train()
    elif is_finished(newest):
        learner.take_again(newest)
    else:
        log.info("going on from %s", newest.name)
        learner.train(resume_from_checkpoint=str(newest))
    return learner.model, learner.course(precision, kept)


def adapted(model: Any, settings: TrainingChoice, kept: str) -> Any:
    """Return the model with an adapter that learns in its place, where ``settings`` ask for one.

    What does not learn stays in the precision that it is ``kept`` in.
    """
    if settings.adapter is None:
        return model
    from peft import LoraConfig, TaskType, cast_mixed_precision_params, get_peft_model

    kinds = {"classifier": TaskType.SEQ_CLS, "embedding": TaskType.FEATURE_EXTRACTION}
    wanted = settings.adapter
    config = LoraConfig(
        task_type=kinds.get(settings.kind),
        r=wanted.rank,
        lora_alpha=wanted.alpha,
        lora_dropout=wanted.dropout,
        target_modules=wanted.targets,
        modules_to_save=model.new_modules or None,  # what is new learns, and is saved with the adapter
    )
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise ValueError(
            f"adapter.targets do not fit a {model.config.model_type}: {error}; name the ends of the names of the "
            "matrices that are to get one"
        ) from error
    cast_mixed_precision_params(wrapped, getattr(torch, kept))  # peft itself leaves a new head in the base's
    if settings.gradient_checkpointing:
        wrapped.enable_input_require_grads()  # else no gradient passes the frozen layers that are computed again
    return wrapped


def precision_of(settings: TrainingChoice, cuda: bool) -> str:
    """Return what is computed in; raises ValueError where the device cannot."""
    wanted = settings.precision
    if wanted == "auto":
        if not cuda:
            return "float32"
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if wanted == "float16" and not cuda:
        raise ValueError("precision float16 needs a GPU; on a CPU there are float32 and bfloat16")
    return wanted


def _arguments(
    settings: TrainingChoice, journal: Path, precision: str, cuda: bool, threads: int, ranks: Ranks
) -> TrainingArguments:
    workers = max(0, min(4, threads - 1))  # one thread is the training's own
    return TrainingArguments(
        output_dir=str(journal),
        per_device_train_batch_size=settings.batch // ranks.size,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        bf16=precision == "bfloat16",
        fp16=precision == "float16",
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        seed=settings.seed,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=settings.measure_every,
        save_steps=settings.measure_every,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        # With the same rows in every step whatever the number of processes.
        dataloader_drop_last=True,
        dataloader_num_workers=workers if cuda else 0,
        # Since Python 3.14 they would be sent the rows, each a copy, and functions that cannot be sent.
        dataloader_multiprocessing_context="fork" if workers and cuda else None,
        dataloader_prefetch_factor=4 if workers and cuda else None,
        dataloader_persistent_workers=bool(workers and cuda),
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        use_cpu=not cuda,
        ddp_backend=("nccl" if cuda else "gloo") if ranks.size > 1 else None,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def spread(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """Return at most so many rows, spread evenly over all."""
    if len(rows) <= most:
        return rows
    return [rows[k * len(rows) // most] for k in range(most)]


class RowsAtOnce(TrainerCallback, ExportableState):  # type: ignore[misc]
    """How many rows are computed at a time; in every checkpoint, so that a resume need not find it out again."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {"args": {"rows": self.rows}, "attributes": {}}


class Learner(Trainer):  # type: ignore[misc]
    """The Trainer of a task."""

    def __init__(
        self,
        task: Task,
        model: Any,
        arguments: TrainingArguments,
        train: Sequence[Row],
        validation: Sequence[Row],
        settings: TrainingChoice,
        told: Callable[[Point], None],
        profile: Profile,
    ) -> None:
        callbacks: list[TrainerCallback] = [RowsAtOnce(arguments.per_device_train_batch_size)]
        if settings.patience:
            callbacks.append(EarlyStoppingCallback(settings.patience))
        super().__init__(
            model,
            arguments,
            data_collator=task.collate,
            train_dataset=train,
            eval_dataset=validation,
            callbacks=callbacks,
        )
        self.callback_handler.callbacks = [
            callback for callback in self.callback_handler.callbacks if not isinstance(callback, PrinterCallback)
        ]
        self._task, self._told, self._profile, self._ranks = task, told, profile, Ranks()
        self._started = time.monotonic()
        self._spent = 0.0
        self._first_step = 0

    # A step

    @property
    def _rows_at_once(self) -> RowsAtOnce:
        return next(one for one in self.callback_handler.callbacks if isinstance(one, RowsAtOnce))

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Add the gradients of a batch; what did not fit into memory is done again in half as many rows at a time."""
        with self._profile.batch():
            return self._step(model, inputs)

    def _step(self, model: nn.Module, inputs: Batch) -> torch.Tensor:
        model.train()
        batch = self._task.prepare(self._prepare_inputs(inputs), self.state.global_step)
        given = Pass(model, self._ranks, self.accelerator.backward)
        chance = RandomState()
        while True:
            try:
                with self.accelerator.no_sync(model):
                    loss = self._task.learn(given, batch, self._rows_at_once.rows)
                break
            except OutOfMemory:
                model.zero_grad()
                chance.restore()
                self._halve()
        self._ranks.add_gradients(model.parameters())
        return loss * self._ranks.size  # the Trainer takes the mean over the processes

    def _halve(self) -> None:
        size = self._rows_at_once
        if size.rows == 1:
            raise torch.OutOfMemoryError("a single row does not fit into memory; lower the length of rows")
        size.rows = max(1, size.rows // 2)
        log.warning("out of memory; going on with %d rows at a time, the step's batch stays the same", size.rows)

    def floating_point_ops(self, inputs: Batch) -> int:
        """Return nothing: what the Trainer would count knows no parts."""
        return 0

    # A measure

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the model on the validation rows, each process its share of them."""
        figures = measure(self._task, self.model, self.eval_dataset, self._ranks)
        found = {f"eval_{name}": value for name, value in figures.items() if isinstance(value, int | float)}
        self.log(found)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    # What is kept of it

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add a point to the curves; raises ValueError when the loss is no number any more.

        Gradients may be none for a step, which is left out then: float16 finds its scale so. Their norm is null.
        """
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ValueError(
                f"the loss is {logs['loss']} at step {self.state.global_step}: lower learning_rate, or set precision "
                "to bfloat16 or float32"
            )
        seconds = self._spent + time.monotonic() - self._started
        point: Point = {**logs, "seconds": round(seconds, 2)}
        if not math.isfinite(logs.get("grad_norm", 0.0)):
            point["grad_norm"] = None
        super().log(point)
        if self._ranks.rank == 0:
            self._told({**self.state.log_history[-1], "steps": self.state.max_steps})

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self._ranks.wait()
        if self._ranks.rank == 0:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            files = sorted(folder.iterdir())
            for file in files:
                sync_file(file)
            write_json(folder / COMPLETE, {file.name: file.stat().st_size for file in files})
            self._forget_others()

    def _forget_others(self) -> None:
        """Remove all checkpoints but the newest and the best, which may be the newest only now that it is whole."""
        kept = {f"checkpoint-{step}" for step in (self.state.global_step, self.state.best_global_step)}
        for folder in Path(self.args.output_dir).glob("checkpoint-*"):
            if folder.name not in kept:
                remove(folder)

    def _init_training_state(self, *args: Any) -> tuple[int, int]:
        found: tuple[int, int] = super()._init_training_state(*args)
        self._spent = max((point["seconds"] for point in self.state.log_history), default=0.0)
        self._started = time.monotonic()
        self._first_step = self.state.global_step
        return found

    def take_again(self, checkpoint: Path) -> None:
        """Take the weights of a training that had ended before its job was killed."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self._first_step = self.state.global_step
        self.state.best_model_checkpoint = str(checkpoint.with_name(f"checkpoint-{self.state.best_global_step}"))
        self._load_callback_state()
        self._load_best_model()

    def course(self, precision: str, kept: str) -> Course:
        """Return what became of the training."""
        points = [point for point in self.state.log_history if "train_runtime" not in point]
        steps = self.state.global_step
        seconds = max(point["seconds"] for point in points)
        taught = seconds - self._spent
        rows = (steps - self._first_step) * self.args.per_device_train_batch_size * self._ranks.size
        return Course(
            points=[_named(point) for point in points],
            steps=steps,
            planned_steps=self.state.max_steps,
            best_step=self.state.best_global_step,
            rows_at_once=self._rows_at_once.rows,
            seconds=round(seconds, 2),
            samples_per_second=round(rows / taught, 2) if taught > 0 and rows else None,
            peak_bytes=torch.cuda.max_memory_allocated() if self.args.device.type == "cuda" else None,
            precision=precision,
            base_precision=kept,
            weights=sum(weight.numel() for weight in self.model.parameters()),
            learning_weights=sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad),
        )


def _named(point: Mapping[str, Any]) -> Point:
    """Return a point with the names of the curves: ``validation_loss`` for the Trainer's ``eval_loss``."""
    return {name.replace("eval_", "validation_"): value for name, value in point.items()}


def measure(
    task: Task, model: nn.Module, rows: Sequence[Row], ranks: Ranks | None = None, profile: Profile = NO_PROFILE
) -> dict[str, Any]:
    """Return the figures of a model over rows, each process judging its share.

    Raises torch.OutOfMemoryError when a single row does not fit.
    """
    ranks = ranks or Ranks()
    was_training = model.training
    model.eval()
    batches: Batcher[Row, torch.Tensor] = Batcher(lambda some: list(task.judge(model, some)), "row")
    own = range(ranks.rank, len(rows), ranks.size)
    judged: list[torch.Tensor] = []
    for first in range(0, len(own), JUDGED_AT_ONCE):
        with profile.batch():
            some = batches([rows[k] for k in own[first : first + JUDGED_AT_ONCE]])
        for found in some:
            if isinstance(found, DoesNotFit):
                raise torch.OutOfMemoryError(str(found))
            judged.append(found)
    model.train(was_training)
    table = ranks.gather_uneven(torch.stack(judged) if judged else None, len(rows))
    return task.figures(table)


def newest_checkpoint(journal: Path) -> Path | None:
    """Return the newest complete checkpoint."""
    found = {int(mark.parent.name.rpartition("-")[2]): mark.parent for mark in journal.glob(f"checkpoint-*/{COMPLETE}")}
    return found[max(found)] if found else None


def remove_unusable(journal: Path) -> None:
    """Remove checkpoints that are not whole, and those whose best weights so far were in one that is not.

    The Trainer itself would end with the last weights where it does not find the best.
    """
    whole = {folder.name: folder for folder in journal.glob("checkpoint-*") if is_whole(folder)}
    best = {name: _state(folder)["best_global_step"] for name, folder in whole.items()}
    usable = {name for name, step in best.items() if step is None or f"checkpoint-{step}" in whole}
    for folder in journal.glob("checkpoint-*"):
        if folder.name not in usable:
            remove(folder)


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end, and has lost nothing since."""
    if not (checkpoint / COMPLETE).is_file():
        return False
    sizes = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    there = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
    return all(there.get(name) == size for name, size in sizes.items())


def is_finished(checkpoint: Path) -> bool:
    """Tell whether a training had come to its end when it wrote a checkpoint."""
    return bool(_state(checkpoint)["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"])


def _state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state
