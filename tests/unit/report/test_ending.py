"""The last lines of a run tell what came of it; a failed run is audited and reported, and nothing hides its error."""

import errno
import json
import os

from malgeul.report import ending
from malgeul.report.audit import write_audit
from malgeul.report.ending import tell_failure, tell_success


def test_a_run_that_ended_well_says_what_came_in_out_and_where_to_read(run):
    write_audit(run.results, "quarantine")
    said = tell_success(run.results)
    assert "nothing was lost" in said
    assert "came in      9 documents, 31 records and 7 recordings" in said
    assert "quarantined  4 (BROKEN_JSON 3, NOT_AUDIO 1)" in said
    assert said.endswith(f"report       {run.results}/report.html")


def test_a_verdict_that_does_not_hold_is_not_called_well(run):
    """Snakemake's --touch ends well whatever the files say."""
    run.ledger_file("filter", "web-0000").unlink()
    write_audit(run.results, "quarantine")
    assert "nothing was lost" not in tell_success(run.results)


def test_a_run_without_audit_says_so_and_raises_nothing(tmp_path):
    assert "FileNotFoundError" in tell_success(tmp_path)
    assert "could not be made" in tell_failure(tmp_path, "quarantine")


def test_a_failed_run_has_audit_and_report_naming_the_shard_and_its_log(run, monkeypatch):
    monkeypatch.setattr(ending, "STARTED", 0.0)
    run.ledger_file("filter", "notes-0000").unlink()
    log = run.results / "logs/filter_text/notes-0000.log"
    log.write_text("RuntimeError: planted\n")
    said = tell_failure(run.results, "quarantine")
    assert "1 shard failed, 0 shards not reached" in said
    assert f"failed       filter notes-0000: {log}" in said
    assert json.loads((run.results / "audit.json").read_text(encoding="utf-8"))["holds"] is False
    assert "RuntimeError: planted" in (run.results / "report.html").read_text(encoding="utf-8")


def test_a_run_that_somebody_stopped_has_not_failed_and_says_how_it_goes_on(run, monkeypatch):
    monkeypatch.setattr(ending, "STARTED", 0.0)
    run.ledger_file("filter", "notes-0000").unlink()
    log = run.results / "logs/filter_text/notes-0000.log"
    log.write_text("12:00:00 WARNING malgeul.shards.stopping: filter notes-0000: stopped by SIGINT\n")
    said = tell_failure(run.results, "quarantine")
    assert "stopped while 1 job ran; the same command goes on there" in said
    assert "failed" not in said


def test_a_run_in_which_nothing_failed_says_how_it_goes_on(run, monkeypatch):
    """SIGTERM at Snakemake lets its jobs end and starts no others."""
    monkeypatch.setattr(ending, "STARTED", 1e11)  # no log is of this run
    run.ledger_file("filter", "notes-0000").unlink()
    said = tell_failure(run.results, "quarantine")
    assert "ended with 1 shard not reached; the same command goes on there" in said
    assert "failed" not in said


def test_a_run_that_was_ended_after_its_last_shard_says_how_it_goes_on(run):
    assert "ended when all shards were there; the same command makes what is left" in tell_failure(
        run.results, "quarantine"
    )


def test_ctrl_c_while_the_report_is_made_is_told_in_a_line(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("malgeul.report.audit.write_audit", interrupted)
    assert tell_failure(run.results, "quarantine").splitlines()[1:] == [
        "malgeul: stopped while the audit or the report was being made; the next run makes them"
    ]


def test_a_run_that_bad_input_fails_says_so_at_its_end(run):
    assert "fails because of 4 quarantined items (on_bad_input: fail)" in tell_failure(run.results, "fail")
    assert "on_bad_input" not in tell_failure(run.results, "quarantine")


def test_a_model_that_could_not_be_had_is_told_before_what_waited_for_it(run, monkeypatch):
    monkeypatch.setattr(ending, "STARTED", 1000.0)
    run.ledger_file("filter", "notes-0000").unlink()
    for file in run.results.rglob("*.log"):
        os.utime(file, (100, 100))
    logs = run.results / "logs/fetch_model"
    logs.mkdir()
    for name in ("half-0a", "whole-0b", "former-0c"):
        (logs / f"{name}.log").write_text(f"ERROR {name} lacks model.safetensors\n")
    os.utime(logs / "former-0c.log", (100, 100))
    (run.results / "models").mkdir(exist_ok=True)
    (run.results / "models/whole-0b.json").write_text("{}")
    said = tell_failure(run.results, "quarantine")
    assert "1 model could not be had" in said
    assert "0 shards failed, 1 shard not reached" in said
    assert f"failed       fetch_model half-0a: {logs / 'half-0a.log'}" in said
    report = (run.results / "report.html").read_text(encoding="utf-8")
    assert "half-0a lacks model.safetensors" in report
    assert "whole-0b lacks" not in report
    assert "former-0c lacks" not in report


def test_a_broken_audit_is_told_with_stage_and_shard(run):
    entries = run.read("index", "all")["ids"]
    run.change("index", "all", ids=entries | {"in": entries["rejected"]})
    said = tell_failure(run.results, "quarantine")
    assert "the audit does not hold" in said
    assert "index all: took 0 vectors where embed gave 72" in said


def test_an_error_while_reporting_is_told_and_not_raised(run, monkeypatch):
    from malgeul.report import page

    def fail(*_):
        raise RuntimeError("no report today")

    monkeypatch.setattr(page, "write_report", fail)
    run.ledger_file("filter", "notes-0000").unlink()
    said = tell_failure(run.results, "quarantine")
    assert "failed       filter notes-0000" in said, "what was known before is told all the same"
    assert "no report today" in said
    assert (run.results / "audit.json").exists()


def test_a_full_disk_is_told_in_a_line(run, monkeypatch):
    def refuse(path, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("malgeul.report.audit.write_json", refuse)
    told = tell_failure(run.results, "quarantine").splitlines()
    assert told[-1].startswith("malgeul: the audit or the report could not be made: OSError: [Errno 28]")
    assert told[-1].endswith("audit.json'")
