"""Jobs made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from malgeul.shards.job import Job
from malgeul.shards.ledger import Units

settings.register_profile("malgeul", deadline=None)  # other tests run beside
settings.load_profile("malgeul")


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results" / "demo"


@pytest.fixture
def make_job(results):
    """Build a job of a stage; files of results/ are named relative to it, ledgers are those of the inputs' stages."""

    def make(stage, shard, outputs, *, units=("document", "document"), ledgers=(), inputs=None, threads=1, **params):
        return Job(
            inputs={**(inputs or {}), "ledger": [results / "ledger" / name for name in ledgers]},
            outputs={
                **{name: results / place for name, place in outputs.items()},
                "ledger": results / "ledger" / stage / f"{shard}.json",
            },
            params=params,
            units=Units(*units),
            threads=threads,
        )

    return make
