"""The index of a real run is searched from the command line, and a run is watched while it goes."""

import json
import subprocess
import sys

import pyarrow.parquet as pq

from workflow.conftest import LOOKS, ROOT


def script(workflow, name, *args, given=None):
    command = [sys.executable, str(ROOT / "scripts" / name), "--results", str(workflow.results), *args]
    return subprocess.run(command, cwd=workflow.folder, input=given, capture_output=True, text=True, timeout=120)


def documents_of(workflow):
    """Return the texts of all documents that were cut into chunks, by source and id."""
    texts = {}
    for folder in ("exported", "filtered"):
        for file in sorted((workflow.results / folder).glob("*.parquet")):
            for row in pq.read_table(file, columns=["id", "source", "text"]).to_pylist():
                texts[row["source"], row["id"]] = row["text"]
    return texts


def test_a_question_is_answered_with_places_in_the_documents(undisturbed):
    texts = documents_of(undisturbed)
    done = script(undisturbed, "search.py", "손해를 배상할 책임", "--json")
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)["hits"]
    assert len(hits) == 10
    for hit in hits:
        assert texts[hit["source"], hit["document"]][hit["start"] : hit["end"]] == hit["text"]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_a_chunk_as_a_question_finds_itself(undisturbed):
    (chunk,) = pq.read_table(sorted((undisturbed.results / "chunks").glob("law-*.parquet"))[0]).slice(0, 1).to_pylist()
    question = " ".join(chunk["text"].split())
    done = script(undisturbed, "search.py", "--json", given=f"{question}\n")
    first = json.loads(done.stdout)["hits"][0]
    assert first["score"] > 0.97


def test_lists_are_built_after_a_kill_and_are_the_same(tiny, kill_jobs):
    tiny.config["embed"] = {"inputs": ["documents"]}
    tiny.config["chunk"] = {"max_chars": 60, "overlap_chars": 0}  # many
    tiny.config["index"] = {"exact_below": 100}
    tiny.succeed()
    assert json.loads((tiny.results / "index/index.json").read_text())["kind"] == "ivf"
    assert json.loads(script(tiny, "search.py", "책임", "--json").stdout)["hits"]
    whole = {file.name: file.read_bytes() for file in (tiny.results / "index").iterdir()}
    for place in ("index", "ledger/index", "kept/index"):
        subprocess.run(["rm", "-r", str(tiny.results / place)], check=True)
    with kill_jobs(tiny.results, attempts=1, stages={"index"}, journal=1) as killer:
        tiny.succeed()
    assert killer.killed["index"], "the job was never seen with an entry in its journal"
    assert {file.name: file.read_bytes() for file in (tiny.results / "index").iterdir()} == whole


def test_a_run_is_seen_from_before_its_beginning_to_its_end(undisturbed):
    told = (undisturbed.folder / LOOKS).read_text(encoding="utf-8")
    looks = [json.loads(line) for line in told.splitlines()]
    states = list(dict.fromkeys(look["state"] for look in looks))
    assert states[0] == "absent"
    assert states[-1] == "finished"
    assert "running" in states
    assert any(stage["items_per_second"] for look in looks for stage in look["stages"])
    assert any(stage["shards"]["running"] for look in looks for stage in look["stages"])
    assert not looks[-1]["failures"]
    assert {stage["stage"] for stage in looks[-1]["stages"]} >= {"transcribe", "filter", "embed", "index"}
