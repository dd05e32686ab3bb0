"""Measures of trained models: every model on every set of rows, one in memory at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from malgeul.models.adapters import OtherBase, put_on
from malgeul.models.profiling import NO_PROFILE, Profile
from malgeul.training.examples import TEST
from malgeul.training.learner import measure
from malgeul.training.tasks import Task


@dataclass(frozen=True)
class Candidate:
    """A model that is measured: the sets of rows by name, as it reads them, its folder, and that of its adapter."""

    tasks: Mapping[str, Task]
    folder: Path
    adapter: Path | None = None


def evaluate(
    candidates: Mapping[str, Candidate],
    *,
    seed: int,
    cuda: bool,
    precision: str = "float32",
    done: Callable[[], None] = lambda: None,
    loading: Callable[[Path], AbstractContextManager[None]] = lambda folder: nullcontext(),
    profile: Profile = NO_PROFILE,
    unfit: Callable[[str, ValueError], None] | None = None,
) -> dict[str, Any]:
    """Return of every set of rows how many there are and the figures of every model by name, null without rows.

    A new head has the weights it had before training. Models are loaded and computed in ``precision``. ``loading``
    gives what a folder is loaded in, and rows that are judged together are a batch of ``profile``. ``unfit`` hears of
    models with an adapter of another base, whose figures are null; without it the ValueError is raised.
    """
    sets: dict[str, Any] = {}
    for model_name, candidate in candidates.items():
        for name, task in candidate.tasks.items():
            rows = len(task.rows(TEST))
            reason = None if rows else "there are no test rows"
            sets.setdefault(name, {"rows": rows, "reason": reason, "figures": {}})
            figures = None
            if rows:
                try:
                    with loading(candidate.folder):
                        model = load(task, candidate, seed, cuda, precision)
                    figures = measure(task, model, task.rows(TEST), profile=profile) | task.more(model)
                    del model
                except OtherBase as error:
                    if unfit is None:
                        raise
                    unfit(model_name, error)
                gc.collect()
            sets[name]["figures"][model_name] = figures
            done()
    return sets


def load(task: Task, candidate: Candidate, seed: int, cuda: bool, precision: str) -> Any:
    """Return a model for measures, with its adapter; in 16 bits it computes as it did while it was trained."""
    set_seed(seed)
    model = task.load(str(candidate.folder), precision)
    if candidate.adapter is not None:
        model = put_on(model, candidate.adapter)
    kind = "cuda" if cuda else "cpu"
    if precision != "float32":
        model.forward = torch.autocast(kind, getattr(torch, precision))(model.forward)
    return model.to(torch.device(kind)).eval()
