"""Find the entities that have more samples over all shards than the cap, and which of their samples stay."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from malgeul.dataset.samples import ENTITY_CAP, saturated
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake

QUANTILES = (10, 50, 90)
"""Of the distances between a masked mention and the one before it, in percent of the samples."""


def cap_entities(job: Job) -> None:
    """Write the entities over the cap; a corpus whose frequent names stay the same gives the same bytes."""
    cap = job.params["max_entity_freq"]
    counts, distances = _count(job.inputs["samples"])
    frequent = {entity for entity, samples in counts.items() if samples > cap}

    def samples() -> Iterator[tuple[str, int]]:
        for file in job.inputs["samples"]:
            for row in read_rows(file, ["sample_id", "entity", "priority"]):
                job.ledger.use(row["sample_id"])
                if row["entity"] in frequent:
                    yield row["entity"], row["priority"]

    with TableWriter(job.staged("entity_cap"), ENTITY_CAP) as out:
        for row in saturated(samples(), cap):
            job.ledger.give(row["entity"])
            out.write(row)
    left_out = sum(counts[entity] - cap for entity in frequent)
    job.ledger.measure(
        max_entity_freq=cap, entities=len(counts), saturated_entities=len(frequent), samples_over_cap=left_out
    )
    if len(distances):
        shares = np.cumsum(distances) / distances.sum()
        job.ledger.measure(**{f"distance_{q}_percent": int(np.searchsorted(shares, q / 100)) for q in QUANTILES})


def _count(files: Iterable[Path]) -> tuple[Counter[str], npt.NDArray[np.int64]]:
    """Return the samples of each entity, and how many samples have each distance; sequences have no entity."""
    counts: Counter[str] = Counter()
    distances = np.zeros(0, np.int64)
    for file in files:
        table = pq.read_table(file, columns=["entity", "distance"])
        table = table.filter(pc.not_equal(table["entity"], ""))
        for found in table["entity"].value_counts().to_pylist():
            counts[found["values"]] += found["counts"]
        here = np.bincount(table["distance"].to_numpy())
        longer, shorter = sorted((distances, here), key=len, reverse=True)
        distances = longer.copy()
        distances[: len(shorter)] += shorter
    return counts, distances


if __name__ == "__main__":
    run_job(snakemake, cap_entities, Units("sample", "saturated entity"))
