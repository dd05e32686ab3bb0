"""One of the processes of a training, started by train_model.py; no rule's own."""

from pathlib import Path
from typing import Any

from malgeul.models.loading import quiet_transformers
from malgeul.tasks import task_of
from malgeul.training.learner import Course, learn
from malgeul.training.process import take_part, tell
from malgeul.training.ranks import Ranks
from malgeul.training.saving import save_model
from malgeul.training.settings import settings_of


def learn_model(work: dict[str, Any]) -> Course:
    """Train as the work says, and leave the model in its folder."""
    quiet_transformers()
    settings = settings_of(work["settings"])
    task = task_of(
        settings,
        Path(work["base"]),
        Path(work["tokenizer"]),
        dataset=Path(work["dataset"]) if work["dataset"] else None,
        files=[Path(file) for file in work["files"]],
    )
    checkpoints = Path(work["journal"]) / "checkpoints"
    model, course = learn(
        task, settings, work["base"], checkpoints, cuda=work["cuda"], threads=work["threads"], told=tell
    )
    if Ranks().rank == 0:
        save_model(model, Path(work["model"]), settings.base, settings.revision)
    return course


if __name__ == "__main__":
    take_part(learn_model)
