"""The rule analyze_conversation: a row per transcribed recording, none lost, none computed twice."""

from __future__ import annotations

import json
import re
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

ROOT = Path(__file__).parents[3]
TEMPLATES = sorted((ROOT / "scripts/malgeul").glob("*/templates/*"))
LEXICONS = sorted((ROOT / "resources/lexicons").glob("*.yaml"))


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


def job_of(results, lexicons=LEXICONS, templates=TEMPLATES, **settings) -> Job:
    return Job(
        inputs={
            "recordings": [results / "recordings/calls-0000"],
            "transcripts": [results / "transcripts/calls-0000"],
            "classes": [],
            "lexicons": list(lexicons),
            "templates": list(templates),
            "ledger": [results / f"ledger/{stage}/calls-0000.json" for stage in ("transcribe", "convert")],
        },
        outputs={
            "conversation": results / "conversation/calls-0000.parquet",
            "pages": results / "pages/calls-0000",
            "ledger": results / "ledger/analyze/calls-0000.json",
        },
        params={"settings": {"pause_seconds": [0.2], **settings}},
        units=Units("recording", "recording"),
    )


def run(results, *arguments, **more):
    job = job_of(results, *arguments, **more)
    job.run(script.analyze_conversation)
    ledger = json.loads(job.outputs["ledger"].read_text("utf-8"))
    return ledger, pq.read_table(job.outputs["conversation"]).to_pylist()


def counted(monkeypatch, function):
    """Return the recordings for which a function of the script is really called."""
    done = []
    original = getattr(script, function)

    def counting(transcript, *arguments):
        done.append(transcript["id"])
        return original(transcript, *arguments)

    monkeypatch.setattr(script, function, counting)
    return done


@pytest.fixture
def analyses(monkeypatch):
    """The recordings that are really analyzed."""
    return counted(monkeypatch, "analyze_recording")


@pytest.fixture
def drawings(monkeypatch):
    """The recordings whose pages are really drawn."""
    return counted(monkeypatch, "page_of")


def pages(results):
    return {file.name: file.read_bytes() for file in (results / "pages/calls-0000").iterdir()}


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
    with pytest.raises(RuntimeError, match=r"transcribe calls-0000 wrote 2 files \.json for 3 recordings"):
        run(results)


def test_every_recording_has_a_page_and_the_shard_has_a_list_of_them(results):
    ledger, rows = run(results)
    names = {f"{row['id']}.html" for row in rows} | {"index.html"}
    assert set(pages(results)) == names
    assert {name for name in ledger["outputs"] if name.startswith("pages/")} == {f"pages/calls-0000/{n}" for n in names}
    listed = pages(results)["index.html"].decode()
    assert re.findall(r'href="(\w+\.html)"', listed) == sorted(names - {"index.html"}), "by name"


def test_a_changed_transcript_is_the_only_one_that_is_analyzed_again(results, analyses, drawings):
    _, before = run(results)
    analyses.clear()
    drawings.clear()
    file = results / f"transcripts/calls-0000/{MEMO}.json"
    file.write_text(file.read_text("utf-8").replace("-0.25", "-0.5"), encoding="utf-8")
    write_ledgers(results)
    ledger, after = run(results)
    assert analyses == drawings == [MEMO]
    assert (ledger["reused"], ledger["computed"]) == (2, 1)
    assert [row for row in after if row["id"] != MEMO] == [row for row in before if row["id"] != MEMO]


def test_another_look_draws_pages_again_and_measures_nothing(results, analyses, drawings, tmp_path):
    _, before = run(results)
    analyses.clear()
    drawings.clear()
    look = tmp_path / "palette.css"
    look.write_text(":root { --paper: pink; }", encoding="utf-8")
    ledger, after = run(results, templates=[look])
    assert analyses == []
    assert len(drawings) == 3
    assert ledger["reused"] == 0, "a page was drawn for each"
    assert after == before


def test_a_renamed_recording_has_a_new_page_and_is_not_measured_again(results, analyses, drawings):
    _, before = run(results)
    analyses.clear()
    drawings.clear()
    for file in ("recordings/calls-0000/manifest.jsonl", f"transcripts/calls-0000/{MEMO}.json"):
        text = (results / file).read_text("utf-8")
        (results / file).write_text(text.replace(f"{MEMO}.m4a", "새 이름.m4a"), encoding="utf-8")
    write_ledgers(results)
    ledger, after = run(results)
    assert (analyses, drawings) == ([], [MEMO])
    assert (ledger["reused"], ledger["computed"]) == (2, 1)
    assert {row["id"]: row["name"] for row in after}[MEMO] == "새 이름.m4a"
    assert [{**row, "name": ""} for row in after] == [{**row, "name": ""} for row in before]
    assert "새 이름.m4a" in pages(results)[f"{MEMO}.html"].decode()
    assert "새 이름.m4a" in pages(results)["index.html"].decode()


def test_a_page_that_is_gone_from_what_is_kept_is_drawn_again(results, analyses, drawings):
    run(results)
    before = pages(results)
    analyses.clear()
    drawings.clear()
    (results / f"kept/analyze/calls-0000/pages/calls-0000/{CALL}.html").unlink()
    run(results)
    assert (analyses, drawings) == ([], [CALL])
    assert pages(results) == before


def test_another_lexicon_analyzes_everything_again(results, analyses, tmp_path):
    run(results)
    analyses.clear()
    own = tmp_path / "own.yaml"
    own.write_text("category: x\nrules: [{id: a, says: s, pattern: 회의, examples: [회의]}]", encoding="utf-8")
    _, rows = run(results, [own])
    assert len(analyses) == 3
    assert [span["rule"] for row in rows for span in row["evidence"]] == ["x.a"]


def test_a_job_that_ends_in_the_middle_resumes_and_writes_the_same_bytes(
    results, analyses, drawings, monkeypatch, tmp_path
):
    draw = script.page_of

    def failing(transcript, *arguments):
        if len(drawings) == 2:
            raise MemoryError
        return draw(transcript, *arguments)

    monkeypatch.setattr(script, "page_of", failing)
    with pytest.raises(MemoryError):
        run(results)
    assert (len(analyses), len(drawings)) == (3, 2)
    monkeypatch.setattr(script, "page_of", draw)
    run(results)
    assert sorted(analyses) == sorted(drawings) == sorted([CALL, MEMO, SILENCE])
    resumed = (results / "conversation/calls-0000.parquet").read_bytes(), pages(results)
    (results / "kept").rename(tmp_path / "kept")
    run(results)
    assert ((results / "conversation/calls-0000.parquet").read_bytes(), pages(results)) == resumed


def test_without_lexicons_there_is_no_evidence(results):
    _, rows = run(results, [])
    assert [row["evidence"] for row in rows] == [[], [], []]
