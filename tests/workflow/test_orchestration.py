"""GPU jobs one at a time, files added during a run, another working directory, broken conservation, scale."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from itertools import combinations

import pytest

from malgeul.shards.tables import read_rows
from workflow.conftest import DEMO, Workflow, made_once, tiny_config, tiny_inputs
from workflow.test_kill import job_processes, wait_for

GPU_STAGES = ("transcribe", "embed")


@pytest.fixture(scope="session")
def before_gpu_jobs(tmp_path_factory, inputs):
    """A workflow whose next jobs are a transcription and several embeddings. Not to be changed: copy it."""
    config = {
        **tiny_config(),
        "text": {"sources": []},
        "documents": {"databases": [{"path": "input/law.sqlite", "rows_per_shard": 12}]},
        "embed": {"inputs": ["documents"]},
    }

    def make(folder):
        shutil.copytree(inputs, folder / "input")
        Workflow(folder, config).succeed("--until", "convert_audio", "chunk_documents")

    return Workflow(made_once(tmp_path_factory, "before_gpu_jobs", make), config)


@pytest.fixture
def gpu_jobs(before_gpu_jobs, tmp_path):
    """GPU jobs that are all ready when the run begins."""
    return before_gpu_jobs.copy_to(tmp_path / "gpu_jobs")


UNTIL_GPU_JOBS = ("--until", "transcribe_audio", "embed_chunks")


def gpu_intervals(workflow):
    """Start and end of every GPU job, from its ledger."""
    return sorted(
        (ledger["started"], ledger["started"] + ledger["seconds"])
        for stage in GPU_STAGES
        for ledger in workflow.ledgers(stage).values()
    )


def overlaps(intervals):
    return [(a, b) for a, b in combinations(intervals, 2) if a[0] < b[1] and b[0] < a[1]]


@pytest.mark.parametrize(
    "options",
    [
        ["--resources", "mem_mb=20000"],  # takes the place of the profile's gpu: 1
        ["--workflow-profile", "none"],
    ],
)
def test_two_gpu_jobs_never_overlap_unless_asked_for(gpu_jobs, options):
    gpu_jobs.succeed(*options, *UNTIL_GPU_JOBS)
    assert {stage for stage in GPU_STAGES if gpu_jobs.ledgers(stage)} == set(GPU_STAGES)
    intervals = gpu_intervals(gpu_jobs)
    assert len(intervals) == 3
    assert overlaps(intervals) == []


def test_with_two_gpus_two_jobs_have_a_device_each(gpu_jobs):
    """Two slots on a machine that need not have a device: the claims differ while both are held."""
    gpu_jobs.succeed("--resources", "gpu=2", *UNTIL_GPU_JOBS)
    jobs = [
        (ledger["started"], ledger["started"] + ledger["seconds"], json.dumps(ledger["device"], sort_keys=True))
        for stage in GPU_STAGES
        for ledger in gpu_jobs.ledgers(stage).values()
    ]
    assert len(jobs) == 3
    assert all(device != "null" for *_, device in jobs)
    for first, second in combinations(jobs, 2):
        if first[0] < second[1] and second[0] < first[1] and '"gpu"' in first[2]:
            assert first[2] != second[2]


def test_a_file_added_during_a_run_does_not_disturb_it(fresh_text, undisturbed):
    fresh = fresh_text
    process = fresh.start()
    wait_for(lambda: job_processes(fresh.results))
    added = fresh.folder / "input/notes/added.txt"
    shutil.copy(sorted((fresh.folder / "input/notes").glob("*.txt"))[0], added)
    with added.open("a", encoding="utf-8") as file:
        file.write(" 덧붙인 글이다. 실행 중에 생긴 파일이다.")
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, output[-3000:]
    assert fresh.digests_of("web", "notes") == undisturbed.digests_of("web", "notes", chunks=False)
    assert fresh.succeed("--until", "ingest_text").jobs == {"ingest_text": 1}
    assert fresh.ledger("ingest", "notes-0000")["in"] == 1 + undisturbed.ledger("ingest", "notes-0000")["in"]


def test_names_that_snakemake_would_fill_in_or_cannot_write_are_only_names(tmp_path):
    tiny_inputs(tmp_path)
    fresh = Workflow(tmp_path, {**tiny_config(), "documents": {"databases": []}})
    names = ["<results>", "{shard}", "new\nline", os.fsdecode("통화".encode("euc-kr"))]
    for folder in (fresh.folder / "input/calls", fresh.folder / "input/notes"):
        for name, file in zip(names, sorted(folder.iterdir()), strict=False):
            file.rename(folder / f"{name}{file.suffix}")
    until = ("--until", "convert_audio", "ingest_text")
    first = fresh.succeed(*until)
    assert first.jobs["convert_audio"] == 1
    ledgers = [fresh.ledger("convert", "calls-0000"), fresh.ledger("ingest", "notes-0000")]
    assert [ledger["used"] for ledger in ledgers] == [ledger["in"] for ledger in ledgers]
    for file in fresh.results.rglob("*.json"):
        file.read_text("utf-8")  # raises on a raw byte of a name
    assert not fresh.succeed(*until).jobs
    with (fresh.folder / "input/notes/{shard}.txt").open("a", encoding="utf-8") as file:
        file.write(" 덧붙인 글이다.")
    assert fresh.succeed(*until).jobs == {"ingest_text": 1}


def test_braces_in_a_prompt_are_only_braces(fresh_documents):
    fresh_documents.config["embed"] = {"prompt": "{shard} {query}: "}
    assert fresh_documents.succeed("--dry-run").jobs["chunk_documents"] == 1


def test_another_working_directory_works(fresh_documents, undisturbed, tmp_path):
    fresh = fresh_documents
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(fresh.folder / "input", elsewhere / "input")
    finished = fresh.run("--directory", str(elsewhere))
    assert finished.code == 0, finished.output[-3000:]
    assert Workflow(elsewhere, fresh.config).digests_of("law") == undisturbed.digests_of("law")


def test_the_demo_is_found_from_any_directory(tmp_path):
    workflow = Workflow(tmp_path, {"run": "unused"})
    command = [part for part in workflow.command("--dry-run") if part not in {"--configfile", "config.yaml"}]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]


def test_a_broken_conservation_fails_the_run_with_the_report_written(fresh_text, own_workflow):
    fresh = fresh_text
    script = own_workflow / "scripts/select_samples.py"
    source = script.read_text(encoding="utf-8")
    assert source.count("job.ledger.use(") == 1
    script.write_text(source.replace("job.ledger.use(", "_lose_the_first(job)("), encoding="utf-8")
    script.write_text(
        script.read_text(encoding="utf-8").replace(
            "def select_samples(",
            "_lost = []\n\n\ndef _lose_the_first(job):\n"
            "    if not _lost:\n"
            "        _lost.append(1)\n        return lambda item: None\n"
            "    return job.ledger.use\n\n\ndef select_samples(",
        ),
        encoding="utf-8",
    )
    fresh.root = own_workflow
    finished = fresh.run()
    assert finished.code != 0
    audit = json.loads((fresh.results / "audit.json").read_text(encoding="utf-8"))
    assert audit["holds"] is False
    assert {(broken["stage"], broken["shard"]) for broken in audit["broken"]} >= {("select", "web-0000")}
    assert "select web-0000" in finished.output
    assert (fresh.results / "report.html").stat().st_size > 1000


def plant(workflow, bomb):
    """Have the filter's job of the notes run a statement before its work."""
    script = workflow / "scripts/filter_text.py"
    source = script.read_text(encoding="utf-8")
    head, tail = source.split("def filter_text(job: Job) -> None:\n", 1)
    docstring, rest = tail.split('"""\n', 1)
    bomb = f"    if job.shard == 'notes-0000':\n        {bomb}\n"
    script.write_text(f'{head}def filter_text(job: Job) -> None:\n{docstring}"""\n{bomb}{rest}', encoding="utf-8")


