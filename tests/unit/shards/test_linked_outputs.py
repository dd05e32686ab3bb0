"""Files that a job links from its inputs: hashed when they were touched since their maker hashed them, else not."""

import os

import pytest

import malgeul.shards.job as jobs
from malgeul.shards.files import link_or_copy, sha256_of
from malgeul.shards.job import DamagedInput
from malgeul.shards.ledger import read_ledger


@pytest.fixture
def made(make_job, results):
    """A shard that wrote one file."""
    job = make_job("tokenize", "web-0000", {"rows": "tokenized/web-0000.arrow"}, units=("sample", "row"))
    job.run(lambda job: job.staged("rows").write_bytes(b"rows" * 100))
    return job.outputs["rows"]


@pytest.fixture
def link(make_job, results, made):
    """Link the file as a merge does; returns the ledger."""

    def run():
        inputs = {"tokenized": [made]}
        ledgers = ["tokenize/web-0000.json"]
        job = make_job("merge", "all", {"dataset": "dataset"}, units=("row", "row"), ledgers=ledgers, inputs=inputs)

        def work(job):
            job.check_contents()
            link_or_copy(made, job.staged("dataset") / "data.arrow")

        job.run(work)
        return read_ledger(job.outputs["ledger"])

    return run


def test_an_untouched_file_is_not_read(link, made, monkeypatch):
    read = []
    monkeypatch.setattr(jobs, "sha256_of", lambda path: (read.append(path), sha256_of(path))[1])
    ledger = link()
    assert read == []
    assert ledger.outputs["dataset/data.arrow"]["sha256"] == sha256_of(made)


def test_a_touched_file_is_hashed_and_damage_is_named(link, made):
    os.utime(made, ns=(1, 1))
    link()
    made.write_bytes(b"worm" * 100)
    with pytest.raises(DamagedInput, match=r"web-0000\.arrow is not what tokenize wrote"):
        link()
