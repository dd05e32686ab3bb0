"""Fail when something was lost, or when something was quarantined and the config does not allow it."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from malgeul.plan import read_plan
from malgeul.report.audit import complaint, read_ledgers
from malgeul.shards.job import logged
from malgeul.shards.locks import die_with_owner
from malgeul.startup import PLAN

if TYPE_CHECKING:
    from snakemake.script import snakemake


def check_audit(audit: Path) -> str | None:
    """Return why the run has to fail, naming stages, shards and items; None when it need not."""
    verdict = json.loads(audit.read_text(encoding="utf-8"))
    ledgers, _ = read_ledgers(audit.parent, read_plan(audit.with_name(PLAN)))
    return complaint(verdict, (fault for ledger in ledgers.values() for fault in ledger.quarantined))


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        die_with_owner()
        problem = check_audit(Path(snakemake.input.audit))
        if problem:
            logging.getLogger(__name__).error("%s", problem)
            sys.exit(1)
