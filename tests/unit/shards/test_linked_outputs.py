"""Files that a job links from its inputs: hashed when they were touched since their maker hashed them, else not."""

import hashlib
import os

import pytest

from malgeul.shards import items
from malgeul.shards import job as jobs
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


def test_an_output_that_is_kept_for_all_shards_is_hashed_once(make_job, monkeypatch):
    read = []
    for module in (jobs, items):
        monkeypatch.setattr(module, "sha256_of", lambda path: (read.append(path), sha256_of(path))[1])

    def work(job):
        job.staged("vectors").write_bytes(b"vectors")
        job.keep_for_all("vectors")

    def job():
        return make_job("embed", "law-0000", {"vectors": "embeddings/law-0000.parquet"}, units=("chunk", "vector"))

    job().run(work)
    assert len(read) == 1
    ledger = read_ledger(job().outputs["ledger"])
    (proof,) = ledger.outputs.values()
    assert proof["sha256"] == hashlib.sha256(b"vectors").hexdigest()
    read.clear()
    job().run(work)
    assert read == [], "kept, it was hashed where it is kept"
    assert read_ledger(job().outputs["ledger"]).outputs["embeddings/law-0000.parquet"]["sha256"] == proof["sha256"]


def test_a_touched_file_is_hashed_and_damage_is_named(link, made):
    os.utime(made, ns=(1, 1))
    link()
    made.write_bytes(b"worm" * 100)
    with pytest.raises(DamagedInput, match=r"web-0000\.arrow is not what tokenize wrote"):
        link()
