"""Measure the conversations of a shard: quality, interaction, acoustics, lexicon spans, trust; and draw their pages.

Facts, no verdict. A recording's row and its page have keys of their own: another look or another name of a file draws
pages again and measures nothing.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.pages.recordings import COLUMNS
from malgeul.shards.files import digest_of, link_or_copy
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.speech.conversation import CONVERSATION, analyze_recording
from malgeul.speech.lexicon import read_lexicons
from malgeul.speech.manifest import read_manifest
from malgeul.speech.page import INDEX, index_of, page_of
from malgeul.speech.praat import PACKAGE
from malgeul.speech.settings import AnalyzeSettings

if TYPE_CHECKING:
    from snakemake.script import snakemake

NAMES = ("name", "aliases")
"""Of a recording's row of the manifest: what is shown and no figure depends on."""


def analyze_conversation(job: Job) -> None:
    """Write a row and a page per transcribed recording, sorted by id; what was made before is taken again."""
    settings = AnalyzeSettings.model_validate(job.params["settings"])
    transcribed, converted, *_ = job.upstream
    rules = read_lexicons(job.inputs["lexicons"])
    manifest = read_manifest(job.input("recordings"))
    table_name = f"conversation/{job.shard}.parquet"
    kept = _kept_rows(job.kept.file(table_name))
    transcripts = transcribed.files_given(".json")
    classified = _classified(job.inputs["classes"])
    listed = []
    with TableWriter(job.staged("conversation"), CONVERSATION) as table, job.progress(len(transcripts)) as progress:
        for recording, name in transcripts.items():
            transcript = json.loads((job.results / name).read_text(encoding="utf-8"))
            known = manifest[recording]
            passages = classified[recording]
            key = job.item_key(_content(job, converted, transcript, known), *passages)
            made = False
            if key in job.journal:
                row = job.journal.record(key)
            elif job.kept.item(key) is not None and recording in kept:
                row = kept[recording]
            else:
                folder = job.input("recordings")
                row = analyze_recording(transcript, known, folder, rules, settings.pause_seconds, passages)
                job.journal.put(key, row)
                made = True
            row["name"] = known["name"]
            made |= _put_page(job, key, transcript, known, row)
            table.write(row)
            listed.append({column: row[column] for column in COLUMNS})
            job.ledger.items[key] = [table_name]
            job.ledger.use(recording)
            job.ledger.give(recording)
            if made:
                progress.advance()
            else:
                progress.resume(1)
    (job.staged("pages") / INDEX).write_text(index_of(listed, job.shard), encoding="utf-8")


def _classified(tables: list[Path]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of classes/ by recording."""
    rows = defaultdict(list)
    for table in tables:
        for row in read_rows(table):
            rows[row["recording"]].append(row)
    return rows


def _put_page(job: Job, row_key: str, transcript: dict[str, Any], known: dict[str, Any], row: dict[str, Any]) -> bool:
    """Put the page of a recording in place; tell whether it was drawn now."""
    names = [known[name] for name in NAMES]
    key = job.item_key("page", row_key, names, job.shard, _digests(job, "templates"))
    page_name = f"pages/{job.shard}/{transcript['id']}.html"
    place = job.staged("pages") / Path(page_name).name
    job.ledger.items[key] = [page_name]
    if key in job.journal:
        place.write_bytes(job.journal.blob(key))
        return False
    if kept := job.kept.item(key):
        link_or_copy(kept[0], place)
        job.ledger.reused += row_key not in job.journal
        return False
    page = page_of(transcript, known, row, job.input("recordings"), job.shard).encode()
    job.journal.put(key, blob=page)
    place.write_bytes(page)
    return True


def _content(job: Job, converted: Ledger, transcript: dict[str, Any], known: dict[str, Any]) -> list[Any]:
    """Return what a recording's row depends on besides the settings."""
    said = digest_of({key: value for key, value in transcript.items() if key != "name"})
    facts = {key: value for key, value in known.items() if key not in NAMES}
    wavs = [f"recordings/{job.shard}/{channel}.wav" for channel in known["channels"]]
    return [_digests(job, "lexicons"), said, facts, [converted.outputs[wav]["sha256"] for wav in wavs]]


def _digests(job: Job, role: str) -> list[str]:
    """Return the digests of the files of an input."""
    return [digest for name, digest in job.input_digests.items() if name.startswith(f"{role}[")]


def _kept_rows(table: Path | None) -> dict[str, dict[str, Any]]:
    """Return the rows of the last success by recording."""
    return {row["id"]: row for row in read_rows(table)} if table else {}


if __name__ == "__main__":
    run_job(
        snakemake,
        analyze_conversation,
        Units("recording", "recording"),
        packages=("numpy", "pyarrow"),
        optional=(PACKAGE,),
    )
