"""report.html: what a person reads first. One file, no scripts or network; the same for the same ledgers; escaped."""

import os
import re
import shutil
from xml.etree import ElementTree

import pytest

from malgeul.pages.quantities import duration
from malgeul.report import page
from malgeul.report.audit import write_audit
from malgeul.report.page import FUNNEL, REPORT, TIMELINE, state_of, summary, write_report
from malgeul.report.timeline import timeline
from malgeul.shards.ledger import Tally
from unit.parsing import Page


def read_page(results) -> str:
    return (results / REPORT).read_text(encoding="utf-8")


@pytest.fixture
def written(run) -> Page:
    """The page of a complete run."""
    write_report(run.results, write_audit(run.results, "quarantine"))
    parsed = Page(read_page(run.results))
    assert parsed.open == [], "every element is closed"
    return parsed


def test_the_verdict_and_what_came_out_stand_first(written):
    text = written.text
    assert text.index("Nothing was lost") < text.index("From input to output")
    assert "All of 9 documents, 31 records and 7 recordings that came in" in text
    for number, label in [("5", "transcripts"), ("28", "documents kept"), ("60", "dataset rows"), ("72", "vectors")]:
        assert re.search(rf"\b{number} {label}", text), label


def test_every_stage_is_in_the_funnel_with_what_it_received_and_gave(written, run):
    text = written.text
    for line in ("7 recordings → 5 channels", "33 documents → 28 documents", "28 documents → 1 duplicate found"):
        assert line in text
    headings = [stage.title for stage in page.STAGES.values() if stage.name in run.plan.shards_of()]
    assert len(headings) == 16
    assert all(heading in text for heading in headings)


def test_reasons_have_counts_and_an_example_with_value_and_threshold(written):
    assert re.search(r"low_hangul 3 .*?notes/notes-0000-3 measured 0\.0213, threshold 0\.4", written.text)
    assert re.search(r"too_short 2 .*?measured 120, threshold 200", written.text)
    assert "통화 녹음 한빛은행 (1).m4a" in written.text


def test_quarantined_items_have_class_reason_and_what_was_tried(written):
    text = written.text
    assert "NOT_AUDIO" in text
    assert "tried: probed" in text
    assert "web-0000.jsonl:99" in text


def test_speeds_are_of_the_time_in_which_the_stage_ran(written):
    assert "77.6 × real time" in written.text  # 2 × 620.5 s of audio in two jobs of 8 s
    assert "38.5 tokens/s" in written.text  # 72 chunks of 21 tokens in 39.3 s, in which the jobs overlapped
    assert "NVIDIA H200" in written.text


def test_the_run_time_counts_what_passed_between_jobs(run):
    run.change("merge", "all", started=run.clock + 25, seconds=10.0)
    write_report(run.results, write_audit(run.results, "quarantine"))
    chart = timeline(run.ledger(stage, shard) for stage, shards in run.plan.shards_of().items() for shard in shards)
    assert chart["wall"] > chart["busy"] + 10
    assert f"{duration(chart['wall'])} run time" in Page(read_page(run.results)).text


def test_samples_show_what_came_out(written):
    text = written.text
    assert "네, 한빛은행입니다." in text
    assert "0:04.5–1:03.0" in text
    assert "low_logprob" in text
    assert "226 characters after the mention before" in text
    assert ("span", {"class": "mask"}) in written.tags
    assert "characters 0 to 40, 21 tokens" in text


def test_every_recording_is_listed_with_a_link_to_its_page(written, run):
    rows = re.findall(r"calls-\d{4}-\d <script>.*?pj\.m4a 1 min 03 s 2\.50 s missing 1 2 1 2", written.text)
    assert len(rows) == 5
    links = [attributes["href"] for tag, attributes in written.tags if tag == "a" and "pages" in attributes["href"]]
    assert set(links) == {str(p.relative_to(run.results)) for p in run.results.glob("pages/*/*.html")}
    assert links.count("pages/calls-0000/calls-0000-0.html") == 2, "in the list and at its transcript"


def test_files_left_aside_are_counted(written):
    assert "3 files .jpg" in written.text.replace(" , ", ", ")


