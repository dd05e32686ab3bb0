"""Samples: one of each shard, cut to excerpts, in the order of the plan."""

import json

from malgeul.dataset.samples import SAMPLES
from malgeul.report import samples
from malgeul.report.samples import (
    EXCERPT,
    boilerplate,
    capped_names,
    chunks,
    documents,
    excerpt,
    masked_text,
    recordings,
    rejections,
    selected_samples,
    transcripts,
)
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.text.boilerplate import BOILERPLATE


def ledgers(run, stage):
    return [run.ledger(stage, shard) for shard in run.plan.shards_of()[stage]]


def test_documents_are_of_different_shards_and_cut(run):
    shown = documents(run.results, ledgers(run, "filter"))
    assert [document["id"] for document in shown] == ["web-0000-0", "web-0001-0", "notes-0000-0"]
    assert all(len(document["text"]) <= EXCERPT + 2 for document in shown)
    assert all(None not in document["features"].values() for document in shown)


def test_recordings_are_listed_up_to_a_number_and_the_others_by_shard(run, monkeypatch):
    of_run = ledgers(run, "analyze")
    everything = recordings(run.results, of_run)
    assert (len(everything["shown"]), everything["n"], everything["shards"]) == (5, 5, [])
    first = everything["shown"][0]
    assert (first["page"], first["speakers"], first["doubtful"], first["spans"]) == (
        "pages/calls-0000/calls-0000-0.html", 1, 1, 2,
    )  # fmt: skip
    monkeypatch.setattr(samples, "RECORDINGS", 3)
    some = recordings(run.results, of_run)
    assert (len(some["shown"]), some["n"], some["shards"], some["more_shards"]) == (3, 5, [("calls-0001", 3)], 0)
    monkeypatch.setattr(samples, "RECORDINGS", 1)
    monkeypatch.setattr(samples, "SHARDS_LISTED", 1)
    few = recordings(run.results, of_run)
    assert (len(few["shown"]), few["shards"], few["more_shards"]) == (1, [("calls-0000", 2)], 1)


def test_a_transcript_without_a_page_has_no_link_to_one(run):
    (run.results / "pages/calls-0000/calls-0000-0.html").unlink()
    pages = [transcript["page"] for transcript in transcripts(run.results, ledgers(run, "transcribe"))]
    assert pages == [None, "pages/calls-0001/calls-0001-0.html"]


def test_transcripts_without_speech_are_passed_over(run):
    silent = run.results / "transcripts/calls-0000/calls-0000-0.json"
    silent.write_text(json.dumps({"id": "calls-0000-0", "segments": [{"text": " "}]}))
    shown = transcripts(run.results, ledgers(run, "transcribe"))
    assert [transcript["name"] for transcript in shown] == ["calls-0000-1", "calls-0001-0"]


def test_every_reason_of_the_filter_has_an_example(run):
    found = rejections(run.results, ledgers(run, "filter"))
    counted = set().union(*(ledger.rejected for ledger in ledgers(run, "filter")))
    assert set(found) == counted
    assert found["low_hangul"]["measured"] == 0.0213


def test_chunks_have_their_places(run):
    shown = chunks(run.results, ledgers(run, "chunk"))
    assert len({chunk["document_id"] for chunk in shown}) == 3
    assert all(chunk["end"] > chunk["start"] for chunk in shown)


def test_excerpts_say_that_the_text_goes_on():
    assert excerpt("짧은 글") == "짧은 글"
    assert excerpt("가 " * 300).endswith(" …")


def mention(text, surface, start):
    return {"surface": surface, "start": start, "end": start + len(surface)}


def test_a_masked_mention_and_the_one_before_are_shown_with_what_lies_between():
    text = "시작이다. " + "가" * 300 + " 민수가 왔다. " + "나" * 900 + " 민수는 갔다. " + "다" * 500
    first, last = text.index("민수"), text.rindex("민수")
    document = {"text": text, "mentions": [mention(text, "민수", first), mention(text, "민수", last)]}
    sample = {"masked_start": last, "masked_end": last + 2, "distance": last - first - 2, "entity": "민수"}
    pieces = masked_text(document, sample)
    assert [kind for kind, _ in pieces] == ["text", "text", "mention", "text", "masked", "text"]
    assert [text for kind, text in pieces if kind != "text"] == ["민수", "민수"]
    shown = "".join(text for _, text in pieces)
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert len(shown) < 700


def test_the_whole_of_a_short_document_is_shown_as_it_is():
    text = "민수가 왔다가 민수는 갔다."
    document = {"text": text, "mentions": [mention(text, "민수", 0), mention(text, "민수", 8)]}
    pieces = masked_text(document, {"masked_start": 8, "masked_end": 10, "distance": 6, "entity": "민수"})
    assert "".join(piece for _, piece in pieces) == text


def test_boilerplate_and_names_over_the_cap_are_listed(run):
    [line] = boilerplate(run.results, ledgers(run, "dedup"))
    assert (line["text"], line["documents"]) == ("무단 전재 및 재배포를 금지합니다.", 212)
    assert capped_names(run.results, ledgers(run, "cap")) == [
        {"entity": "서울", "largest_priority": 9, "samples": 1204}
    ]
    assert boilerplate(run.results, []) == capped_names(run.results, []) == []


def test_of_a_long_line_the_beginning_is_shown(run):
    file = run.results / "boilerplate.parquet"
    line = next(read_rows(file)) | {"text": "긴 줄 " * 1000}
    with TableWriter(file, BOILERPLATE) as table:
        table.write(line)
    [shown] = boilerplate(run.results, ledgers(run, "dedup"))
    assert shown["text"] == excerpt(line["text"]) != line["text"]


def test_of_a_sequence_the_beginning_is_shown(run):
    file = run.results / "samples/web-0000.parquet"
    sample = next(read_rows(file)) | {"entity": "", "masked_start": 4, "masked_end": 60, "distance": 0}
    with TableWriter(file, SAMPLES) as table:
        table.write(sample)
    [shown] = selected_samples(run.results, ledgers(run, "select")[:1])
    document = next(r for r in read_rows(run.results / "filtered/web-0000.parquet") if r["id"] == sample["doc_id"])
    assert shown["pieces"] == [("text", document["text"][4:60])]
