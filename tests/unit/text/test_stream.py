"""A large compressed file is read once and dealt out to all of its shards, each with a ledger of its own."""

import json

import zstandard

from ingest_stream import ingest_stream
from malgeul.shards.job import Job, run_together
from malgeul.shards.ledger import Units, read_ledger
from malgeul.shards.tables import read_rows
from unit.text.conftest import jsonl

SHARDS = [f"web-{k:04d}" for k in range(4)]


def run(tmp_path, data, work=ingest_stream):
    file = tmp_path / "big.jsonl.zst"
    file.write_bytes(data)
    results = tmp_path / "results" / "demo"
    source = {"name": "web", "format": "jsonl", "text_field": "text", "id_field": "id"}
    files = [{"name": "big.jsonl.zst", "size": len(data), "path": str(file)}]
    jobs = [
        Job(
            inputs={},
            outputs={
                "text": results / "text" / f"{shard}.parquet",
                "ledger": results / "ledger" / "ingest" / f"{shard}.json",
            },
            params={
                "source": source,
                "files": files,
                "settings": {"max_record_bytes": 1000},
                "shards": SHARDS,
                "part": part,
            },
            units=Units("record", "document"),
        )
        for part, shard in enumerate(SHARDS)
    ]
    run_together(jobs, work)
    return [read_ledger(job.outputs["ledger"]) for job in jobs], [list(read_rows(job.outputs["text"])) for job in jobs]


def test_records_are_dealt_in_turn_and_every_shard_accounts_for_its_own(tmp_path):
    rows = [{"id": str(k), "text": f"{k}번 글"} for k in range(41)]
    data = zstandard.ZstdCompressor().compress(jsonl(*rows) + b"{broken\n")
    ledgers, documents = run(tmp_path, data)
    for k in range(4):
        assert [row["id"] for row in documents[k]] == [str(n) for n in range(k, 41, 4)]
    assert [{f["item"]: f["class"] for f in ledger.quarantined} for ledger in ledgers] == [
        {},
        {"big.jsonl.zst:42": "BROKEN_JSON"},
        {},
        {},
    ]
    assert sum(ledger.taken.n for ledger in ledgers) == 42
    assert all(ledger.imbalance() is None for ledger in ledgers)
    assert len({ledger.key for ledger in ledgers}) == 4


def test_all_shards_are_taken_again_or_none(tmp_path):
    data = zstandard.ZstdCompressor().compress(jsonl(*({"id": str(k), "text": f"{k}번"} for k in range(20))))
    first, _ = run(tmp_path, data)
    again, _ = run(tmp_path, data)
    assert [ledger.reused for ledger in again] == [5, 5, 5, 5]
    kept = tmp_path / "results/demo/kept/ingest/web-0002/ledger.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"key": "another"}))
    made, _ = run(tmp_path, data)
    assert [ledger.reused for ledger in made] == [0, 0, 0, 0]
    assert [ledger.outputs.keys() for ledger in made] == [ledger.outputs.keys() for ledger in first]
    assert [[o["sha256"] for o in ledger.outputs.values()] for ledger in made] == [
        [o["sha256"] for o in ledger.outputs.values()] for ledger in first
    ]
