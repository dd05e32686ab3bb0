"""Law 1: nothing is lost in silence. What the audit proves, and that every way of losing something breaks it."""

import json

import pytest

from check_audit import check_audit
from malgeul.report.audit import AUDIT, NAMES_SHOWN, complaint, write_audit
from malgeul.shards.ledger import Tally
from unit.report.conftest import HOSTILE


def set_ids(run, stage, shard, **ids):
    """Replace tallies of a ledger, each given as a list of ids, and the numbers that go with them."""
    entries = run.read(stage, shard)["ids"] | {name: Tally.of(items).to_json() for name, items in ids.items()}
    run.change(stage, shard, ids=entries)


def findings(verdict):
    return {(broken["stage"], broken["shard"]): broken["what"] for broken in verdict["broken"]}


def test_a_complete_run_holds_and_every_edge_was_checked(run):
    verdict = write_audit(run.results, "quarantine")
    assert verdict["holds"]
    assert verdict["broken"] == verdict["missing"] == verdict["unplanned"] == []
    first = {("ingest", shard) for shard in run.plan.text} | {
        ("export", "law-0000")
    }  # their items have no other ledger
    shards = {(stage, shard) for stage, of_stage in run.plan.shards_of().items() for shard in of_stage}
    assert verdict["edges"] == len(shards - first)
    assert json.loads((run.results / "audit.json").read_text(encoding="utf-8")) == verdict


def test_the_verdict_sums_up_every_planned_stage(run):
    verdict = write_audit(run.results, "quarantine")
    assert set(verdict["stages"]) == set(run.plan.shards_of())
    convert = verdict["stages"]["convert"]
    assert (convert["shards"], convert["in"], convert["used"], convert["out"]) == (2, 7, 5, 5)
    assert convert["rejected"] == {"duplicate": 1}
    assert convert["quarantined"] == {"NOT_AUDIO": 1}
    assert convert["seconds"] == 16
    assert verdict["stages"]["ingest"]["units_in"] == {"record": 31, "recording": 5}
    assert verdict["came_in"] == {"document": 9, "record": 31, "recording": 7}
    assert verdict["quarantined"] == sum(sum(s["quarantined"].values()) for s in verdict["stages"].values()) == 4
    assert verdict["rejected"] == sum(sum(s["rejected"].values()) for s in verdict["stages"].values())


def test_a_lost_id_breaks_its_edge_and_is_named(run):
    taken = run.taken("chunk", "web-0000")
    set_ids(run, "chunk", "web-0000", **{"in": taken[1:], "used": taken[1:]})
    verdict = write_audit(run.results, "quarantine")
    assert not verdict["holds"]
    assert findings(verdict) == {
        ("chunk", "web-0000"): f"took 9 documents where filter gave 10: {taken[0]!r} is lost",
    }


def test_an_id_taken_twice_breaks_its_edge_and_is_named(run):
    taken = run.taken("embed", "law-0000")
    set_ids(run, "embed", "law-0000", **{"in": [*taken, taken[3]], "used": [*taken, taken[3]]})
    what = findings(write_audit(run.results, "quarantine"))["embed", "law-0000"]
    assert f"{taken[3]!r} was taken twice" in what


def test_as_many_but_other_ids_break_an_edge(run):
    taken = [*run.taken("filter", "notes-0000")[1:], "somebody-else"]
    kept = run.read("filter", "notes-0000")["used"]
    set_ids(run, "filter", "notes-0000", **{"in": taken, "used": taken[:kept], "rejected": taken[kept:]})
    what = findings(write_audit(run.results, "quarantine"))["filter", "notes-0000"]
    assert what == "took 6 documents, but not those that screen gave"


