"""The rule analyze_conversation: a row per transcribed recording, none lost, none computed twice."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import analyze_conversation as script
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Tally, Units
from unit.speech.conversations import (
    CALL,
    CALL_ROW,
    CALL_TRANSCRIPT,
    MEMO,
    MEMO_ROW,
    MEMO_TRANSCRIPT,
    SILENCE,
    SILENCE_ROW,
    SILENCE_TRANSCRIPT,
    proofs,
    write_channels,
)

LEXICONS = sorted((Path(__file__).parents[3] / "resources/lexicons").glob("*.yaml"))


@pytest.fixture
def results(tmp_path):
    """Results of the stages before for a shard of three recordings."""
    results = tmp_path / "results"
    folder = results / "recordings" / "calls-0000"
    write_channels(folder)
    rows = sorted((CALL_ROW, MEMO_ROW, SILENCE_ROW), key=lambda row: row["id"])
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for transcript in (CALL_TRANSCRIPT, MEMO_TRANSCRIPT, SILENCE_TRANSCRIPT):
        write_json(results / "transcripts" / "calls-0000" / f"{transcript['id']}.json", transcript)
        write_json(results / "transcripts" / "calls-0000" / f"{transcript['id']}.srt", "")
    write_ledgers(results)
    return results


def write_ledgers(results):
    for stage, folder in (("convert", "recordings"), ("transcribe", "transcripts")):
        files = sorted((results / folder / "calls-0000").iterdir())
        ledger = Ledger(stage, "calls-0000", Units("recording", "recording"))
        ledger.given = Tally.of(file.stem for file in files if file.suffix == ".json")
        ledger.outputs = proofs(results, files)
        write_json(results / "ledger" / stage / "calls-0000.json", ledger.to_json())


def job_of(results, lexicons=LEXICONS, **settings) -> Job:
    return Job(
        inputs={
            "recordings": [results / "recordings/calls-0000"],
            "transcripts": [results / "transcripts/calls-0000"],
            "lexicons": list(lexicons),
            "ledger": [results / f"ledger/{stage}/calls-0000.json" for stage in ("transcribe", "convert")],
        },
        outputs={
            "conversation": results / "conversation/calls-0000.parquet",
            "ledger": results / "ledger/analyze/calls-0000.json",
        },
        params={"settings": {"pause_seconds": [0.2], **settings}},
        units=Units("recording", "recording"),
    )


def run(results, *arguments, **settings):
    job = job_of(results, *arguments, **settings)
    job.run(script.analyze_conversation)
    ledger = json.loads(job.outputs["ledger"].read_text("utf-8"))
    return ledger, pq.read_table(job.outputs["conversation"]).to_pylist()


@pytest.fixture
def analyses(monkeypatch):
    """The recordings that are really analyzed."""
    done = []
    analyze = script.analyze_recording

    def counted(transcript, *arguments):
        done.append(transcript["id"])
        return analyze(transcript, *arguments)

    monkeypatch.setattr(script, "analyze_recording", counted)
    return done


def test_every_transcribed_recording_has_one_row_in_the_order_of_ids(results):
    ledger, rows = run(results)
    assert [row["id"] for row in rows] == sorted([CALL, MEMO, SILENCE])
    assert ledger["ids"]["in"] == ledger["ids"]["used"] == ledger["ids"]["out"]
    assert ledger["ids"]["in"] == Tally.of([CALL, MEMO, SILENCE]).to_json()


def test_a_transcript_that_its_ledger_does_not_list_breaks_the_step(results):
    file = results / "ledger/transcribe/calls-0000.json"
    ledger = json.loads(file.read_text("utf-8"))
    del ledger["outputs"][f"transcripts/calls-0000/{MEMO}.json"]
    write_json(file, ledger)
    with pytest.raises(RuntimeError, match="2 transcripts of calls-0000 for 3 recordings"):
        run(results)


def test_a_changed_transcript_is_the_only_one_that_is_analyzed_again(results, analyses):
    _, before = run(results)
    analyses.clear()
    file = results / f"transcripts/calls-0000/{MEMO}.json"
    file.write_text(file.read_text("utf-8").replace("-0.25", "-0.5"), encoding="utf-8")
    write_ledgers(results)
    ledger, after = run(results)
    assert analyses == [MEMO]
    assert (ledger["reused"], ledger["computed"]) == (2, 1)
    assert [row for row in after if row["id"] != MEMO] == [row for row in before if row["id"] != MEMO]


def test_another_lexicon_analyzes_everything_again(results, analyses, tmp_path):
    run(results)
    analyses.clear()
    own = tmp_path / "own.yaml"
    own.write_text("category: x\nrules: [{id: a, says: s, pattern: 회의, examples: [회의]}]", encoding="utf-8")
    _, rows = run(results, [own])
    assert len(analyses) == 3
    assert [span["rule"] for row in rows for span in row["evidence"]] == ["x.a"]


def test_a_job_that_ends_in_the_middle_resumes_and_writes_the_same_bytes(results, analyses, monkeypatch, tmp_path):
    counted = script.analyze_recording

    def failing(transcript, *arguments):
        if len(analyses) == 2:
            raise MemoryError
        return counted(transcript, *arguments)

    monkeypatch.setattr(script, "analyze_recording", failing)
    with pytest.raises(MemoryError):
        run(results)
    monkeypatch.setattr(script, "analyze_recording", counted)
    run(results)
    assert sorted(analyses) == sorted([CALL, MEMO, SILENCE])
    resumed = (results / "conversation/calls-0000.parquet").read_bytes()
    (results / "kept").rename(tmp_path / "kept")
    run(results)
    assert (results / "conversation/calls-0000.parquet").read_bytes() == resumed


def test_without_lexicons_there_is_no_evidence(results):
    _, rows = run(results, [])
    assert [row["evidence"] for row in rows] == [[], [], []]