def test_the_page_needs_no_network_and_runs_nothing(written, run):
    assert not {tag for tag, _ in written.tags} & {"script", "link", "img", "iframe", "object", "form", "base"}
    for tag, attributes in written.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"], tag
        assert re.match(r"#|pages/[\w-]+/[\w-]+\.html$", attributes.get("href") or "#"), (
            "links lead to pages of the run"
        )
    policy = [a["content"] for t, a in written.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "url(" not in read_page(run.results)
    assert "@import" not in read_page(run.results)


def test_hostile_names_and_texts_are_shown_and_do_nothing(written, run):
    source = read_page(run.results)
    assert "<script>" not in source
    assert "&lt;script&gt;alert" in source
    assert "\u202e" not in source, "a name cannot turn the direction of the text around it"
    assert "\\u202egpj" in written.text


def test_the_same_ledgers_give_the_same_page(run, monkeypatch):
    monkeypatch.setattr(page.time, "strftime", lambda form: "then")
    verdict = write_audit(run.results, "quarantine")
    pages = []
    for _ in range(2):
        write_report(run.results, verdict)
        pages.append([(run.results / name).read_bytes() for name in (REPORT, FUNNEL, TIMELINE)])
    assert pages[0] == pages[1]


@pytest.mark.parametrize("name", [FUNNEL, TIMELINE])
def test_figures_are_files_of_their_own(written, run, name):
    root = ElementTree.parse(run.results / name).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "Transcribe" in "".join(root.itertext())


def test_a_failed_shard_is_named_with_the_end_of_its_log(run):
    run.ledger_file("filter", "notes-0000").unlink()
    run.ledger_file("merge", "all").unlink()
    started = (run.results / "logs/filter_text/notes-0000.log").stat().st_mtime + 10
    log = run.results / "logs/filter_text/notes-0000.log"
    log.write_text("\n".join(f"line {n}" for n in range(1000)) + "\nRuntimeError: <b>planted</b>\n", encoding="utf-8")
    os.utime(log, (started + 5, started + 5))
    write_report(run.results, write_audit(run.results, "quarantine"), since=started)
    parsed = Page(read_page(run.results))
    text = parsed.text
    assert "The run is not complete" in text
    assert "1 shard failed, 1 shard was not reached" in text
    assert "RuntimeError: <b>planted</b>" in text
    assert "line 999" in text
    assert "line 900 " not in text
    assert not [tag for tag, _ in parsed.tags if tag == "b" and "planted" in _]
    assert "merge all" in text
    assert "not made" in text


def test_a_shard_that_somebody_stopped_has_not_failed(run):
    run.ledger_file("filter", "notes-0000").unlink()
    log = run.results / "logs/filter_text/notes-0000.log"
    log.write_text("WARNING malgeul: filter notes-0000: stopped by SIGINT\n", encoding="utf-8")
    write_report(run.results, write_audit(run.results, "quarantine"))
    text = Page(read_page(run.results)).text
    assert "It was stopped while 1 job ran; the same command goes on there. 0 shards failed" in text
    assert "mending" not in text


def test_what_broke_is_named(run):
    entries = run.read("embed", "law-0000")["ids"]
    run.change("embed", "law-0000", ids=entries | {"in": Tally.of(["x"]).to_json()})
    write_report(run.results, write_audit(run.results, "quarantine"))
    text = Page(read_page(run.results)).text
    assert text.index("The audit does not hold") < text.index("What broke") < text.index("From input to output")
    assert "embed law-0000 took 1 chunks where chunk gave 16" in text


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        ({"broken": [], "missing": [], "on_bad_input": "quarantine", "quarantined": 3}, "holds"),
        ({"broken": [], "missing": [], "on_bad_input": "fail", "quarantined": 3}, "refused"),
        ({"broken": [], "missing": [], "on_bad_input": "fail", "quarantined": 0}, "holds"),
        ({"broken": [], "missing": [{}], "on_bad_input": "fail", "quarantined": 3}, "incomplete"),
        ({"broken": [{}], "missing": [{}], "on_bad_input": "fail", "quarantined": 3}, "broken"),
    ],
)
def test_the_state_is_the_worst_that_is_true(verdict, state):
    assert state_of(verdict) == state


def test_a_damaged_table_leaves_its_samples_out_and_says_so(run):
    verdict = write_audit(run.results, "quarantine")
    (run.results / "chunks/law-0000.parquet").write_bytes(b"no table at all")
    (run.results / "transcripts/calls-0000/calls-0000-0.json").unlink()
    write_report(run.results, verdict)
    text = Page(read_page(run.results)).text
    assert "not shown" in text
    assert "chunks (ArrowInvalid" in text
    assert "transcripts (FileNotFoundError" in text
    assert "Documents that stayed" in text


def test_a_run_without_any_ledger_has_a_page(run):
    shutil.rmtree(run.results / "ledger")
    write_report(run.results, write_audit(run.results, "quarantine"))
    assert "The run is not complete" in Page(read_page(run.results)).text


def test_parts_of_the_corpus_may_be_absent(text_run):
    write_report(text_run.results, write_audit(text_run.results, "quarantine"))
    parsed = Page(read_page(text_run.results))
    assert "Transcribe" not in parsed.text
    assert "Chunks" not in parsed.text
    assert "Documents that stayed" in parsed.text


def test_lists_are_cut_and_say_how_much_is_left(run):
    fault = run.read("ingest", "web-0000")["quarantined"][0]
    run.change("ingest", "web-0000", quarantined=[{**fault, "item": f"web.jsonl:{n}"} for n in range(500)])
    write_report(run.results, write_audit(run.results, "quarantine"))
    text = Page(read_page(run.results)).text
    assert "… and 452 more in ledger/" in text  # with one each of the two other shards
    assert text.count("web.jsonl:") < 60


def test_the_index_is_told_with_its_recall_and_speed_beside_exact_search(run):
    facts = {"vectors": 1_234_567, "dimension": 1024}
    run.change("index", "all", measured={"kind": "exact", **facts})
    write_report(run.results, write_audit(run.results, "quarantine"))
    text = Page(read_page(run.results)).text
    assert "exact: every vector is compared" in text
    assert "1,234,567" in text
    lists = {"lists": 4444, "lists_searched": 96, "recall": 0.9915, "recall_queries": 200}
    run.change(
        "index", "all", measured={"kind": "ivf", **facts, **lists, "milliseconds": 1.234, "exact_milliseconds": 98.7}
    )
    write_report(run.results, write_audit(run.results, "quarantine"))
    text = Page(read_page(run.results)).text
    assert "96 of 4,444" in text
    assert "0.9915 beside exact search, 200 queries" in text
    assert "1.23 ms; exact search 98.7 ms" in text


def test_the_summary_says_what_came_in_out_and_was_left_out(run):
    lines = "\n".join(summary(write_audit(run.results, "quarantine")))
    assert "came in      9 documents, 31 records and 7 recordings" in lines
    assert "5 transcripts, 28 documents kept, 60 dataset rows, 72 vectors in the index" in lines
    assert "quarantined  4 (BROKEN_JSON 3, NOT_AUDIO 1)" in lines
