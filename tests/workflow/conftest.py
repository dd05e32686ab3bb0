"""Runs the real workflow as a user would: a subprocess, a folder of its own, a tiny config."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "resources" / "demo"

DATA_FOLDERS = ("text", "screened", "filtered", "rejected", "samples", "chunks", "tokenized", "dataset", "exported")
"""Results that must be the same bytes whatever the cores, the order of jobs and the kills."""

# What a script starts with & has Ctrl-C ignored, and so has all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: heeded by none here either, but by what tests start
    signal.signal(signal.SIGHUP, lambda *_: None)

LONGEST = ("test_demo", "test_slurm", "test_making")
"""Files with a test that takes minutes by itself."""

LOOKS = "looks.jsonl"
"""What a monitor saw of the undisturbed run, in its folder."""


@dataclass
class Finished:
    """A Snakemake run that has ended."""

    code: int
    output: str

    @property
    def jobs(self) -> dict[str, int]:
        """Jobs by rule that this run started, from its job table."""
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal", self.output, re.DOTALL)
        if not table:
            return {}
        counts = dict(line.split() for line in table.group(1).splitlines())
        return {rule: int(count) for rule, count in counts.items() if rule != "all"}

    @property
    def nothing_to_do(self) -> bool:
        """Whether Snakemake found everything made."""
        return "Nothing to be done" in self.output


@dataclass
class Workflow:
    """A working directory with inputs and a config, in which the workflow runs."""

    folder: Path
    config: dict
    root: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.config["run"]

    def command(self, *args: str, cores: int | None = 2) -> list[str]:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, allow_unicode=True), encoding="utf-8")
        return [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(self.root / "Snakefile"),
            "--configfile",
            "config.yaml",
            *([] if cores is None else ["--cores", str(cores)]),
            *args,
        ]

    def start(self, *args: str, cores: int | None = 2, group: int | None = None) -> subprocess.Popen[str]:
        """Start a run, with ``group`` 0 as the leader of a group of its own, to which a terminal's signals go."""
        return subprocess.Popen(
            self.command(*args, cores=cores),
            cwd=self.folder,
            env={**_plain_environment(), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=group,
        )

    def run(self, *args: str, cores: int = 2, timeout: float = 800) -> Finished:
        process = self.start(*args, cores=cores)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"the run took over {timeout} s:\n{output[-3000:]}")
        return Finished(process.returncode, output)

    def succeed(self, *args: str, cores: int = 2) -> Finished:
        finished = self.run(*args, cores=cores)
        assert finished.code == 0, finished.output[-6000:]
        return finished

    def ledger(self, stage: str, shard: str) -> dict:
        return json.loads((self.results / "ledger" / stage / f"{shard}.json").read_text(encoding="utf-8"))

    def ledgers(self, stage: str) -> dict[str, dict]:
        files = sorted((self.results / "ledger" / stage).glob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}

    def worked_on(self) -> dict[str, int]:
        """Shards whose last job computed something, by stage and shard, with the number of items."""
        return {
            f"{file.parent.name}/{file.stem}": computed
            for file in sorted((self.results / "ledger").glob("*/*.json"))
            if (computed := json.loads(file.read_text(encoding="utf-8"))["computed"])
        }

    def digests(self) -> dict[str, str]:
        """Sha256 of every data file by its name relative to the results."""
        return {
            str(file.relative_to(self.results)): hashlib.sha256(file.read_bytes()).hexdigest()
            for folder in DATA_FOLDERS
            for file in sorted((self.results / folder).rglob("*"))
            if file.is_file() and file.name != ".snakemake_timestamp"
        }

    def digests_of(self, *inputs: str, chunks: bool = True) -> dict[str, str]:
        """The digests of the files of some inputs' shards: what other inputs there are changes none of them."""
        found = {
            name: digest
            for name, digest in self.digests().items()
            if name.split("/")[1].startswith(inputs) and (chunks or not name.startswith("chunks/"))
        }
        assert len(found) > len(inputs)
        return found

    def copy_to(self, folder: Path) -> Workflow:
        """Return this workflow with its inputs, results and Snakemake's memory in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Workflow(folder, json.loads(json.dumps(self.config)), self.root, dict(self.environment))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: begun at the end, it would go on while the other workers have nothing left."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def _plain_environment() -> dict[str, str]:
    """The environment without what a scheduler or a user's Snakemake settings would add."""
    foreign = ("SLURM_", "SBATCH_", "SRUN_", "SNAKEMAKE_", "CUDA_VISIBLE_DEVICES", "MALGEUL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def tiny_config() -> dict:
    """A config with one shard or two of everything, over inputs that tiny_inputs() makes."""
    return {
        "run": "tiny",
        "recordings": {"paths": ["input/calls"]},
        "text": {"sources": [{"path": "input/web", "format": "jsonl"}, {"path": "input/notes", "format": "txt"}]},
        "documents": {"databases": [{"path": "input/law.sqlite"}]},
        "merge": {"parquet": True},
    }


def tiny_inputs(folder: Path) -> None:
    """Copy a few of the demo's files to ``folder``/input."""
    calls, web, notes = (folder / "input" / name for name in ("calls", "web", "notes"))
    for place in (calls, web, notes):
        place.mkdir(parents=True)
    spoken = [json.loads(line) for line in (DEMO / "expected/recordings.jsonl").read_text("utf-8").splitlines()]
    good = [r for r in spoken if r["verdict"] == "ok" and not r.get("raw_path_nfd")]
    for recording in sorted(good, key=lambda r: r["duration_s"])[:4]:
        shutil.copy(DEMO / "recordings" / recording["path"], calls)
    source = sorted((DEMO / "text/web").glob("*.jsonl"))[0]
    lines = source.read_bytes().split(b"\n")[:24]
    (web / "web.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    for file in sorted((DEMO / "text/notes").rglob("*.txt"))[:6]:
        shutil.copy(file, notes)
    command = [sys.executable, str(DEMO / "make_database.py"), "--documents", "24"]
    command += ["--out", str(folder / "input/law.sqlite"), "--expected", str(folder / "expected.jsonl")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one worker of this session makes while the others wait; where it fails, each tries."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' own folders lie in it
    folder, made = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """The folder with the inputs of the tiny corpus. Not to be changed: copy it."""
    return made_once(tmp_path_factory, "tiny", tiny_inputs) / "input"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, inputs) -> Workflow:
    """The tiny corpus after one run that nothing disturbed, and LOOKS beside it. Not to be changed: copy it."""

    def make(folder: Path) -> None:
        shutil.copytree(inputs, folder / "input")
        workflow = Workflow(folder, tiny_config())
        with watched(workflow.results, folder / LOOKS):
            workflow.succeed(cores=4)

    return Workflow(made_once(tmp_path_factory, "undisturbed", make), tiny_config())


@contextmanager
def watched(results: Path, looks: Path) -> Iterator[None]:
    """Have a monitor look at a run from before its beginning to its end, and write each look as a line of JSON."""
    command = [sys.executable, str(ROOT / "scripts/monitor.py"), "--results", str(results), "--json"]
    with looks.open("w") as out:  # no pipe: a full one would stop the monitor
        monitor = subprocess.Popen([*command, "--interval", "0.5"], stdout=out)
    try:
        deadline = time.monotonic() + 60
        while not looks.stat().st_size and monitor.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield
        with suppress(subprocess.TimeoutExpired):  # the last look tells
            monitor.wait(timeout=60)
    finally:
        monitor.kill()
        monitor.wait()


@pytest.fixture
def tiny(undisturbed, tmp_path) -> Workflow:
    """A copy of the undisturbed run to do with as the test likes."""
    return undisturbed.copy_to(tmp_path / "tiny")


@pytest.fixture
def fresh(inputs, tmp_path) -> Workflow:
    """The tiny corpus without any results."""
    folder = tmp_path / "fresh"
    shutil.copytree(inputs, folder / "input")
    return Workflow(folder, tiny_config())


@pytest.fixture
def fresh_text(fresh) -> Workflow:
    """The tiny corpus of text alone, without any results; it becomes a dataset and no vectors."""
    fresh.config |= {"recordings": {"paths": []}, "documents": {"databases": []}, "embed": {"inputs": []}}
    return fresh


@pytest.fixture
def fresh_documents(fresh) -> Workflow:
    """The tiny corpus of documents alone, without any results."""
    fresh.config |= {"recordings": {"paths": []}, "text": {"sources": []}}
    return fresh


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Workflow:
    """The bundled demo as `make run` runs it, but in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    workflow = Workflow(folder, yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")))
    workflow.succeed()
    return workflow


class Killer:
    """Kills jobs with SIGKILL while they hold their shard's lock; a context manager beside a run."""

    def __init__(self, results: Path, *, attempts: int = 1, stages: set[str] | None = None, journal: int = 0) -> None:
        self.results, self.attempts, self.stages, self.journal = results, attempts, stages, journal
        self.killed: dict[str, list[int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hunt, daemon=True)

    def _hunt(self) -> None:
        while not self._stop.is_set():
            for stage in self.stages or "*":
                for lock in self.results.glob(f"journal/{stage}/*.lock"):
                    self._kill_holder(lock)
            time.sleep(0.002)

    def _kill_holder(self, lock: Path) -> None:
        victims = self.killed.setdefault(lock.parent.name, [])
        if len(victims) >= self.attempts:
            return
        try:
            process = json.loads(lock.read_text(encoding="utf-8"))["pid"]
        except (OSError, ValueError, KeyError):
            return
        if process in victims or not Path(f"/proc/{process}").exists():
            return
        entries = lock.with_suffix("") / "journal.jsonl"
        if self.journal and (not entries.exists() or entries.read_bytes().count(b"\n") < self.journal):
            return
        os.kill(process, signal.SIGKILL)
        victims.append(process)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def kill_jobs():
    """Give the class that kills jobs."""
    return Killer


@pytest.fixture
def own_workflow(tmp_path) -> Path:
    """A copy of the workflow's own files, to edit."""
    folder = tmp_path / "workflow"
    folder.mkdir()
    for name in ("Snakefile", "rules", "scripts", "config", "profiles", "envs", "resources"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "recordings"))
        else:
            shutil.copy(source, folder / name)
    return folder
