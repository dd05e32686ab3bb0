"""Give the transcripts of a shard to the config's classifiers: probabilities of labels for every passage."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from malgeul.models.classifier import Classifier, identity_of, load_classifiers
from malgeul.models.devices import claimed_device
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.models.settings import TextClassifier
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.speech.classes import CLASSES, named, pieces_of

if TYPE_CHECKING:
    from snakemake.script import snakemake

TOGETHER = 64
"""Recordings whose passages are batched together; after a kill at most so many are classified again."""

Rows = list[dict[str, Any]]


def classify_transcripts(job: Job) -> None:
    """Write a row per passage and classifier; recordings that are known from before are taken again."""
    (transcribed,) = job.upstream
    names = sorted(name for name in transcribed.outputs if name.endswith(".json"))
    table_name = f"classes/{job.shard}.parquet"
    keys = {name: job.item_key(transcribed.outputs[name]["sha256"]) for name in names}
    finished = _known(job, keys, table_name)
    job.ledger.reused = len(finished)
    with ExitStack() as stack:
        table = stack.enter_context(TableWriter(job.staged("classes"), CLASSES))
        progress = stack.enter_context(job.progress(len(names)))
        progress.resume(len(finished))
        waiting = [name for name in names if name not in finished]
        if waiting:
            device = stack.enter_context(claimed_device())
            stack.enter_context(sampled(job, device))
            job.ledger.device = device.to_json()
            profile = stack.enter_context(profiled(job))
            classifiers = load_classifiers(_settings(job.params), device, job.threads, job.ledger)
            for first in range(0, len(waiting), TOGETHER):
                batch = waiting[first : first + TOGETHER]
                with profile.batch():
                    found = _classified(job, classifiers, batch)
                for name, rows in zip(batch, found, strict=True):
                    job.journal.put(keys[name], {"rows": rows})
                    finished[name] = rows
                    progress.advance()
        for name in names:
            recording = name.rpartition("/")[2].removesuffix(".json")
            for row in finished[name]:
                table.write(row)
            job.ledger.items[keys[name]] = [table_name]
            job.ledger.use(recording)
            job.ledger.give(recording)


def _known(job: Job, keys: dict[str, str], table_name: str) -> dict[str, Rows]:
    """Return the rows of the transcripts that a killed job's journal or the last success has."""
    table = job.kept.file(table_name)
    kept: dict[str, Rows] = {}
    for row in read_rows(table) if table else ():
        kept.setdefault(row["recording"], []).append(row)
    found = {}
    for name, key in keys.items():
        if key in job.journal:
            found[name] = job.journal.record(key)["rows"]
        elif job.kept.item(key) is not None:
            found[name] = kept.get(name.rpartition("/")[2].removesuffix(".json"), [])
    return found


def _classified(job: Job, classifiers: dict[str, Classifier], names: list[str]) -> list[Rows]:
    """Return the rows of each transcript."""
    transcripts = [json.loads((job.results / name).read_text(encoding="utf-8")) for name in names]
    rows: list[Rows] = [[] for _ in names]
    for name, classifier in classifiers.items():
        pieces = [
            (number, piece)
            for number, transcript in enumerate(transcripts)
            for piece in pieces_of(transcript, classifier.count, classifier.room)
        ]
        texts = [transcripts[number]["text"][piece.start : piece.end] for number, piece in pieces]
        for (number, piece), chances in zip(pieces, classifier(texts) if texts else [], strict=True):
            labelled = [
                {"label": label, "probability": round(chance, 6)}
                for label, chance in zip(classifier.labels, chances, strict=True)
            ]
            recording = transcripts[number]["id"]
            about = {"recording": recording, "classifier": name, "model": named(job.identity[name])}
            rows[number].append({**about, **asdict(piece), "probabilities": labelled})
    return rows


def _settings(params: dict[str, Any]) -> dict[str, TextClassifier]:
    return {name: TextClassifier.model_validate(value) for name, value in params["classifiers"].items()}


if __name__ == "__main__":
    run_job(
        snakemake,
        classify_transcripts,
        Units("recording", "recording"),
        packages=("torch", "transformers", "peft", "pyarrow"),
        identity=lambda params: {name: identity_of(settings) for name, settings in _settings(params).items()},
    )
