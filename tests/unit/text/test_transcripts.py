"""A recording is a document: found through the ledger of its transcription, its text and its facts kept."""

import json

import pytest

from ingest_transcripts import ingest_transcripts
from malgeul.shards.job import Job
from malgeul.shards.ledger import Tally, Units, read_ledger
from malgeul.shards.tables import read_rows


def segment(text):
    return {"start": 0.0, "end": 1.0, "text": text, "channel": 0, "speaker": None}


def transcript(recording, *segments):
    text = " ".join(part["text"] for part in segments)
    facts = {"name": f"{recording}.m4a", "duration": 3.5, "no_speech": not text}
    return {"id": recording, "text": text, "segments": list(segments), **facts}


def transcribe(results, *transcripts):
    folder = results / "transcripts" / "calls-0000"
    job = Job(
        inputs={},
        outputs={"transcripts": folder, "ledger": results / "ledger" / "transcribe" / "calls-0000.json"},
        params={},
        units=Units("recording", "recording"),
    )

    def work(job):
        for one in transcripts:
            (job.staged("transcripts") / f"{one['id']}.json").write_text(json.dumps(one))
            (job.staged("transcripts") / f"{one['id']}.srt").write_text("")
            job.ledger.use(one["id"])
            job.ledger.give(one["id"])

    job.run(work)


@pytest.fixture
def ingest_job(make_job, results):
    def make():
        shard = "transcripts-calls-0000"
        return make_job(
            "ingest",
            shard,
            {"text": f"text/{shard}.parquet"},
            units=("recording", "document"),
            ledgers=["transcribe/calls-0000.json"],
            inputs={"transcripts": [results / "transcripts" / "calls-0000"]},
        )

    return make


def test_recordings_become_documents_and_silence_is_a_reason(ingest_job, results):
    transcribe(results, transcript("b1", segment("여보세요")), transcript("a0", segment("네")), transcript("c2"))
    job = ingest_job()
    job.run(ingest_transcripts)
    rows = list(read_rows(job.outputs["text"]))
    assert [(row["id"], row["text"], row["source"]) for row in rows] == [
        ("a0", "네", "transcripts"),
        ("b1", "여보세요", "transcripts"),
    ]
    assert json.loads(rows[0]["meta"]) == {"name": "a0.m4a", "duration": 3.5, "no_speech": False}
    ledger = read_ledger(job.outputs["ledger"])
    assert (ledger.rejected, ledger.taken) == ({"no_speech": 1}, Tally.of(["a0", "b1", "c2"]))
    assert ledger.given == Tally.of(["a0", "b1"])
    assert ledger.imbalance() is None


def test_a_file_that_no_ledger_names_is_no_transcript(ingest_job, results):
    transcribe(results, transcript("a0", segment("네")))
    (results / "transcripts/calls-0000/stray.json").write_text("{}")
    job = ingest_job()
    job.run(ingest_transcripts)
    assert [row["id"] for row in read_rows(job.outputs["text"])] == ["a0"]
