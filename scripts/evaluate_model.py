"""Measure a trained model on the test rows, beside itself before training and beside other models."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul import ROOT
from malgeul.models.adapters import AdapterBase, base_of
from malgeul.models.devices import claimed_device
from malgeul.models.loading import folder_of, identity, measured_imports, measured_load, quiet_transformers
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.shards.files import write_json
from malgeul.shards.inputs import locate
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.training.examples import TEST
from malgeul.training.settings import SAMPLES_OF, EmbeddingTraining, TrainingChoice, settings_of

if TYPE_CHECKING:
    from snakemake.script import snakemake

    from malgeul.training.evaluation import Candidate
    from malgeul.training.tasks import Task

log = logging.getLogger(__name__)


def evaluate_model(job: Job) -> None:
    """Write the figures of every model on every set of rows; what could not be measured is null with a reason."""
    measured_imports(job.ledger)
    import torch

    from malgeul.tasks import task_of
    from malgeul.training.evaluation import Candidate, evaluate

    quiet_transformers()
    torch.set_num_threads(job.threads)
    settings = settings_of(job.params["settings"])
    base, trained = folder_of(settings.base, settings.revision), job.input("trained")
    precision = job.upstream[0].measured["base_precision"]
    own = _tasks(job, settings, base, task_of)
    candidates = {
        "before": Candidate(own, base),
        "after": Candidate(own, base, trained) if base_of(trained) else Candidate(own, trained),
    }
    unfit: dict[str, str] = {}

    def leave_out(name: str, error: ValueError) -> None:
        if name not in settings.beside:
            raise error
        log.warning("%s is not measured beside: %s", name, error)
        unfit[name] = str(error)

    for name, other in sorted(settings.beside.items()):
        try:
            candidates[name] = _beside(job, settings, base, folder_of(other, None))
        except ValueError as error:
            leave_out(name, error)
    started = time.monotonic()
    with (
        claimed_device() as device,
        sampled(job, device),
        profiled(job) as profile,
        job.progress(len(candidates) * len(own), "measures") as progress,
    ):
        job.ledger.device = device.to_json()
        sets = evaluate(
            candidates,
            seed=settings.seed,
            cuda=device.kind == "cuda",
            precision=precision,
            done=progress.advance,
            loading=lambda folder: measured_load(job.ledger, folder, device),
            profile=profile,
            unfit=leave_out,
        )
    for one in sets.values():
        one["figures"] |= dict.fromkeys(unfit)
    job.ledger.use(job.shard)
    job.ledger.give(job.shard)
    found = {"training": job.shard, "kind": settings.kind, "base": settings.base, "sets": sets, "not_measured": unfit}
    write_json(job.staged("evaluated"), found)
    job.ledger.measure(test_rows=sets[TEST]["rows"], seconds_of_work=round(time.monotonic() - started, 3))


def _beside(job: Job, settings: TrainingChoice, base: Path, folder: Path) -> "Candidate":
    """Return a model that was trained elsewhere, or an adapter on the same base; ValueError where it does not fit."""
    from malgeul.tasks import task_beside
    from malgeul.training.evaluation import Candidate

    stands_on = base_of(folder)
    if stands_on and not stands_on.is_that_of(settings.base, settings.revision):
        wanted = AdapterBase(settings.base, settings.revision)
        raise ValueError(f"{folder} is an adapter on {stands_on}, not on {wanted}")
    # An adapter may lack what it shares with its base: tokenizer, labels, positions.
    tasks = _tasks(job, settings, folder if (folder / "config.json").is_file() else base, task_beside)
    return Candidate(tasks, base, folder) if stands_on else Candidate(tasks, folder)


def _tasks(job: Job, settings: TrainingChoice, base: Path, make: Callable[..., "Task"]) -> dict[str, "Task"]:
    """Return the task over the run's own test rows, and over those of other datasets, for a model in ``base``."""
    if settings.kind not in SAMPLES_OF:
        scored = settings.scored if isinstance(settings, EmbeddingTraining) else None
        place = locate(scored, ROOT) if scored else None
        return {TEST: make(settings, base, base, files=job.inputs["files"], scored=place)}
    tokenize = job.params["tokenize"]
    tokenizer = folder_of(tokenize["tokenizer"], tokenize["revision"])
    datasets = {TEST: job.input("dataset")}
    datasets |= {name: locate(folder, ROOT) for name, folder in sorted(settings.also_on.items())}
    return {name: make(settings, base, tokenizer, dataset=dataset) for name, dataset in datasets.items()}


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    settings = params["settings"]
    known = {"base": identity(settings["base"], settings["revision"])}
    return known | {name: identity(other, None) for name, other in sorted(settings["beside"].items())}


if __name__ == "__main__":
    run_job(
        snakemake,
        evaluate_model,
        Units("model", "evaluation"),
        packages=("torch", "transformers", "peft", "tokenizers"),
        identity=_identity,
    )