@pytest.mark.parametrize(("error", "attempts"), [("ValueError", 1), ("RuntimeError", 3)])
def test_a_permanent_error_is_worked_up_to_once_in_a_run(fresh_text, own_workflow, error, attempts):
    fresh = fresh_text
    fresh.config["text"]["sources"] = fresh.config["text"]["sources"][1:]
    tried = fresh.folder / "tried"
    plant(own_workflow, f"open({str(tried)!r}, 'a').write('x'); raise {error}('planted')")
    fresh.root = own_workflow
    for run in (1, 2):
        finished = fresh.run("--until", "filter_text", "--retries", "2")
        assert finished.code != 0
        assert finished.output.count("Trying to restart job") == 2, "Snakemake looks at no exit status"
        assert len(tried.read_text()) == run * attempts


def test_a_failed_shard_fails_the_run_with_the_report_written_and_the_others_done(fresh_text, own_workflow):
    fresh = fresh_text
    plant(own_workflow, "raise RuntimeError('planted')")
    fresh.root = own_workflow
    finished = fresh.run()
    assert finished.code != 0
    assert "planted" in finished.output, "the failed job's log is shown"
    assert (fresh.results / "filtered/web-0000.parquet").exists()
    audit = json.loads((fresh.results / "audit.json").read_text(encoding="utf-8"))
    assert audit["holds"] is False
    assert "notes-0000" in json.dumps(audit["missing"])
    assert "planted" in (fresh.results / "report.html").read_text(encoding="utf-8")


