"""A job commits whole outputs with a ledger, and takes a finished shard again when nothing it depends on changed (law
7).
"""

import json
import os
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from malgeul.shards.faults import Fault
from malgeul.shards.inputs import InputFile, Twin, look_at
from malgeul.shards.job import DamagedInput, Job, run_together
from malgeul.shards.ledger import Units

UNITS = Units("line", "line")


class Copier:
    """Copies lines that are not empty; counts how often it was called."""

    def __init__(self):
        self.calls = 0

    def __call__(self, job: Job) -> None:
        self.calls += 1
        folder = job.staged("folder")
        lines = job.input("source").read_text().splitlines()
        for number, line in enumerate(lines):
            if line:
                job.ledger.use(str(number))
                job.ledger.give(str(number))
                (folder / f"{number}.txt").write_text(line)
            else:
                job.ledger.reject(str(number), "empty")
        job.staged("copy").write_text("\n".join(lines))


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "source.txt"
    file.write_text("a\n\nb\n")
    return file


def make_job(tmp_path: Path, source: Path, **params) -> Job:
    results = tmp_path / "results" / "demo"
    return Job(
        inputs={"source": [source]},
        outputs={
            "copy": results / "copies" / "s-0000.txt",
            "folder": results / "folders" / "s-0000",
            "ledger": results / "ledger" / "copy" / "s-0000.json",
        },
        params=params,
        units=UNITS,
    )


def run(tmp_path, source, work, **params):
    job = make_job(tmp_path, source, **params)
    job.run(work)
    return json.loads(job.outputs["ledger"].read_text())


def test_the_ledger_counts_reasons_and_proves_the_outputs(tmp_path, source):
    ledger = run(tmp_path, source, Copier())
    assert (ledger["in"], ledger["out"], ledger["rejected"]) == (3, 2, {"empty": 1})
    assert sorted(ledger["outputs"]) == ["copies/s-0000.txt", "folders/s-0000/0.txt", "folders/s-0000/2.txt"]
    assert ledger["outputs"]["folders/s-0000/0.txt"]["size"] == 1
    assert len(ledger["outputs"]["copies/s-0000.txt"]["sha256"]) == 64


def test_an_unchanged_shard_is_taken_again_without_work(tmp_path, source):
    work = Copier()
    first = run(tmp_path, source, work, threshold=1)
    results = tmp_path / "results" / "demo"
    for name in first["outputs"]:
        (results / name).unlink()  # Snakemake removes outputs before it starts a job
    again = run(tmp_path, source, work, threshold=1)
    assert work.calls == 1
    assert (again["reused"], again["computed"]) == (3, 0)
    assert {n: o["sha256"] for n, o in again["outputs"].items()} == {
        n: o["sha256"] for n, o in first["outputs"].items()
    }


@pytest.mark.parametrize("change", ["content", "param"])
def test_what_a_result_depends_on_makes_it_again(tmp_path, source, change):
    work = Copier()
    run(tmp_path, source, work, threshold=1)
    if change == "content":
        source.write_text("c\n")
    ledger = run(tmp_path, source, work, threshold=2 if change == "param" else 1)
    assert work.calls == 2
    assert ledger["reused"] == 0


def test_a_package_that_is_installed_later_makes_the_shard_again(tmp_path, source, monkeypatch):
    work = Copier()
    versions = {"numpy": "2.0"}

    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("malgeul.shards.job.version", version)

    def ledger():
        job = replace(make_job(tmp_path, source), packages=("numpy",), optional=("praat-parselmouth",))
        job.run(work)
        return json.loads(job.outputs["ledger"].read_text())

    assert ledger()["versions"] == {"numpy": "2.0", "praat-parselmouth": "not installed"}
    assert ledger()["reused"] == 3
    versions["praat-parselmouth"] = "0.4.7"
    assert ledger()["versions"] == versions
    assert work.calls == 2


def test_a_hint_that_no_rule_gives_is_none(tmp_path, source):
    assert make_job(tmp_path, source).hint("profile") is None
    assert make_job(tmp_path, source, hints={"profile": True}).hint("profile") is True


def test_hints_do_not_decide(tmp_path, source):
    work = Copier()
    run(tmp_path, source, work, hints={"batch": 1})
    run(tmp_path, source, work, hints={"batch": 2})
    assert work.calls == 1


def test_how_a_job_goes_about_its_work_starts_it_and_leaves_its_items(tmp_path, source):
    def keys(**settings):
        job = make_job(tmp_path, source, settings=settings, handling=["batch"])
        return job.key, job.content_key, job.item_key("item")

    key, *finished = keys(model="a", batch=1)
    other_key, *others = keys(model="a", batch=2)
    assert key != other_key
    assert finished == others
    assert not set(finished) & set(keys(model="b", batch=1))


