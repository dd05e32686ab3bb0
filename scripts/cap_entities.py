"""Find the entities that have more samples over all shards than the cap, and which of their samples stay."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from malgeul.dataset.samples import ENTITY_CAP, saturated
from malgeul.dataset.settings import SelectSettings
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def cap_entities(job: Job) -> None:
    """Write the entities over the cap; a corpus whose frequent names stay the same gives the same bytes."""
    cap = SelectSettings.model_validate(job.params["settings"]).max_entity_freq

    def samples() -> Iterator[tuple[str, int]]:
        for file in job.inputs["samples"]:
            for row in read_rows(file, ["sample_id", "entity", "priority"]):
                job.ledger.use(row["sample_id"])
                yield row["entity"], row["priority"]

    with TableWriter(job.staged("entity_cap"), ENTITY_CAP) as out:
        for row in saturated(samples(), cap):
            job.ledger.give(row["entity"])
            out.write(row)
    job.ledger.measure(saturated_entities=out.rows, max_entity_freq=cap)


if __name__ == "__main__":
    run_job(snakemake, cap_entities, Units("sample", "saturated entity"))