def test_bad_input_fails_the_run_where_it_is_asked_to(fresh):
    (fresh.folder / "input/calls/broken.m4a").write_bytes(b"")
    fresh.config |= {"on_bad_input": "fail", "text": {"sources": []}, "documents": {"databases": []}}
    fresh.config["embed"] = {"inputs": []}
    finished = fresh.run()
    assert finished.code != 0
    assert "broken.m4a" in finished.output
    assert json.loads((fresh.results / "audit.json").read_text(encoding="utf-8"))["holds"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recordngs": {}}, "did you mean 'recordings'?"),
        ({"recordings": {"paths": ["input/nowhere"]}}, "input/nowhere does not exist"),
        ({"text": {"sources": [{"path": "input/calls", "format": "jsonl"}]}}, "holds no file with one of the suffixes"),
        ({"filter": {"thresholds": {"to_short": 3}}}, "too_short"),
        ({"documents": {"databases": [{"path": "input/web/web.jsonl"}]}}, "web.jsonl"),
    ],
)
def test_a_mistake_is_said_before_any_job_starts(fresh, change, message):
    fresh.config.update(change)
    finished = fresh.run()
    assert finished.code != 0
    assert message in finished.output
    assert "Traceback" not in finished.output
    assert finished.jobs == {}
    assert not fresh.results.exists()


def test_a_quantized_copy_is_made_by_one_job_before_it_is_loaded(fresh):
    judge = {"model": "resources/models/embed-ko-demo", "quantization": "int8"}
    fresh.config["classify"] = {"first": judge, "second": judge}
    finished = fresh.succeed("--dry-run")
    assert finished.jobs["quantize_model"] == 1
    assert "Make the quantized copy" in finished.output


def test_twenty_thousand_recordings_and_two_thousand_texts_are_planned_in_few_jobs(tmp_path):
    """Jobs stay under 5,000 and the dry run under 20 s of processor time."""
    for k in range(20_000):
        folder = tmp_path / "calls" / f"{k // 1000:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"통화 {k:05d}.m4a").write_bytes(b"%08d" % k)
    (tmp_path / "web").mkdir()
    for k in range(2_000):
        (tmp_path / "web" / f"part-{k:04d}.jsonl").write_bytes(b'{"id": "%d", "text": "x"}\n' % k)
    config = {
        "run": "scale",
        "recordings": {"paths": ["calls"]},
        "text": {"sources": [{"path": "web", "format": "jsonl"}], "shard": {"files": 40, "megabytes": 256}},
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = Workflow(tmp_path, config).run("--dry-run", "--quiet", "rules", cores=20)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert finished.code == 0, finished.output[-2000:]
    jobs = sum(finished.jobs.values())
    assert 500 < jobs < 5_000
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


def test_every_file_of_the_demo_is_small():
    size = sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file() and "__pycache__" not in str(file))
    assert size <= 10_000_000


