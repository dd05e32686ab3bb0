"""A job commits whole outputs with a ledger, and takes a finished shard again when nothing it depends on changed (law
7).
"""

import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from malgeul.shards.job import DamagedInput, Job
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


def test_kept_outputs_that_were_altered_are_not_trusted(tmp_path, source):
    work = Copier()
    ledger = run(tmp_path, source, work)
    results = tmp_path / "results" / "demo"
    file = results / "copies" / "s-0000.txt"
    file.write_text("X")  # in place: the kept link is the same file
    run(tmp_path, source, work)
    assert work.calls == 2
    assert file.stat().st_size == ledger["outputs"]["copies/s-0000.txt"]["size"]


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
