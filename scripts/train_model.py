"""Train a model on the merged dataset or on files of the user's; a killed job goes on from its last checkpoint."""

from typing import TYPE_CHECKING, Any

from malgeul import ROOT
from malgeul.models.devices import claimed_devices
from malgeul.models.loading import folder_of, identity
from malgeul.shards.faults import Fault
from malgeul.shards.files import digest_of, remove
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.training.examples import DUPLICATE, SPLITS, read_examples
from malgeul.training.process import run_processes
from malgeul.training.saving import ENCODER, TOKENIZER, copy_files, write_card, write_curves
from malgeul.training.settings import MEASURED_ON, SAMPLES_OF, FileTraining, fields_of, settings_of, sharing_of

if TYPE_CHECKING:
    from snakemake.script import snakemake

PROCESS = ROOT / "scripts" / "training_process.py"

PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers")


def train_model(job: Job) -> None:
    """Account for the rows, train in as many processes as the job has GPUs, and put the model in its folder."""
    settings = settings_of(job.params["settings"])
    data = _account(job)
    base = folder_of(settings.base, settings.revision)
    learns_from_run = settings.kind in SAMPLES_OF
    tokenize = job.params["tokenize"]
    tokenizer = folder_of(tokenize["tokenizer"], tokenize["revision"]) if learns_from_run else base
    journal = job.journal_folder / job.item_key(job.input_digests)
    for other in job.journal_folder.glob("*"):  # checkpoints of other data or settings
        if other != journal:
            remove(other)
    staged = job.staged("trained")
    work = {
        "settings": job.params["settings"],
        "base": str(base),
        "tokenizer": str(tokenizer),
        "dataset": str(job.input("dataset")) if learns_from_run else None,
        "files": [str(file) for file in job.inputs.get("files", [])],
        "journal": str(journal),
        "ledger": str(job.outputs["ledger"]),
        "rule": job.rule,
        "hints": job.params["hints"],
        "model": str(journal / "model"),
    }
    processes = max(1, job.params["hints"]["gpus"])  # none where a cluster has none to give
    with claimed_devices(processes) as devices, job.progress(None, "steps") as progress:
        device = devices[0]
        job.ledger.device = {**device.to_json(), "processes": processes}

        def told(point: dict[str, Any]) -> None:
            progress.advance(point["step"] - progress.done)

        course = run_processes(PROCESS, {**work, "device": device.to_json()}, processes, job.threads, told)
    copy_files(journal / "model", staged, ("*",))
    copy_files(tokenizer, staged, TOKENIZER)
    if settings.kind == "embedding":
        copy_files(base, staged, ENCODER)
    points = course.pop("points")
    write_curves(staged, points)
    kept = next(point for point in points if point["step"] == course["best_step"] and "validation_loss" in point)
    figures = {name.removeprefix("validation_"): kept[name] for name in kept if name.startswith("validation_")}
    write_card(
        staged,
        name=job.shard,
        base=settings.base,
        licence=settings.licence,
        adapter=settings.adapter is not None,
        data=data,
        settings=settings.model_dump(mode="json", exclude=set(MEASURED_ON)),
        course=course,
        figures=figures,
        device=device.name if processes == 1 else f"{processes} x {device.name}",
    )
    job.ledger.give(job.shard)
    job.ledger.measure(
        **data,
        **{name: course[name] for name in ("steps", "best_step", "rows_at_once", "samples_per_second", "peak_bytes")},
        **course["measured"],
        training_seconds=course["seconds"],
        **{name: course[name] for name in ("precision", "base_precision")},
        **{f"validation_{name}": value for name, value in figures.items()},
    )


def _account(job: Job) -> dict[str, Any]:
    """Enter the rows into the ledger and return how many there are of each split, and a digest of them."""
    settings = settings_of(job.params["settings"])
    if not isinstance(settings, FileTraining):
        (merged,) = job.upstream
        job.ledger.taken += merged.given
        job.ledger.used += merged.given
        rows = {f"{split}_rows": merged.measured[f"{split}_rows"] for split in SPLITS}
    else:
        rows = dict.fromkeys((f"{split}_rows" for split in SPLITS), 0)
        examples = read_examples(job.inputs["files"], fields_of(settings), settings.id_field, sharing_of(settings))
        for example in examples:
            if isinstance(example.fields, Fault):
                job.ledger.quarantine(example.place, example.fields)
            elif example.repeated:
                job.ledger.reject(example.place, DUPLICATE)
            else:
                job.ledger.use(example.place)
                rows[f"{example.split}_rows"] += 1
    return {**rows, "data": digest_of(sorted(job.input_digests.items()))[:16]}


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    settings, tokenize = params["settings"], params["tokenize"]
    known = {"base": identity(settings["base"], settings["revision"])}
    if settings["kind"] in SAMPLES_OF:
        known["tokenizer"] = identity(tokenize["tokenizer"], tokenize["revision"])
    return known


if __name__ == "__main__":
    run_job(snakemake, train_model, Units("row", "model"), packages=PACKAGES, identity=_identity)
