"""Measure the conversations of a shard: quality, interaction, acoustics, lexicon spans, trust. Facts, no verdict."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Ledger, Tally, Units
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.speech.conversation import CONVERSATION, analyze_recording
from malgeul.speech.lexicon import read_lexicons
from malgeul.speech.manifest import read_manifest
from malgeul.speech.praat import PACKAGE
from malgeul.speech.settings import AnalyzeSettings

if TYPE_CHECKING:
    from snakemake.script import snakemake


def analyze_conversation(job: Job) -> None:
    """Write a row per transcribed recording, sorted by id; rows that were made before are taken again."""
    settings = AnalyzeSettings.model_validate(job.params["settings"])
    transcribed, converted = job.upstream
    rules = read_lexicons(job.inputs["lexicons"])
    manifest = read_manifest(job.input("recordings"))
    table_name = f"conversation/{job.shard}.parquet"
    kept = _kept_rows(job.kept.file(table_name))
    transcripts = _transcripts(transcribed)
    with TableWriter(job.staged("conversation"), CONVERSATION) as table, job.progress(len(transcripts)) as progress:
        for recording, name in transcripts.items():
            key = job.item_key(_content(job, transcribed, converted, name, manifest[recording]))
            if key in job.journal:
                row = job.journal.record(key)
                progress.resume(1)
            elif job.kept.item(key) is not None and recording in kept:
                row = kept[recording]
                job.ledger.reused += 1
                progress.resume(1)
            else:
                transcript = json.loads((job.results / name).read_text(encoding="utf-8"))
                row = analyze_recording(
                    transcript, manifest[recording], job.input("recordings"), rules, settings.pause_seconds
                )
                job.journal.put(key, row)
                progress.advance()
            table.write(row)
            job.ledger.items[key] = [table_name]
            job.ledger.use(recording)
            job.ledger.give(recording)


def _transcripts(transcribed: Ledger) -> dict[str, str]:
    """Return the transcripts of a shard by recording, sorted, as names relative to the results."""
    names = {Path(name).stem: name for name in sorted(transcribed.outputs) if name.endswith(".json")}
    if Tally.of(names) != transcribed.given:
        raise RuntimeError(
            f"{len(names)} transcripts of {transcribed.shard} for {transcribed.given.n} recordings; run again"
        )
    return names


def _content(job: Job, transcribed: Ledger, converted: Ledger, name: str, row: dict[str, Any]) -> list[Any]:
    """Return what a recording's row depends on besides the settings."""
    lexicons = [digest for role, digest in job.input_digests.items() if role.startswith("lexicons")]
    wavs = [f"recordings/{job.shard}/{channel}.wav" for channel in row["channels"]]
    return [lexicons, transcribed.outputs[name]["sha256"], row, [converted.outputs[wav]["sha256"] for wav in wavs]]


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
