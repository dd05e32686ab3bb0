"""One of the processes of a training, started by train_model.py; no rule's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.models.devices import Device
from malgeul.models.loading import measured_load, quiet_transformers
from malgeul.models.profiling import profiled
from malgeul.shards.job import Job
from malgeul.training.process import take_part, tell
from malgeul.training.saving import save_model
from malgeul.training.settings import settings_of

if TYPE_CHECKING:
    from malgeul.training.learner import Course


def learn_model(work: dict[str, Any], job: Job) -> Course:
    """Train as the work says, and leave the model in its folder."""
    from malgeul.tasks import task_of
    from malgeul.training.learner import learn
    from malgeul.training.ranks import Ranks

    quiet_transformers()
    settings, device = settings_of(work["settings"]), Device(**work["device"])
    task = task_of(
        settings,
        Path(work["base"]),
        Path(work["tokenizer"]),
        dataset=Path(work["dataset"]) if work["dataset"] else None,
        files=[Path(file) for file in work["files"]],
    )
    with profiled(job) as profile:
        model, course = learn(
            task,
            settings,
            work["base"],
            Path(work["journal"]) / "checkpoints",
            cuda=device.kind == "cuda",
            threads=job.threads,
            told=tell,
            loading=lambda folder: measured_load(job.ledger, folder, device),
            profile=profile,
        )
    if Ranks().rank == 0:
        save_model(model, Path(work["model"]), settings.base, settings.revision)
    return course


if __name__ == "__main__":
    take_part(learn_model)
