"""Give the transcripts of a shard to the config's classifiers: probabilities of labels for every passage."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from malgeul.models.classifier import Classifier, identity_of, load_classifiers
from malgeul.models.devices import claimed_device
from malgeul.models.memory import DoesNotFit
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.models.settings import TextClassifier
from malgeul.shards.faults import Fault
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.stopping import whole_batch
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
    names = transcribed.files_given(".json")
    table_name = f"classes/{job.shard}.parquet"
    keys = {recording: job.item_key(transcribed.outputs[name]["sha256"]) for recording, name in names.items()}
    finished = _kept(job, keys, table_name)
    # Groups hang on what the last success has not, and on nothing that a killed job has left: it changes no batch.
    new = [one for one in names if one not in finished]
    finished |= {one: job.journal.record(keys[one])["rows"] for one in new if keys[one] in job.journal}
    job.ledger.reused = len(finished)
    groups = [new[first : first + TOGETHER] for first in range(0, len(new), TOGETHER)]
    groups = [group for group in groups if any(one not in finished for one in group)]
    with TableWriter(job.staged("classes"), CLASSES) as table, job.progress(len(names)) as progress:
        progress.resume(len(finished))
        for recording, rows in _computed(job, groups, names) if groups else ():
            if recording in finished:
                continue
            finished[recording] = rows
            if not isinstance(rows, DoesNotFit):
                job.journal.put(keys[recording], {"rows": rows})
            progress.advance()
        for recording in names:
            rows = finished[recording]
            if isinstance(rows, DoesNotFit):
                job.ledger.quarantine(recording, Fault("OUT_OF_MEMORY", str(rows), "halving the batch"))
                continue
            for row in rows:
                table.write(row)
            job.ledger.items[keys[recording]] = [table_name]
            job.ledger.use(recording)
            job.ledger.give(recording)


def _kept(job: Job, keys: dict[str, str], table_name: str) -> dict[str, Rows | DoesNotFit]:
    """Return the rows of the recordings that the last success has."""
    table = job.kept.file(table_name)
    kept: dict[str, Rows] = {}
    for row in read_rows(table) if table else ():
        kept.setdefault(row["recording"], []).append(row)
    return {recording: kept.get(recording, []) for recording, key in keys.items() if job.kept.item(key) is not None}


def _computed(job: Job, groups: list[list[str]], names: dict[str, str]) -> Iterator[tuple[str, Rows | DoesNotFit]]:
    """Yield the recordings of every group with their rows; a group is whole when who asks for the next has kept it."""
    with claimed_device() as device, sampled(job, device), profiled(job) as profile:
        job.ledger.device = device.to_json()
        classifiers = load_classifiers(_settings(job.params), device, job.threads, job.ledger)
        for group in groups:
            with whole_batch():
                with profile.batch():
                    found = _classified(job, classifiers, [names[recording] for recording in group])
                yield from zip(group, found, strict=True)


def _classified(job: Job, classifiers: dict[str, Classifier], names: list[str]) -> list[Rows | DoesNotFit]:
    """Return the rows of each transcript, DoesNotFit for one with a passage that does not fit into memory."""
    transcripts = [json.loads((job.results / name).read_text(encoding="utf-8")) for name in names]
    rows: list[Rows] = [[] for _ in names]
    faults: dict[int, DoesNotFit] = {}
    for name, classifier in classifiers.items():
        pieces = [
            (number, piece)
            for number, transcript in enumerate(transcripts)
            for piece in pieces_of(transcript, classifier.count, classifier.room)
        ]
        texts = [transcripts[number]["text"][piece.start : piece.end] for number, piece in pieces]
        for (number, piece), chances in zip(pieces, classifier(texts) if texts else [], strict=True):
            if isinstance(chances, DoesNotFit):
                faults[number] = chances
                continue
            labelled = [
                {"label": label, "probability": round(chance, 6)}
                for label, chance in zip(classifier.labels, chances, strict=True)
            ]
            recording = transcripts[number]["id"]
            about = {"recording": recording, "classifier": name, "model": named(job.identity[name])}
            rows[number].append({**about, **asdict(piece), "probabilities": labelled})
    return [faults.get(number, found) for number, found in enumerate(rows)]


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
