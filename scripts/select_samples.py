"""Select the samples of a shard: which mention of a repeated name is masked, or which stretches of text there are."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.dataset.samples import SAMPLES, Choice, samples_of
from malgeul.dataset.sequences import stretches_of
from malgeul.dataset.settings import SelectSettings
from malgeul.dataset.tokenizer import load_tokenizer, tokenizer_identity
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, count_rows, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def select_samples(job: Job) -> None:
    """Write the candidates of all documents; the cap over the whole corpus comes later."""
    settings = SelectSettings.model_validate(job.params["settings"])
    tokenizer = load_tokenizer(job.params["tokenize"])
    choice = Choice(
        capacity=tokenizer.room(settings.sequence_length),
        **settings.model_dump(exclude={"kind", "packing", "sequence_length", "max_entity_freq"}),
    )
    if settings.kind == "mentions":
        _ = tokenizer.mask_id  # raises here where there is none: rows are made only when all shards are selected
    counts: Counter[str] = Counter()
    make, none = (samples_of, "no_repeated_name") if settings.kind == "mentions" else (stretches_of, "no_pieces")
    source: Path = job.input("filtered")
    without_pronouns = settings.kind == "mentions" and settings.profile == "seed_compat"
    columns = ["id", "text", "source", "mentions", *(["features"] if without_pronouns else [])]
    with (
        TableWriter(job.staged("samples"), SAMPLES) as out,
        job.progress(count_rows(source)) as progress,
    ):
        for document in read_rows(source, columns):
            if without_pronouns and document["features"]["pronouns"]:
                job.ledger.reject(document["id"], "pronoun")
                progress.advance()
                continue
            samples = list(make(document, tokenizer, choice, counts))
            if samples:
                job.ledger.use(document["id"])
            else:
                job.ledger.reject(document["id"], none)
            for sample in samples:
                job.ledger.give(sample["sample_id"])
                out.write(sample)
            progress.advance()
    job.ledger.measure(**counts)


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return tokenizer_identity(params["tokenize"])


if __name__ == "__main__":
    run_job(
        snakemake,
        select_samples,
        Units("document", "sample"),
        packages=("tokenizers",),
        identity=_identity,
    )
