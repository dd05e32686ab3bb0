"""What a second run does: nothing, or exactly what an edit, an addition or a damage asks for."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from malgeul.shards.buckets import Item, Limits, split
from workflow.conftest import DEMO, Workflow, tiny_config, tiny_inputs

REPORTED = {"audit_run", "write_report", "check_audit"}
"""Rules that run after any job."""


def test_a_second_run_has_nothing_to_do(tiny):
    finished = tiny.succeed()
    assert finished.nothing_to_do
    assert finished.jobs == {}


def test_asking_for_profiles_starts_no_finished_job_again(tiny):
    tiny.config["profile"] = True
    assert tiny.succeed().nothing_to_do


def test_one_more_recording_runs_its_shard_only(tiny):
    recordings = sorted((DEMO / "recordings").rglob("*.wav"), key=lambda file: file.stat().st_size)
    known = {file.read_bytes() for file in (tiny.folder / "input/calls").iterdir()}
    new = next(file for file in recordings if file.stat().st_size and file.read_bytes() not in known)
    shutil.copy(new, tiny.folder / "input/calls" / f"new{new.suffix}")
    before = tiny.ledgers("transcribe")
    planned = tiny.succeed("--dry-run").jobs
    assert "export_documents" not in planned
    assert "ingest_text" not in planned
    assert planned["filter_text"] == 1
    tiny.succeed("--until", "transcribe_audio")
    (shard,) = tiny.ledgers("transcribe")
    after = tiny.ledger("transcribe", shard)
    assert after["out"] == before[shard]["out"] + 1
    assert after["reused"] == before[shard]["used"], "transcripts of the other recordings were taken again"


def test_one_more_text_file_computes_its_shard_only(tiny):
    started = {
        (stage, shard): ledger["started"]
        for stage in ("filter", "select", "chunk", "embed", "tokenize")
        for shard, ledger in tiny.ledgers(stage).items()
        if shard != "notes-0000"
    }
    text = (
        "한강은 서울을 지나 서해로 흐른다. " * 3
        + "강가의 마을에는 오래된 나루터가 있었다. 사람들은 배를 기다렸다! 아이들은 물수제비를 떴다? "
    )
    text += (
        "어른들은 장을 보러 한강을 건너 서울로 갔고, 저녁이면 다시 돌아와 하루의 일을 나누었다. 강물은 말없이 흘렀다. "
        * 2
    )
    (tiny.folder / "input/notes/새 글.txt").write_text(text, encoding="utf-8")
    finished = tiny.succeed("--until", "embed_chunks", "tokenize_samples")
    for rule in ("convert_audio", "transcribe_audio", "ingest_transcripts", "export_documents"):
        assert rule not in finished.jobs
    assert finished.jobs["ingest_text"] == 1
    for (stage, shard), before in started.items():
        ledger = tiny.ledger(stage, shard)
        assert ledger["started"] == before or ledger["computed"] == 0, (stage, shard)


def test_one_more_row_runs_its_shard_only(tiny):
    tiny.config["documents"]["databases"][0]["rows_per_shard"] = 8
    tiny.succeed()
    embedded = [ledger for shard, ledger in tiny.ledgers("embed").items() if shard.startswith("law-")]
    assert len(embedded) == 4
    assert {ledger["computed"] for ledger in embedded} == {0}, "documents that are in other shards are the same"
    with sqlite3.connect(tiny.folder / "input/law.sqlite") as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(statute_articles)")]
        first = connection.execute("SELECT * FROM statute_articles ORDER BY id LIMIT 1").fetchone()
        values = dict(zip(columns, first, strict=True))
        values["id"] = connection.execute("SELECT max(id) + 1 FROM statute_articles").fetchone()[0]
        values["text"] = (
            "제99조(새 조문) 이 법은 새로 만든 조문이 한 묶음에만 들어간다는 것을 보이기 위하여 공포한 날부터 시행한다."
        )
        marks = ", ".join("?" * len(columns))
        connection.execute(f"INSERT INTO statute_articles VALUES ({marks})", [values[name] for name in columns])
    connection.close()
    finished = tiny.succeed()
    for rule in ("export_documents", "chunk_documents", "embed_chunks"):
        assert finished.jobs[rule] == 1, finished.jobs
    assert finished.jobs["write_back"] == finished.jobs["build_index"] == 1
    assert "filter_text" not in finished.jobs


def test_a_changed_threshold_reruns_the_filter_and_what_follows(tiny):
    tiny.config["filter"] = {"thresholds": {"too_short": 300}}
    planned = tiny.succeed("--dry-run").jobs
    for rule in ("filter_text", "select_samples", "chunk_documents", "embed_chunks"):
        assert planned[rule] == 2, "transcripts have another profile, and the database's documents none"
    for rule in ("ingest_text", "convert_audio", "transcribe_audio", "export_documents"):
        assert rule not in planned
    tiny.succeed("--until", "filter_text")
    measured = [
        row["threshold"]
        for file in (tiny.results / "rejected").glob("[!t]*.parquet")
        for row in pq.read_table(file).to_pylist()
        if row["reason"] == "too_short"
    ]
    assert set(measured) <= {300.0}


def test_keys_that_nothing_reads_start_no_job_that_makes_something(tiny):
    tiny.config["chunk"] = {"query_type": "broad", "overlap_tokens": 16}  # of other strategies
    tiny.config["embed"] = {"parity": 0.999}  # of precision fastest
    tiny.config["select"] = {"packing": "document"}  # of sequences
    planned = tiny.succeed("--dry-run").jobs
    assert planned.keys() - REPORTED == {"write_back"}, "a version notes all settings"


def test_packing_is_no_matter_of_the_cap(tiny):
    tiny.config["select"] = {"kind": "sequences"}
    tiny.succeed("--until", "cap_entities")
    tiny.config["select"]["packing"] = "document"
    planned = tiny.succeed("--dry-run").jobs
    assert planned["tokenize_samples"] == 3
    assert "cap_entities" not in planned


def test_an_edited_library_module_reruns_its_own_stage(tiny, own_workflow):
    tiny.root = own_workflow
    tiny.succeed("--until", "filter_text")
    module = own_workflow / "scripts/malgeul/text/duplicates.py"
    module.write_text(module.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    finished = tiny.succeed("--until", "filter_text")
    assert finished.jobs["find_duplicates"] == 1
    for rule in ("ingest_text", "convert_audio", "transcribe_audio", "export_documents"):
        assert rule not in finished.jobs
    assert all(ledger["computed"] == 0 for ledger in tiny.ledgers("filter").values() if ledger["reused"]), (
        "the same duplicates came out, so that no shard is filtered again"
    )


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_byte(file):
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [  # what is damaged together is not made of one another
        {
            "text/web-0000.parquet": Path.unlink,
            "transcripts/*/*.json": Path.unlink,
            "chunks/law-0000.parquet": flip_a_byte,
        },
        {"filtered/web-0000.parquet": cut_short, "embeddings/law-0000.parquet": flip_a_byte},
        {"tokenized/web-0000/train.arrow": flip_a_byte, "chunks/web-0000.parquet": flip_a_byte},
    ],
)
def test_damage_behind_snakemakes_back_is_named_and_made_again(tiny, undisturbed, damage):
    files = {sorted(tiny.results.glob(pattern))[0]: how for pattern, how in damage.items()}
    for file, how in files.items():
        how(file)
    told = [line for line in tiny.succeed().output.splitlines() if line.startswith("malgeul: damaged: ")]
    assert len(told) == len(files)
    for file in files:
        assert any(f": {file.relative_to(tiny.results)} " in line for line in told), told
    assert tiny.digests() == undisturbed.digests()
    assert tiny.succeed().nothing_to_do


def test_verify_names_what_only_hashing_finds(tiny, undisturbed):
    import os

    file = tiny.results / "chunks/web-0000.parquet"
    tiny.succeed()
    before = file.stat()
    flip_a_byte(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tiny.succeed().nothing_to_do, "size and times are the same: only hashing can tell"
    finished = tiny.run("verify")
    assert finished.code != 0
    assert "chunks/web-0000.parquet" in finished.output
    assert not file.exists()
    tiny.succeed()
    assert tiny.digests() == undisturbed.digests()
    assert tiny.run("verify").code == 0


def test_prune_removes_what_no_input_stands_for(tiny):
    shutil.rmtree(tiny.folder / "input/notes")
    tiny.config["text"]["sources"] = tiny.config["text"]["sources"][:1]
    before = tiny.ledger("merge", "all")["in"]
    tiny.succeed("--rerun-triggers", "mtime")
    assert tiny.ledger("merge", "all")["in"] < before, "no file of the others is newer, but one shard is missing"
    assert (tiny.results / "filtered/notes-0000.parquet").exists()
    finished = tiny.succeed("prune")
    assert "filter/notes-0000" in finished.output
    assert not (tiny.results / "filtered/notes-0000.parquet").exists()
    assert tiny.succeed().nothing_to_do


@pytest.mark.parametrize("write_back", ["copy", "in_place"])
def test_with_write_back_the_second_run_has_nothing_to_do(tiny, write_back):
    tiny.config["documents"]["write_back"] = write_back
    original = (tiny.folder / "input/law.sqlite").read_bytes()
    tiny.succeed()
    assert ((tiny.folder / "input/law.sqlite").read_bytes() == original) is (write_back == "copy")
    assert tiny.succeed().nothing_to_do


def test_a_version_that_was_removed_from_the_database_is_written_again(tiny):
    tiny.config["documents"]["write_back"] = "in_place"
    tiny.succeed()
    database = tiny.folder / "input/law.sqlite"
    counted = (
        "SELECT v.version_name, count(*) FROM embedding_versions v JOIN embeddings e ON e.version_id = v.id "
        "WHERE v.is_active"
    )
    before = ask(database, counted)
    ask(database, "DELETE FROM embedding_versions")
    finished = tiny.succeed()
    assert before[0][0] in finished.output
    assert set(finished.jobs) == {"write_back", "audit_run", "check_audit", "write_report"}
    assert ask(database, counted) == before
    assert tiny.succeed().nothing_to_do


def ask(database, statement):
    with sqlite3.connect(database) as connection:
        found = connection.execute(statement).fetchall()
    connection.close()
    return found


def test_the_config_can_be_any_part_of_the_whole(fresh):
    fresh.config = yaml.safe_load(
        """
        run: notes
        text: {sources: [{path: input/notes, format: txt}]}
        embed: {inputs: []}
        """
    )
    finished = fresh.succeed()
    assert set(finished.jobs) == {
        "ingest_text", "screen_text", "find_duplicates", "filter_text", "select_samples", "cap_entities",
        "tokenize_samples", "merge_dataset", "audit_run", "write_report", "check_audit",
    }  # fmt: skip


def test_changed_input_is_seen_without_snakemakes_memory_and_by_times_alone(tmp_path):
    """Files of the user's are no inputs of Snakemake's: the ledgers tell what their shards were made of."""
    tiny_inputs(tmp_path)
    fresh = Workflow(tmp_path, tiny_config())
    until = ("--until", "convert_audio", "ingest_text", "export_documents", "--rerun-triggers", "mtime")
    fresh.succeed(*until)
    shutil.rmtree(tmp_path / ".snakemake")
    assert not fresh.succeed(*until).jobs
    min((tmp_path / "input/calls").iterdir()).unlink()
    (tmp_path / "input/notes/새 글.txt").write_text("한강은 서울을 지나 서해로 흐른다.", encoding="utf-8")
    ask(tmp_path / "input/law.sqlite", "DELETE FROM statute_articles WHERE id = 1")
    finished = fresh.succeed(*until)
    assert finished.jobs == {"convert_audio": 1, "ingest_text": 1, "export_documents": 1}
    assert "not made of the input as it is now: convert calls-0000, ingest notes-0000, export law-0000" in (
        finished.output
    )
    calls = fresh.ledger("convert", "calls-0000")
    assert (calls["in"], calls["reused"]) == (3, 3), "no other recording is converted again"
    assert fresh.ledger("ingest", "notes-0000")["used"] == 7
    assert not fresh.succeed(*until).jobs


def test_a_recording_that_is_renamed_into_another_shard_is_not_transcribed_again(tmp_path):
    tiny_inputs(tmp_path)
    config = tiny_config() | {"text": {"sources": []}, "documents": {"databases": []}}
    config["recordings"] = {"paths": ["input/calls"], "shard": {"files": 2}}
    fresh = Workflow(tmp_path, config)
    until = ("--until", "transcribe_audio")
    fresh.succeed(*until)
    first = fresh.ledgers("transcribe")
    before = {file.name: json.loads(file.read_text("utf-8")) for file in fresh.results.glob("transcripts/*/*.json")}

    def shards():
        return {file.name: number for number, files in split(files_of(), Limits(2, 1 << 40)).items() for file in files}

    def files_of():
        return [Item(file.name, file.stat().st_size) for file in sorted((tmp_path / "input/calls").iterdir())]

    home = shards()
    moved = tmp_path / "input/calls" / min(home)
    for number in range(100):  # until the name is one of another shard, and the others stay where they are
        moved = moved.rename(moved.with_name(f"renamed {number}{moved.suffix}"))
        now = shards()
        if now[moved.name] != home[min(home)] and all(now[name] == home[name] for name in now if name in home):
            break
    finished = fresh.succeed(*until)
    assert finished.jobs["transcribe_audio"] == 2
    again = [ledger for shard, ledger in fresh.ledgers("transcribe").items() if ledger != first.get(shard)]
    assert [(ledger["computed"], ledger["reused"] > 0) for ledger in again] == [(0, True)] * 2
    after = {file.name: json.loads(file.read_text("utf-8")) for file in fresh.results.glob("transcripts/*/*.json")}
    assert {name: what["segments"] for name, what in after.items()} == {
        name: what["segments"] for name, what in before.items()
    }
