"""The bundled demo ends as it was planted: every recording and document accounted for, with class and reason."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
from making.measures import character_error_rate

from malgeul.config import read_config
from workflow.conftest import DEMO

pytestmark = pytest.mark.xdist_group("demo")  # one run of it takes minutes: one worker makes it


def expected(name):
    lines = (DEMO / "expected" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def rows(demo, folder):
    return [
        row
        for file in sorted((demo.results / folder).glob("*.parquet"))
        for row in pq.read_table(
            file, columns=["id", "source", *(["reason"] if folder == "rejected" else [])]
        ).to_pylist()
    ]


def test_the_audit_holds_over_every_edge(demo):
    audit = json.loads((demo.results / "audit.json").read_text(encoding="utf-8"))
    assert audit["holds"], audit["broken"]
    assert audit["broken"] == audit["missing"] == []
    assert set(audit["stages"]) == {
        "convert", "transcribe", "classify", "analyze", "ingest", "screen", "dedup", "filter", "select", "cap",
        "tokenize", "merge", "export", "chunk", "embed", "index", "write_back",
    }  # fmt: skip


def test_recordings_are_quarantined_and_duplicates_found_exactly_as_planted(demo):
    quarantined, rejected, partial = {}, Counter(), set()
    for ledger in demo.ledgers("convert").values():
        quarantined |= {fault["item"].rsplit("/", 1)[-1]: fault["class"] for fault in ledger["quarantined"]}
        rejected.update(ledger["rejected"])
        partial |= {note["item"].rsplit("/", 1)[-1] for note in ledger["notes"] if "missing_seconds" in note}
    planted = expected("recordings")
    name = lambda recording: recording["path"].rsplit("/", 1)[-1]  # noqa: E731
    assert quarantined == {name(r): r["class"] for r in planted if r["verdict"] == "quarantined"}
    assert rejected == {"duplicate": sum(r["verdict"] == "duplicate" for r in planted)}
    assert partial == {name(r) for r in planted if r["verdict"] == "partial"}


def test_every_good_recording_has_a_transcript_in_four_forms(demo):
    good = {r["id"] for r in expected("recordings") if r["verdict"] in {"ok", "partial"}}
    for suffix in ("json", "srt", "vtt", "txt"):
        assert {file.stem for file in (demo.results / "transcripts").rglob(f"*.{suffix}")} == good


def test_speakers_on_channels_of_their_own_are_transcribed_apart_and_silence_gives_no_text(demo):
    transcripts = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in (demo.results / "transcripts").rglob("*.json")
    }
    for recording in expected("recordings"):
        if recording["verdict"] not in {"ok", "partial"}:
            continue
        transcript = transcripts[recording["id"]]
        assert len(transcript["channels"]) == (2 if recording["separate_channels"] else 1), recording["path"]
        if recording["silence"]:
            assert (transcript["text"], transcript["segments"], transcript["no_speech"]) == ("", [], True)


def test_transcripts_say_what_was_spoken(demo):
    heard = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))["text"]
        for file in (demo.results / "transcripts").rglob("*.json")
    }
    speech = [r for r in expected("recordings") if r["verdict"] in {"ok", "partial"} and r["spoken"]]
    said = [" ".join(turn["text"] for turn in sorted(r["spoken"], key=lambda turn: turn["start"])) for r in speech]
    assert {r["language"] for r in speech} == {"ko"}
    assert character_error_rate(said, [heard[r["id"]] for r in speech]) <= 0.08


def test_the_bundled_models_are_what_the_demo_and_a_bare_config_use(demo):
    for config in (read_config({}), read_config(demo.config)):
        names = {config.transcribe.model, config.embed.model, config.tokenize.tokenizer}
        assert names == {f"resources/models/{name}-ko-demo" for name in ("whisper", "embed", "tokenizer")}


def test_documents_are_kept_rejected_and_quarantined_exactly_as_planted(demo):
    planted = expected("documents")
    kept = Counter((row["source"], row["id"]) for row in rows(demo, "filtered") if row["source"] != "transcripts")
    rejected = Counter(
        (row["source"], row["id"], row["reason"])
        for row in rows(demo, "rejected")
        if row["source"] != "transcripts" and row["reason"] != "DUPLICATE_ID"
    )
    assert kept == Counter((d["source"], d["id"]) for d in planted if d["verdict"] == "kept")
    assert rejected == Counter((d["source"], d["id"], d["reason"]) for d in planted if d["verdict"] == "rejected")
    quarantined = Counter(
        fault["class"]
        for stage in ("ingest", "filter")
        for shard, ledger in demo.ledgers(stage).items()
        if not shard.startswith("transcripts-")
        for fault in ledger["quarantined"]
    )
    assert quarantined == Counter(d["reason"] for d in planted if d["verdict"] == "quarantined")


def test_documents_of_the_database_are_exported_or_rejected_as_planted(demo):
    planted = expected("database")
    exported = {row["id"] for row in rows(demo, "exported")}
    assert exported == {f"{d['source_type']}/{d['id']}" for d in planted if d["verdict"] == "kept"}
    reasons = sum((Counter(ledger["rejected"]) for ledger in demo.ledgers("export").values()), Counter())
    assert reasons == Counter(d["reason"] for d in planted if d["verdict"] == "rejected")


def test_every_measured_rejection_has_its_value_and_threshold(demo):
    without = {"duplicate", "DUPLICATE_ID"}  # these are no measures
    for file in sorted((demo.results / "rejected").glob("*.parquet")):
        for row in pq.read_table(file, columns=["reason", "measured", "threshold"]).to_pylist():
            if row["reason"] not in without:
                assert row["measured"] is not None, row
                assert row["threshold"] is not None, row


def test_the_dataset_opens_and_no_document_is_in_two_splits(demo):
    from datasets import load_from_disk

    dataset = load_from_disk(str(demo.results / "dataset"))
    assert set(dataset) == {"train", "validation", "test"}
    documents = [set(dataset[split]["doc_id"]) for split in dataset]
    assert all(documents)
    assert sum(map(len, documents)) == len(set.union(*documents))
    for shard in sorted((demo.results / "tokenized").iterdir()):
        assert set(load_from_disk(str(shard))) == set(dataset)
    rows = sum(len(dataset[split]) for split in dataset)
    assert rows == demo.ledger("merge", "all")["out"]


def test_no_entity_has_more_samples_than_the_cap(demo):
    from datasets import load_from_disk

    cap = demo.ledger("cap", "all")["measured"]["max_entity_freq"]
    dataset = load_from_disk(str(demo.results / "dataset"))
    counts = Counter(target for split in dataset for target in dataset[split]["target"])
    assert max(counts.values()) == cap, "the demo has a name that reaches the cap"


def test_chunks_are_places_of_their_documents_and_every_chunk_has_a_vector(demo):
    texts = {}
    for folder in ("filtered", "exported"):
        for file in (demo.results / folder).glob("*.parquet"):
            for row in pq.read_table(file, columns=["id", "source", "text"]).to_pylist():
                texts[row["source"], row["id"]] = row["text"]
    chunks = [row for file in (demo.results / "chunks").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    vectors = {
        row
        for file in (demo.results / "embeddings").glob("*.parquet")
        for row in pq.read_table(file)["chunk_id"].to_pylist()
    }
    assert {chunk["chunk_id"] for chunk in chunks} == vectors
    assert {(chunk["source"], chunk["document_id"]) for chunk in chunks} == set(texts)
    for chunk in chunks:
        text = texts[chunk["source"], chunk["document_id"]]
        assert text[chunk["start"] : chunk["end"]] == chunk["text"]
        assert chunk["text"].strip()


def test_the_new_embedding_version_is_active_and_the_old_one_is_still_there(demo):
    import sqlite3

    (database,) = sorted((demo.results / "database").glob("*.sqlite"))
    with sqlite3.connect(database) as connection:
        versions = connection.execute("SELECT id, is_active FROM embedding_versions ORDER BY id").fetchall()
        assert [active for _, active in versions] == [0, 1]
        for version, _ in versions:
            query = "SELECT count(*) FROM {} WHERE {} = ?"
            chunks = connection.execute(query.format("text_chunks", "embedding_version_id"), [version]).fetchone()
            vectors = connection.execute(query.format("embeddings", "version_id"), [version]).fetchone()
            assert chunks == vectors
            assert chunks[0] > 0
    connection.close()


def test_the_report_names_what_was_quarantined(demo):
    report = (demo.results / "report.html").read_text(encoding="utf-8")
    for kind in {r["class"] for r in expected("recordings") if r["verdict"] == "quarantined"}:
        assert kind in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_snakemakes_own_report_works(demo, tmp_path):
    finished = demo.succeed("--report", str(tmp_path / "report.html"))
    assert finished.code == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_second_run_has_nothing_to_do(demo):
    again = demo.succeed()
    assert again.nothing_to_do
    assert "Warning" not in again.output


def test_filtered_and_rejected_together_are_all_documents(demo):
    for file in sorted((demo.results / "text").glob("*.parquet")):
        ids = Counter(pq.read_table(file, columns=["id"])["id"].to_pylist())
        split = Counter()
        for folder in ("filtered", "rejected"):
            split.update(pq.read_table(demo.results / folder / file.name, columns=["id"])["id"].to_pylist())
        assert split == ids
