"""Export the documents of a bucket of a database; faulty ones are quarantined, those without enough text rejected."""

import json
from typing import TYPE_CHECKING

from malgeul.embedding.documents import sum_of
from malgeul.embedding.settings import Database
from malgeul.embedding.store import open_store
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import DOCUMENTS, TableWriter

if TYPE_CHECKING:
    from snakemake.script import snakemake


def export_documents(job: Job) -> None:
    """Write the documents whose rows the plan has digested; a database that changed meanwhile is an error."""
    settings = Database.model_validate(job.params["settings"])
    address = job.input("ancient") if job.inputs["ancient"] else settings.path
    digests: list[bytes] = []
    with (
        TableWriter(job.staged("exported"), DOCUMENTS) as out,
        job.progress(job.params["rows"]) as progress,
    ):
        for document in open_store(address).documents(settings, job.params["bucket"], job.params["buckets"]):
            progress.advance()
            digests.append(document.digest)
            if document.fault:
                job.ledger.quarantine(document.id, document.fault)
            elif not document.text.strip():
                job.ledger.reject(document.id, "empty_text")
            elif len(document.text) < job.params["min_chars"]:
                job.ledger.reject(document.id, "too_short")
            else:
                job.ledger.use(document.id)
                job.ledger.give(document.id)
                out.write(
                    {
                        "id": document.id,
                        "text": document.text,
                        "source": job.params["name"],
                        "meta": json.dumps(document.meta, ensure_ascii=False, sort_keys=True),
                    }
                )
    if sum_of(digests) != job.params["digest"]:
        raise RuntimeError(f"{address} changed after the run was planned; run again to export what it holds now")


if __name__ == "__main__":
    run_job(snakemake, export_documents, Units("row", "document"))