def test_scorers_and_boilerplate_work_where_the_config_asks_for_them(fresh_text):
    """Only then: no other run has a score stage or touches the lines of a document."""
    fresh = fresh_text
    notice = "이 글의 무단 전재를 금지합니다."
    for file in sorted((fresh.folder / "input/notes").glob("*.txt")):
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{notice}\n", encoding="utf-8")
    (fresh.folder / "mine.py").write_text("def load():\n    return lambda texts: [len(t) for t in texts]\n")
    fresh.config["filter"] = {
        "boilerplate": {"documents": 3, "remove": True},
        "scorers": {
            "korean": {"kind": "language", "minimum": 0.5},
            "length": {"kind": "own", "file": "mine.py", "maximum": 1500},
        },
    }
    finished = fresh.succeed()
    assert finished.jobs["score_text"] == 2
    kept = [row for file in sorted((fresh.results / "filtered").glob("*.parquet")) for row in read_rows(file)]
    rejected = [row for file in sorted((fresh.results / "rejected").glob("*.parquet")) for row in read_rows(file)]
    assert all(dict(row["scores"]).keys() == {"korean", "length"} for row in kept)
    assert all(dict(row["scores"])["length"] <= 1500 for row in kept)
    assert {row["reason"] for row in rejected if dict(row["scores"]).get("length", 0) > 1500} == {"length"}
    assert not any(notice in row["text"] for row in kept)
    [line] = [row for row in read_rows(fresh.results / "boilerplate.parquet") if row["text"] == notice]
    assert line["documents"] >= 3
    fresh.config["filter"]["scorers"]["length"]["maximum"] = 3000
    again = fresh.succeed()
    assert "score_text" not in again.jobs, "a limit does not change what was measured"


def test_files_that_are_deleted_while_the_run_waits_for_their_shards_are_quarantined_and_taken_when_they_are_back(
    tmp_path,
):
    tiny_inputs(tmp_path)
    config = {**tiny_config(), "documents": {"databases": []}}
    config["recordings"] = {"paths": ["input/calls"], "shard": {"files": 2}}
    fresh = Workflow(tmp_path, config)
    calls, notes = fresh.folder / "input/calls", fresh.folder / "input/notes"
    until = ("--until", "convert_audio", "ingest_text")
    process = fresh.start(*until, cores=1)
    wait_for(lambda: list((fresh.results / "journal/convert").glob("*.lock")))
    plan = json.loads((fresh.results / "plan.json").read_text("utf-8"))
    begun = {lock.stem for lock in (fresh.results / "journal/convert").glob("*.lock")}
    shard, what = next((shard, what) for shard, what in plan["recordings"].items() if shard not in begun)
    gone = [fresh.folder / what["files"][0]["path"], min(notes.glob("*.txt"))]
    kept = {file: (file.read_bytes(), file.stat()) for file in gone}
    for file in gone:
        file.unlink()
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, output[-3000:]
    for ledger in (fresh.ledger("convert", shard), fresh.ledger("ingest", "notes-0000")):
        assert [fault["class"] for fault in ledger["quarantined"]] == ["VANISHED"]
        assert ledger["used"] == ledger["in"] - 1
    for file, (content, stat) in kept.items():  # as when a file system is mounted again
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fresh.succeed(*until).jobs == {"convert_audio": 1, "ingest_text": 1}
    for ledger in (fresh.ledger("convert", shard), fresh.ledger("ingest", "notes-0000")):
        assert ledger["quarantined"] == []
    assert fresh.ledger("convert", shard)["reused"] == len(what["files"]) - 1
    assert not fresh.succeed(*until).jobs
    touched = min(calls.iterdir())
    os.utime(touched)
    assert fresh.succeed(*until).jobs == {"convert_audio": 1}, "its own shard's job starts"
    [its] = [
        shard
        for shard, what in plan["recordings"].items()
        if touched.name in {file["path"].rsplit("/")[-1] for file in what["files"]}
    ]
    assert fresh.ledger("convert", its)["computed"] == 0, "and takes again what it had"
