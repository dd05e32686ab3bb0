"""A training that can be killed at any step: checkpoints, curves, and batches that depend on the step alone."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
CURVES = "curves.jsonl"


@dataclass(frozen=True)
class Course:
    """How long and how fast a model learns: AdamW, linear warm-up, then a cosine down to a fiftieth."""

    steps: int
    learning_rate: float
    warmup: int
    save_every: int
    measure_every: int
    weight_decay: float = 0.01
    clip: float = 1.0

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def learn(
    module: nn.Module,
    losses: Callable[[int], Mapping[str, torch.Tensor]],
    course: Course,
    folder: Path,
    measure: Callable[[], Mapping[str, float]],
    key: str,
) -> None:
    """Train ``module`` in place, going on from the checkpoint in ``folder`` where there is one of the same ``key``.

    ``key`` names all that the training depends on: with other data or settings it begins anew.
    ``losses(step)`` returns the losses of the step's batch, which must depend on nothing but the step; ``loss`` is
    made smaller, the others are only drawn. ``measure()`` is asked now and then how good the model is. Both go into
    curves.jsonl, a line each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(_groups(module, course.weight_decay), lr=course.learning_rate, betas=(0.9, 0.98))
    first, spent = _resume(module, optimizer, folder, key)
    started = time.monotonic()
    module.train()
    for step in range(first, course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate_at(step)
        found = losses(step)
        found["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(module.parameters(), course.clip)
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad()
        done = step + 1
        seconds = spent + time.monotonic() - started
        point: dict[str, Any] = {"step": done, "seconds": round(seconds, 1)}
        if done % 20 == 0:
            point |= {name: round(float(value.detach()), 4) for name, value in found.items()}
        if done % course.measure_every == 0 or done == course.steps:
            module.eval()
            point |= {name: round(value, 4) for name, value in measure().items()}
            module.train()
        if len(point) > 2:
            _add_point(folder, point)
            left = (course.steps - done) * (seconds / done)
            log.info("%s, %.0f min left", " ".join(f"{key} {value}" for key, value in point.items()), left / 60)
        if done % course.save_every == 0 or done == course.steps:
            _save(module, optimizer, done, seconds, folder, key)


def key_of(*parts: Any) -> str:
    """Return a digest of all that a training depends on: bytes, numbers, texts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    matrices = [one for one in module.parameters() if one.requires_grad and one.ndim > 1]
    vectors = [one for one in module.parameters() if one.requires_grad and one.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _save(
    module: nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float, folder: Path, key: str
) -> None:
    learnt = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
    state = {**learnt, "step": step, "seconds": seconds, "key": key}
    beside = folder / f".{CHECKPOINT}.part"
    with beside.open("wb") as out:
        torch.save(state, out)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(folder / CHECKPOINT)


def _resume(module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, key: str) -> tuple[int, float]:
    """Load the checkpoint; return the next step and the seconds spent so far."""
    file = folder / CHECKPOINT
    state: dict[str, Any] = {}
    if file.exists():
        state = torch.load(file, map_location=next(module.parameters()).device, weights_only=True)
    if state.get("key") != key:
        if state:
            log.info("%s is of a training with other data or settings: beginning anew", file)
        (folder / CURVES).unlink(missing_ok=True)
        return 0, 0.0
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    step, seconds = int(state["step"]), float(state["seconds"])
    points = [point for point in read_curves(folder) if point["step"] <= step]
    (folder / CURVES).write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")
    log.info("going on from step %d", step)
    return step, seconds


def _add_point(folder: Path, point: Mapping[str, Any]) -> None:
    with (folder / CURVES).open("a", encoding="utf-8") as out:
        out.write(json.dumps(point) + "\n")


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """Return the points of a training so far; a line that a kill left half written is not one."""
    points = []
    for line in (folder / CURVES).read_text(encoding="utf-8").splitlines() if (folder / CURVES).exists() else []:
        try:
            points.append(json.loads(line))
        except ValueError:
            break
    return points
