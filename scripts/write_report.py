"""Write the page that a person reads first, and its figures, from the audit's verdict and the ledgers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from malgeul.report.page import write_report
from malgeul.shards.job import logged
from malgeul.shards.locks import die_with_owner

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        die_with_owner()
        audit = Path(snakemake.input.audit)
        write_report(audit.parent, json.loads(audit.read_text(encoding="utf-8")))