def test_a_recording_that_no_ledger_accounts_for_is_named(run):
    paths = [file.path for file in run.plan.recordings["calls-0000"].files]
    good = [path for path in paths if HOSTILE not in path and "(1)" not in path]
    set_ids(run, "convert", "calls-0000", **{"in": [p for p in paths if p != good[0]], "used": good[1:]})
    what = findings(write_audit(run.results, "quarantine"))["convert", "calls-0000"]
    assert what == f"took 3 recordings where the plan names 4: {good[0]!r} is lost"


def test_a_copy_of_a_recording_that_no_shard_has_is_named(run):
    """Its file went after the copy was left out, and before its own shard was converted."""
    note = {"item": "/data/calls/copy.m4a", "what": "duplicate", "duplicate_of": "f00d", "shard": "calls-0000"}
    for shard in run.plan.recordings:
        run.change("convert", shard, state="s")
    before = run.read("convert", "calls-0001")["notes"]
    run.change("convert", "calls-0001", notes=[*before, note])
    verdict = write_audit(run.results, "quarantine")
    assert not verdict["holds"]
    what = findings(verdict)["convert", "calls-0001"]
    assert "/data/calls/copy.m4a was left out as a copy of the recording f00d of calls-0000, which no shard has" in what
    faults = run.read("convert", "calls-0000")["quarantined"]
    run.change("convert", "calls-0000", quarantined=[faults[0] | {"id": "f00d"}, *faults[1:]])
    assert write_audit(run.results, "quarantine")["holds"], "one that could not be converted is accounted for, too"
    run.change("convert", "calls-0000", quarantined=[faults[0] | {"id": "f00d", "class": "CHANGED"}, *faults[1:]])
    assert not write_audit(run.results, "quarantine")["holds"], "what the id was of has gone"


def test_an_original_whose_shard_is_missing_or_of_an_earlier_version_is_not_guessed(run):
    note = {"item": "copy.m4a", "what": "duplicate", "duplicate_of": "f00d", "shard": "calls-0000"}
    run.change("convert", "calls-0001", notes=[note], state="s")
    assert write_audit(run.results, "quarantine")["holds"], "it does not tell which recordings it quarantined"
    run.ledger_file("convert", "calls-0000").unlink()
    verdict = write_audit(run.results, "quarantine")
    assert [(m["stage"], m["shard"]) for m in verdict["missing"]] == [("convert", "calls-0000")]
    assert verdict["broken"] == []


def test_an_edge_from_many_shards_is_their_sum(run):
    taken = [item for item in run.taken("merge", "all") if not item.startswith("notes/")]
    set_ids(run, "merge", "all", **{"in": taken, "used": taken, "out": taken})
    broken = findings(write_audit(run.results, "quarantine"))
    assert set(broken) == {("merge", "all")}
    assert broken["merge", "all"].startswith(f"took {len(taken)} rows where tokenize gave ")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rejected": {"too_short": 7}}, "reasons add up to 7"),
        ({"ids": "one used less"}, "12 documents taken, 11 accounted for"),
    ],
)
def test_a_ledger_that_does_not_balance_is_named(run, change, what):
    if "ids" in change:
        used = run.given["filter", "web-0000"]
        set_ids(run, "filter", "web-0000", used=used[1:])
    else:
        run.change("filter", "web-0000", **change)
    assert what in findings(write_audit(run.results, "quarantine"))["filter", "web-0000"]


def test_a_missing_ledger_is_missing_and_its_edges_are_not_guessed(run):
    run.ledger_file("filter", "notes-0000").unlink()
    verdict = write_audit(run.results, "quarantine")
    assert not verdict["holds"]
    assert [(m["stage"], m["shard"]) for m in verdict["missing"]] == [("filter", "notes-0000")]
    assert verdict["broken"] == []
    stage = verdict["stages"]["filter"]
    assert (stage["planned"], stage["shards"]) == (5, 4)