def test_of_an_input_what_its_function_returns_decides_and_all_of_it_where_that_is_none(tmp_path, source):
    def key(relevant):
        return replace(make_job(tmp_path, source), relevant={"source": relevant}).key

    def first_line(job):
        return job.input("source").read_text().split("\n")[0]

    before = key(first_line), key(lambda job: None)
    source.write_text("a\nanother line\n")
    after = key(first_line), key(lambda job: None)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]
    source.write_text("b\nanother line\n")
    assert key(first_line) != after[0]


def test_a_job_without_an_output_of_its_own_works_every_time(tmp_path, source):
    """It writes into a database, which may have been put back meanwhile."""
    calls = []
    for _ in range(2):
        job = make_job(tmp_path, source)
        replace(job, outputs={"ledger": job.outputs["ledger"]}).run(calls.append)
    assert len(calls) == 2


def test_shards_that_are_made_together_are_taken_again_together_or_not_at_all(tmp_path):
    calls, results = [], tmp_path / "results/demo"
    text = [results / f"text/s-{k}.txt" for k in range(2)]

    def run():
        outputs = [{"text": text[k], "ledger": results / f"ledger/ingest/s-{k}.json"} for k in range(2)]
        jobs = [Job({}, outputs[k], {}, UNITS) for k in range(2)]

        def work(jobs):
            calls.append(jobs)
            for job in jobs:
                job.staged("text").write_text(job.shard)

        run_together(jobs, work)

    run()
    run()
    assert len(calls) == 1
    text[1].write_text("damaged")  # in place: the kept link is the same file
    run()
    assert len(calls) == 2
    assert text[1].read_text() == "s-1"


def test_kept_outputs_that_were_altered_are_not_trusted(tmp_path, source):
    work = Copier()
    ledger = run(tmp_path, source, work)
    results = tmp_path / "results" / "demo"
    file = results / "copies" / "s-0000.txt"
    file.write_text("X")  # in place: the kept link is the same file
    run(tmp_path, source, work)
    assert work.calls == 2
    assert file.stat().st_size == ledger["outputs"]["copies/s-0000.txt"]["size"]


def test_a_kept_ledger_that_cannot_be_read_makes_the_shard_again(tmp_path, source):
    work = Copier()
    ledger = run(tmp_path, source, work)
    kept = tmp_path / "results/demo/kept/copy"
    (kept / "s-0000/ledger.json").write_text("{")
    (kept / ".s-0000.part").mkdir()
    (kept / ".s-0000.part/of a killed job").touch()
    again = run(tmp_path, source, work)
    assert (work.calls, again["outputs"].keys()) == (2, ledger["outputs"].keys())
    assert list((kept / "s-0000").rglob("*killed*")) == []
    run(tmp_path, source, work)
    assert work.calls == 2


@pytest.mark.parametrize(("kind", "calls"), [("OUT_OF_MEMORY", 2), ("TRUNCATED", 1)])
def test_an_item_that_another_machine_may_mend_is_tried_again_with_its_shard(tmp_path, source, kind, calls):
    done = []

    def work(job):
        done.append(job)
        job.ledger.quarantine("a", Fault(kind, "an item's fault"))
        job.staged("folder")
        job.staged("copy").touch()

    for _ in range(2):
        run(tmp_path, source, work)
    assert len(done) == calls


def test_a_failed_job_leaves_no_output_and_keeps_its_journal(tmp_path, source):
    job = make_job(tmp_path, source)

    def fail(job):
        job.staged("copy").write_text("half")
        job.journal.put("a", {"n": 1})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        job.run(fail)
    assert not job.outputs["copy"].exists()
    assert not job.outputs["ledger"].exists()
    resumed = make_job(tmp_path, source)
    seen = []

    def resume(job):
        seen.append("a" in job.journal)
        Copier()(job)

    resumed.run(resume)
    assert seen == [True]
    assert not resumed.journal_folder.exists()


def test_a_forgotten_output_is_an_error(tmp_path, source):
    with pytest.raises(RuntimeError, match=r"wrote nothing for .*copies"):
        make_job(tmp_path, source).run(lambda job: None)


