"""Score the documents of a shard by the config's scorers: models, test sets, programs of the user's."""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from malgeul import ROOT
from malgeul.models.classifier import Classifier, identity_of, load_classifiers
from malgeul.models.devices import claimed_device
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.shards.inputs import locate
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.stopping import whole_batch
from malgeul.shards.tables import TableWriter, count_rows, read_rows
from malgeul.text.duplicates import duplicates_of
from malgeul.text.filtering import SCORED, Verdict, compare
from malgeul.text.profiles import rules_of
from malgeul.text.scorers import Scorer, load_classifier, load_language, load_overlap, load_own, read_items
from malgeul.text.settings import ClassifierSettings, LanguageSettings, OverlapSettings, OwnSettings, ScorerChoice

if TYPE_CHECKING:
    from snakemake.script import snakemake

log = logging.getLogger(__name__)

BATCH = 512
"""Documents whose scores are recorded together: at most this many are scored again after a kill."""

SCORERS: TypeAdapter[dict[str, ScorerChoice]] = TypeAdapter(dict[str, ScorerChoice])


def score_text(job: Job) -> None:
    """Write a row per document with its scores: of those that would stay so far, or of all (``measure: all``)."""
    scorers: dict[str, Scorer] = {}
    files = {name: digest for name, digest in job.input_digests.items() if name.startswith("scorers[")}
    with ExitStack() as stack:
        out = stack.enter_context(TableWriter(job.staged("scores"), SCORED))
        progress = stack.enter_context(job.progress(count_rows(job.input("text"))))
        profile = stack.enter_context(profiled(job))
        for ids, texts in _batches(job):
            asked = [text for text in texts if text is not None]
            key = job.item_key(asked, files)
            if key in job.journal:
                columns = json.loads(job.journal.blob(key))
                progress.resume(len(ids))
            else:
                scorers = scorers or _load(job, stack)
                with whole_batch():
                    with profile.batch():
                        columns = {name: scorer(asked) if asked else [] for name, scorer in scorers.items()}
                    job.journal.put(key, blob=json.dumps(columns).encode())
                progress.advance(len(ids))
            scored = iter(zip(*columns.values(), strict=True))
            for document_id, text in zip(ids, texts, strict=True):
                scores = {} if text is None else dict(zip(columns, next(scored), strict=True))
                out.write({"id": document_id, "scores": scores})
                job.ledger.use(document_id)
                job.ledger.give(document_id)


def _batches(job: Job) -> Iterator[tuple[list[str], list[str | None]]]:
    """Yield the documents by batches: ids, and texts of those that are scored."""
    kinds = dict(duplicates_of(job.inputs["duplicates"], job.shard))
    rules = rules_of(job.params["profile"], job.params["thresholds"])
    measure_all = job.params["measure"] == "all"

    def stays(row: int, reason: str | None) -> bool:
        verdict = Verdict({}, reason=reason)
        compare(verdict, kinds.get(row), rules)
        return verdict.kept

    rows = enumerate(
        zip(read_rows(job.input("text"), ["id", "text"]), read_rows(job.input("screened"), ["reason"]), strict=True)
    )
    while batch := list(islice(rows, BATCH)):
        asked = [measure_all or stays(row, screened["reason"]) for row, (_, screened) in batch]
        documents = [document for _, (document, _) in batch]
        yield (
            [document["id"] for document in documents],
            [document["text"] if wanted else None for document, wanted in zip(documents, asked, strict=True)],
        )


def _load(job: Job, stack: ExitStack) -> dict[str, Scorer]:
    """Load the scorers by name; where there is a classifier, a device is claimed and held until the end."""
    chosen = SCORERS.validate_python(job.params["scorers"])
    wanted = {name: settings for name, settings in chosen.items() if isinstance(settings, ClassifierSettings)}
    classifiers: dict[str, Classifier] = {}
    if wanted:
        device = stack.enter_context(claimed_device())
        stack.enter_context(sampled(job, device))
        job.ledger.device = device.to_json()
        classifiers = load_classifiers(wanted, device, job.threads, job.ledger)
    scorers: dict[str, Scorer] = {}
    for name, settings in chosen.items():
        match settings:
            case LanguageSettings():
                scorers[name] = load_language(settings)
            case OverlapSettings():
                files = [locate(file, ROOT) for file in settings.files]
                items = (item for file in files for item in read_items(file, settings.fields))
                scorers[name], counts = load_overlap(settings, items)
                log.info("%s: %s", name, ", ".join(f"{count} {what}" for what, count in counts.items()))
            case OwnSettings():
                scorers[name] = load_own(settings, locate(settings.file, ROOT))
            case ClassifierSettings():
                scorers[name] = load_classifier(settings, classifiers[name])
    return scorers


def _models(params: dict[str, Any]) -> dict[str, Any]:
    """Return what names the content of the classifiers."""
    chosen = SCORERS.validate_python(params["scorers"])
    return {name: identity_of(s) for name, s in chosen.items() if isinstance(s, ClassifierSettings)}


if __name__ == "__main__":
    run_job(
        snakemake,
        score_text,
        Units("document", "document"),
        packages=("py3langid", "transformers", "torch", "peft", "pyarrow"),
        relevant={"duplicates": lambda job: duplicates_of(job.inputs["duplicates"], job.shard)},
        identity=_models,
    )