@pytest.mark.parametrize("content", ["{", "[]", '{"stage": "filter"}'])
def test_an_unreadable_ledger_is_missing(run, content):
    run.ledger_file("filter", "notes-0000").write_text(content)
    verdict = write_audit(run.results, "quarantine")
    assert not verdict["holds"]
    assert "cannot be read" in verdict["missing"][0]["what"]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda file: file.unlink(), "filtered/web-0001.parquet is gone"),
        (lambda file: file.write_bytes(b"PAR1"), "filtered/web-0001.parquet has 4 bytes instead of "),
    ],
)
def test_an_output_that_is_not_there_in_its_size_is_named(run, damage, what):
    damage(run.results / "filtered/web-0001.parquet")
    assert what in findings(write_audit(run.results, "quarantine"))["filter", "web-0001"]


def test_a_damaged_table_does_not_keep_the_audit_from_its_verdict(run):
    taken = run.taken("chunk", "web-0000")
    set_ids(run, "chunk", "web-0000", **{"in": taken[1:], "used": taken[1:]})
    (run.results / "filtered/web-0000.parquet").write_bytes(b"no table")
    broken = findings(write_audit(run.results, "quarantine"))
    assert broken["chunk", "web-0000"] == "took 9 documents where filter gave 10"
    assert ("filter", "web-0000") in broken


def test_a_shard_that_its_parent_has_outlived_is_told(run):
    """A parent was made again with another outcome, and its child failed or was not reached."""
    given = run.given["filter", "web-0000"]
    late = run.clock + 100
    set_ids(run, "filter", "web-0000", out=given[1:])
    run.change("filter", "web-0000", started=late)
    broken = findings(write_audit(run.results, "quarantine"))
    assert broken["select", "web-0000"].endswith("(filter was made again after it)")


def test_results_of_inputs_that_are_gone_are_listed_and_not_summed(run):
    before = write_audit(run.results, "quarantine")["stages"]["analyze"]
    ledger = run.ledger_file("analyze", "calls-0000")
    (ledger.parent / "gone-0000.json").write_bytes(ledger.read_bytes())
    verdict = write_audit(run.results, "quarantine")
    assert verdict["unplanned"] == ["analyze/gone-0000"]
    assert verdict["holds"]
    assert verdict["stages"]["analyze"] == before


def faults_of(run):
    return [
        fault
        for stage, shards in run.plan.shards_of().items()
        for shard in shards
        for fault in run.read(stage, shard)["quarantined"]
    ]


def test_quarantine_fails_a_run_only_where_the_config_says_so(run):
    assert complaint(write_audit(run.results, "quarantine"), faults_of(run)) is None
    verdict = write_audit(run.results, "fail")
    assert verdict["holds"], "bad input is no loss"
    said = complaint(verdict, faults_of(run))
    assert "on_bad_input is fail" in said
    assert "BROKEN_JSON web-0000.jsonl:99" in said


def test_items_of_inputs_that_are_gone_are_none_to_complain_of(run):
    file = run.ledger_file("ingest", "web-0000")
    gone = json.loads(file.read_text("utf-8"))
    gone["quarantined"] = [{"item": "gone.jsonl:1", "class": "BROKEN_JSON", "reason": "", "retryable": False}]
    file.with_name("gone-0000.json").write_text(json.dumps(gone), "utf-8")
    write_audit(run.results, "fail")
    said = check_audit(run.results / AUDIT)
    assert "web-0000.jsonl:99" in said
    assert "gone.jsonl" not in said


def test_a_complaint_names_stage_and_shard_and_stays_short(run):
    verdict = write_audit(run.results, "quarantine")
    verdict["broken"] = [{"stage": "embed", "shard": f"s-{n:04d}", "what": "took 1"} for n in range(50)]
    said = complaint(verdict, [])
    assert "embed s-0000: took 1" in said
    assert said.endswith(f"… and {50 - NAMES_SHOWN} more")


def test_parts_of_the_corpus_may_be_absent(text_run):
    verdict = write_audit(text_run.results, "quarantine")
    assert verdict["holds"], verdict
    assert set(verdict["stages"]) == {"ingest", "screen", "dedup", "filter", "select", "cap", "tokenize", "merge"}