def test_an_input_of_another_size_than_its_ledger_says_is_named(tmp_path, source):
    run(tmp_path, source, Copier())
    results = tmp_path / "results" / "demo"
    (results / "copies" / "s-0000.txt").write_text("much longer than before")
    consumer = Job(
        inputs={"source": [results / "copies" / "s-0000.txt"], "ledger": [results / "ledger" / "copy" / "s-0000.json"]},
        outputs={"ledger": results / "ledger" / "next" / "s-0000.json"},
        params={},
        units=UNITS,
    )
    with pytest.raises(DamagedInput, match=r"copies/s-0000\.txt has 23 bytes, copy wrote 4"):
        consumer.run(lambda job: None)


# The state of the user's files


def state_of(tmp_path, source, files, work=None, twins=(), state="as planned"):
    known = {"files": [asdict(file) for file in files], "twins": [asdict(twin) for twin in twins]}
    return run(tmp_path, source, work or Copier(), state=state, **known)["state"]


@pytest.fixture
def note(tmp_path):
    file = tmp_path / "봄.txt"
    file.write_text("봄")
    return look_at(str(file), file.name)


def test_the_ledger_has_the_state_by_which_the_plan_knew_the_files(tmp_path, source, note):
    assert run(tmp_path, source, Copier())["state"] is None
    assert state_of(tmp_path, source, [note]) == "as planned"
    pipe = InputFile("pipe", 0, str(tmp_path / "pipe"), "NOT_A_FILE: neither a file nor a folder")
    os.mkfifo(pipe.path)
    assert state_of(tmp_path, source, [note, pipe]) == "as planned"


def test_a_shard_that_is_taken_again_has_the_new_state(tmp_path, source, note):
    work = Copier()
    state_of(tmp_path, source, [note], work)
    os.utime(note.path, ns=(1, 1))
    assert state_of(tmp_path, source, [look_at(note.path, note.name)], work, state="touched") == "touched"
    assert work.calls == 2, "of files that no function of the rule says what of them decides, all of it does"


@pytest.mark.parametrize("role", ["file", "twin"])
def test_files_that_a_job_does_not_find_as_they_were_planned_are_of_no_state(tmp_path, source, note, role):
    """No plan has it, so that the next one makes the shard again, also when the file is back as it was."""
    files, twins = ([note], []) if role == "file" else ([], [Twin(note, "s-0000")])
    Path(note.path).unlink()
    assert state_of(tmp_path, source, files, twins=twins) == ""


def test_a_file_that_is_back_as_it_was_before_the_job_ends_leaves_no_state(tmp_path, source, note):
    os.utime(note.path, ns=(1, 1))

    def work(job):
        Copier()(job)
        os.utime(note.path, ns=(note.modified, note.modified))

    assert state_of(tmp_path, source, [note], work) == ""
    assert state_of(tmp_path, source, [note], Copier()) == "as planned"


def test_a_file_without_bytes_is_as_planned_though_nothing_is_read_of_it(tmp_path, source, note):
    Path(note.path).write_bytes(b"")
    empty = look_at(note.path, note.name)

    def work(job):
        Copier()(job)
        assert job.sources.digests_of([empty]) == ["EMPTY"]

    assert state_of(tmp_path, source, [empty], work) == "as planned"


def test_a_file_that_changes_during_the_job_leaves_no_state_and_nothing_to_take_again(tmp_path, source, note):
    work = Copier()

    def changing(job):
        work(job)
        os.utime(note.path, ns=(1, 1))

    assert state_of(tmp_path, source, [note], changing) == ""
    os.utime(note.path, ns=(note.modified, note.modified))
    assert state_of(tmp_path, source, [note], work) == "as planned"
    assert work.calls == 2
    assert state_of(tmp_path, source, [note], work) == "as planned"
    assert work.calls == 2


@pytest.mark.parametrize("kind", ["VANISHED", "UNREADABLE", "NOT_A_FILE", "CHANGED"])
def test_a_file_that_could_not_be_opened_for_a_moment_leaves_no_state(tmp_path, source, note, kind):
    """As when a file system is away: it looks as planned before the job and after it."""

    def met(job):
        Copier()(job)
        job.ledger.quarantine(note.shown, Fault(kind, "for a moment"))

    assert state_of(tmp_path, source, [note], met) == ""


def test_a_fault_that_the_plan_knew_is_no_change(tmp_path, source, note, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    locked = look_at(note.path, note.name)

    def met(job):
        Copier()(job)
        job.ledger.quarantine(locked.shown, locked.fault)
        job.ledger.quarantine("봄.txt:3", Fault("INVALID_UTF8", "byte 3"))

    assert state_of(tmp_path, source, [locked], met) == "as planned"
    monkeypatch.undo()
    assert look_at(note.path, note.name) != locked, "a plan that can read it has another state"
    assert state_of(tmp_path, source, [locked], met) == "as planned", "what only opening it tells is no change either"
