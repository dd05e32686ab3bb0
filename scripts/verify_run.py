"""Hash every output of a run; name and remove what is not what its ledger says, so that the next run makes it again."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from malgeul.shards.job import logged
from malgeul.shards.verify import find_damage, ledger_files, remove_damaged, tell_by_shard

if TYPE_CHECKING:
    from snakemake.script import snakemake


def verify_run(results: Path, found_before: list[str], threads: int) -> list[str]:
    """Remove every damaged output; return what to say of each such shard, ``found_before`` (at the start) included."""
    damage = find_damage(results, everything=True, threads=threads)
    remove_damaged(results, damage)
    return [*found_before, *tell_by_shard(damage).values()]


if __name__ == "__main__":
    log = logging.getLogger(__name__)
    with logged(snakemake.log[0]):
        results = Path(snakemake.params.results)
        damaged = verify_run(results, snakemake.params.found_before, snakemake.threads)
        for what in damaged:
            log.error("damaged: %s", what)
        if damaged:
            log.error("removed the damaged outputs from %s: run again to make those shards again", results)
            sys.exit(1)
        n = len(ledger_files(results))
        print(f"malgeul: every output of the {n} ledgers in {results} is what was written", file=sys.stderr)
