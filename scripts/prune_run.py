"""Remove the results of inputs that are gone, and say which."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from malgeul.pages.quantities import amount
from malgeul.shards.job import logged
from malgeul.shards.verify import prune
from malgeul.startup import LOCK

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        results = Path(snakemake.params.results)
        wanted = {stage: set(shards) for stage, shards in snakemake.params.wanted.items()}
        removed = prune(results, wanted, (results / LOCK).stat().st_mtime)
        for shard in removed:
            print(f"malgeul: removed {shard}", file=sys.stderr)
        gone = amount(len(removed), "shard")
        print(f"malgeul: removed {gone} of inputs that are gone from {results}", file=sys.stderr)
