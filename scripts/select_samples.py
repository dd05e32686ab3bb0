"""Select the samples of a shard: for every name that occurs again in a window, which mention is masked."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.dataset.samples import SAMPLES, Choice, samples_of
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
        capacity=settings.sequence_length - len(tokenizer.before) - len(tokenizer.after),
        **settings.model_dump(exclude={"sequence_length", "max_entity_freq"}),
    )
    counts: Counter[str] = Counter(mentions=0, misaligned=0, windows=0, groups=0)
    source: Path = job.input("filtered")
    with (
        TableWriter(job.staged("samples"), SAMPLES) as out,
        job.progress(count_rows(source)) as progress,
    ):
        for document in read_rows(source, ["id", "text", "source", "mentions"]):
            samples = list(samples_of(document, tokenizer, choice, counts))
            if samples:
                job.ledger.use(document["id"])
            else:
                job.ledger.reject(document["id"], "no_repeated_name")
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
