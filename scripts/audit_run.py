"""Prove that nothing was lost: the verdict over all ledgers, written whatever it is."""

from pathlib import Path
from typing import TYPE_CHECKING

from malgeul.report.audit import write_audit
from malgeul.shards.job import logged
from malgeul.shards.locks import die_with_owner

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        die_with_owner()
        write_audit(Path(snakemake.output.audit).parent, snakemake.params.on_bad_input)
