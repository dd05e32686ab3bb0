"""The rule embed_chunks: its load is measured, and a profile changes no vector."""

import json
import shutil

import pytest

import embed_chunks as script
from malgeul import ROOT
from malgeul.embedding.settings import EmbedSettings
from malgeul.shards.files import write_json
from malgeul.shards.ledger import Ledger, Units, read_ledger
from malgeul.shards.tables import CHUNKS, TableWriter, read_rows
from unit.embedding.conftest import WHOLE

MODEL = "resources/models/embed-ko-demo"


@pytest.fixture
def embed(make_job, results):
    """Run the job over forty chunks in several batches; return its vectors and its ledger."""
    write_json(
        results / "ledger/chunk/web-0000.json", Ledger("chunk", "web-0000", Units("document", "chunk")).to_json()
    )
    chunks = results / "chunks/web-0000.parquet"
    row = {"document_id": "d", "source": "web", "start": 0, "end": 9, "n_tokens": 12}
    row |= WHOLE
    chunks.parent.mkdir()
    with TableWriter(chunks, CHUNKS) as table:
        for k in range(40):
            table.write({**row, "chunk_id": f"d#{k}", "index": k, "text": f"서울에서 열린 {k}번째 회의"})

    def run(shard, **hints):
        job = make_job(
            "embed",
            shard,
            {"embeddings": f"embeddings/{shard}.parquet"},
            units=("chunk", "vector"),
            ledgers=["chunk/web-0000.json"],
            inputs={"chunks": [chunks]},
            settings=EmbedSettings(model=MODEL, batch_tokens=64).model_dump(exclude={"inputs"}),
            hints=hints,
        )
        job.run(script.embed_chunks)
        return [row["vector"] for row in read_rows(job.outputs["embeddings"])], read_ledger(job.outputs["ledger"])

    return run


def test_a_load_has_its_account(embed):
    _, ledger = embed("web-0000")
    load = ledger.measured["load"]
    assert load["bytes"] == (ROOT / MODEL / "model.safetensors").stat().st_size
    assert ledger.measured["load_seconds"] == pytest.approx(load["seconds"] + load["import_seconds"], abs=0.002)
    assert "profile" not in ledger.measured


def test_a_profile_changes_no_vector(embed, results):
    plain, _ = embed("web-0000")
    shutil.rmtree(results / "kept")  # or the other shard has nothing to compute
    profiled, ledger = embed("web-0001", profile=True)
    assert profiled == plain
    facts = ledger.measured["profile"]
    assert (facts["folder"], facts["batches"]) == ("profile/embed/web-0001", 7)
    table = json.loads((results / facts["folder"] / "operators.json").read_text("utf-8"))
    assert any("linear" in row["name"] or "addmm" in row["name"] for row in table["operators"][:10])
