"""Decide by each document's text alone, and sign those that pass, so that duplicates among them can be found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, count_rows, read_rows
from malgeul.text.boilerplate import line_keys
from malgeul.text.duplicates import text_hash
from malgeul.text.filtering import SCREENED, screen
from malgeul.text.profiles import CORPUS_MEASURES, Rule, rules_of
from malgeul.text.signatures import BAND_COLUMNS, bands

if TYPE_CHECKING:
    from snakemake.script import snakemake


def screen_text(job: Job) -> None:
    """Write a row per document: what was measured, why it goes where it does, and its signature where it passes."""
    rules = rules_of(job.params["profile"], job.params["thresholds"])
    measure_all = job.params["measure"] == "all"
    with (
        TableWriter(job.staged("screened"), SCREENED) as out,
        job.progress(count_rows(job.input("text"))) as progress,
    ):
        for document in read_rows(job.input("text"), ["id", "text", "meta"]):
            verdict = screen(document["text"], document["meta"], rules, measure_all=measure_all)
            facts = {name: getattr(verdict, name) for name in ("features", "reason", "measured", "threshold")}
            told = {"lines": line_keys(document["text"]), **signature(document["text"], rules)} if verdict.kept else {}
            out.write({"id": document["id"], **facts, **told})
            job.ledger.use(document["id"])
            job.ledger.give(document["id"])
            progress.advance()


def signature(text: str, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return the columns by which duplicates are found; none where the profile does not ask for duplicates."""
    if not any(rule.measure in CORPUS_MEASURES for rule in rules):
        return {}
    found = bands(text)
    keys = {} if found is None else dict(zip(BAND_COLUMNS, found.tolist(), strict=True))
    return {"text_hash": text_hash(text), **keys}


if __name__ == "__main__":
    run_job(snakemake, screen_text, Units("document", "document"), packages=("pyarrow", "datasketch", "xxhash"))
