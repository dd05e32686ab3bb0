"""A job: one shard of one stage, from its inputs to its ledger.

A rule's script hands its function to :func:`run_job`, which does what is the same for all of them: log, die with
Snakemake, hold the shard's lock, check that the inputs are what their ledgers say, take the finished shard again when
nothing it depends on has changed, and otherwise call the function, put the outputs in place whole, write the ledger,
drop the journal.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from malgeul.shards import LAYOUT
from malgeul.shards.faults import FAILED_FOR_GOOD, WORTH_A_RETRY, exit_status
from malgeul.shards.files import (
    StatKey,
    beside,
    digest_of,
    files_under,
    publish,
    remove,
    sha256_of,
    write_json,
)
from malgeul.shards.imports import keep_pandas_out
from malgeul.shards.items import FinishedFiles, FinishedItems, items_folder
from malgeul.shards.journal import Journal
from malgeul.shards.kept import Kept
from malgeul.shards.ledger import Ledger, Units, read_ledger
from malgeul.shards.locks import die_with_owner, shard_lock
from malgeul.shards.progress import Progress
from malgeul.shards.retries import failed_before, note_failure
from malgeul.shards.sources import Sources
from malgeul.shards.stopping import Stopped, stoppable

log = logging.getLogger(__name__)

LOCK_PATIENCE = 60.0
"""Seconds a job waits for a predecessor that is being killed."""

APART = frozenset({"ledger", "ancient", "model", "tokenizer"})
"""Inputs whose bytes are not hashed here: ledgers hold times, ``ancient`` ones have a parameter for a key, and what a
model holds is in the job's identity."""

APART_PARAMS = frozenset({"hints", "handling", "spelled", "state"})
"""Params that no result hangs on. Of a model that is ``spelled`` so, the job's identity says what it holds; of files
whose names, sizes and times are in a ``state``, the job says what of them decides. The ledger has the ``state`` too."""


class DamagedInput(RuntimeError):
    """An input is not what the ledger of the stage that wrote it says."""


@dataclass
class Job:
    """One shard of one stage, as the rule describes it.

    ``inputs`` and ``outputs`` hold the rule's named files. Inputs named ``ledger`` are ledgers of the stages before;
    the output named ``ledger`` is the job's own and tells by its path where the results are, which stage this is and
    which shard. ``params`` come from the config; those that must not decide about a rerun are under ``hints``, and
    ``handling`` names those of its ``settings`` that say how the job goes about its work, or that the identity of a
    model says better: changed, they start the job, which takes again what is finished. Of an input or a param whose
    name is in ``relevant`` only what that function returns decides, and of no single item (of a table for the whole
    run, the shard's own rows; of the user's files, their bytes); None stands for the whole of an input. ``rule`` names
    the folder in which Snakemake puts the job's benchmark.
    """

    inputs: dict[str, list[Path]]
    outputs: dict[str, Path]
    params: dict[str, Any]
    units: Units
    threads: int = 1
    packages: Sequence[str] = ()
    optional: Sequence[str] = ()
    identity: dict[str, Any] = field(default_factory=dict)
    relevant: dict[str, Callable[[Job], Any]] = field(default_factory=dict)
    rule: str = ""

    def __post_init__(self) -> None:
        ledger = self.outputs["ledger"]
        self.stage, self.shard = ledger.parent.name, ledger.stem
        self.results = ledger.parents[2]
        self.ledger = Ledger(self.stage, self.shard, self.units)
        self._staged: dict[Path, Path] = {}
        self._hashed: dict[StatKey, str] = {}

    # What the job reads

    def input(self, name: str) -> Path:
        """Return the single input ``name``."""
        (path,) = self.inputs[name]
        return path

    @cached_property
    def upstream(self) -> list[Ledger]:
        """The ledgers of the stages before, in the rule's order."""
        return [read_ledger(path) for path in self.inputs.get("ledger", [])]

    def hint(self, name: str) -> Any:
        """Return a parameter that must not decide about a rerun, or None where the rule gives none."""
        return self.params.get("hints", {}).get(name)

    def check_inputs(self) -> None:
        """Compare the sizes of all inputs with what their ledgers state; raises DamagedInput naming the file."""
        for ledger in self.upstream:
            for name, known in ledger.outputs.items():
                file = self.results / name
                size = file.stat().st_size if file.is_file() else None
                if size != known["size"]:
                    raise DamagedInput(
                        f"{file} has {size} bytes, {ledger.stage} wrote {known['size']}. Run again: the damage is "
                        "found at the start and that shard is made again."
                    )

    def check_contents(self) -> None:
        """Compare the sha256 of all inputs with what their ledgers state; raises DamagedInput naming the file.

        A file that was not touched since it was hashed (size, time and inode are those of the ledger) is not read.
        """
        for ledger in self.upstream:
            for name, known in ledger.outputs.items():
                file = self.results / name
                if StatKey.of(file) != _stat_key(known) and sha256_of(file) != known["sha256"]:
                    raise DamagedInput(f"{self.results / name} is not what {ledger.stage} wrote. Run again.")

    @cached_property
    def sources(self) -> Sources:
        """The user's files, where the rule names some."""
        return Sources.from_params(self.params, self.threads)

    # What it depends on

    @cached_property
    def versions(self) -> dict[str, str]:
        """Installed versions of the packages that decide the result; of optional ones also that they are absent."""
        return {name: version(name) for name in self.packages} | {name: _version(name) for name in self.optional}

    @cached_property
    def settings_key(self) -> str:
        """Digest of all that an item's result depends on besides the item: code, settings, versions, models."""
        apart = APART_PARAMS | self.relevant.keys()
        params = {name: value for name, value in self.params.items() if name not in apart}
        if handling := set(self.params.get("handling", ())):
            params["settings"] = {key: value for key, value in params["settings"].items() if key not in handling}
        return digest_of([self.stage, LAYOUT, params, self.versions, self.identity])

    @cached_property
    def input_digests(self) -> dict[str, str]:
        """Content of every input by name, and of the user's files: from the ledgers where there is one, else hashed."""
        ledgered: dict[Path, str] = {}
        below: dict[Path, list[Path]] = {}
        for ledger in self.upstream:
            for name, known in ledger.outputs.items():
                file = self.results / name
                ledgered[file] = known["sha256"]
                for place in (file, *file.parents):
                    below.setdefault(place, []).append(file)
        digests: dict[str, str] = {}
        for role in sorted({*self.inputs, *(self.relevant.keys() & self.params.keys())} - APART):
            part = self.relevant[role](self) if role in self.relevant else None
            if part is not None:
                digests[role] = digest_of(part)
                continue
            for number, path in enumerate(self.inputs[role]):  # files of different folders may have one name
                for file in below.get(path) or files_under(path):
                    name = f"{role}[{number}]:{file.relative_to(path.parent)}"
                    digests[name] = ledgered.get(file) or sha256_of(file)
        return digests

    @cached_property
    def content_key(self) -> str:
        """Digest of everything that decides what the shard's outputs hold."""
        return digest_of([self.settings_key, self.input_digests])

    @cached_property
    def key(self) -> str:
        """Digest of everything that decides whether a finished shard stands."""
        return digest_of([self.content_key, self.params.get("settings")])

    def item_key(self, *content: Any) -> str:
        """Return the key of an item's result: its content and everything else it depends on."""
        return digest_of([self.settings_key, *content])[:32]

    # What it writes

    def staged(self, name: str) -> Path:
        """Return where to write the output ``name``; it is put in place when the job succeeds.

        An output without a suffix is a folder: it is there, and empty. What must outlive a kill goes to the journal.
        """
        final = self.outputs[name]
        if final not in self._staged:
            place = beside(final)
            remove(place)
            (place if not final.suffix else place.parent).mkdir(parents=True, exist_ok=True)
            self._staged[final] = place
        return self._staged[final]

    @property
    def journal_folder(self) -> Path:
        """Where this shard's journal is while the job is unfinished."""
        return _journal_folder(self.outputs["ledger"])

    @property
    def samples_file(self) -> Path:
        """Where samples of the job's GPU are: beside its benchmark."""
        return self.results / "benchmarks" / self.rule / f"{self.shard}.gpu.jsonl"

    @property
    def profile_folder(self) -> Path:
        """Where a profile of the job is."""
        return self.results / "profile" / self.stage / self.shard

    @cached_property
    def journal(self) -> Journal:
        """The finished items of this shard."""
        return Journal(self.journal_folder)

    @cached_property
    def kept(self) -> Kept:
        """What is kept of this shard's last success."""
        return Kept(self.results / "kept" / self.stage / self.shard)

    @cached_property
    def finished_items(self) -> FinishedItems:
        """What any shard of this stage has finished, for items that are too dear to be computed in another again."""
        return FinishedItems(items_folder(self.results, self.stage))

    @cached_property
    def finished_files(self) -> FinishedFiles:
        """Outputs that shards of this stage have finished, for items that are too many for a file each."""
        return FinishedFiles(items_folder(self.results, self.stage))

    def progress(self, total: int | None, unit: str | None = None) -> Progress:
        """Return a progress display for ``total`` items."""
        return Progress(f"{self.stage} {self.shard}", total, unit or f"{self.units.parent}s", self.journal_folder)

    def keep_for_all(self, name: str) -> None:
        """Keep the output ``name``, which is whole where it is staged, among the files that the stage has finished."""
        staged = self.staged(name)
        self._hashed[StatKey.of(staged)] = self.finished_files.put(staged)

    # Its course

    def run(self, work: Callable[[Job], None]) -> None:
        """Make the shard's outputs and ledger, by taking them again or by ``work``."""
        run_together([self], lambda jobs: work(jobs[0]))

    def _take_again(self) -> None:
        assert self.kept.ledger is not None
        old = self.kept.ledger
        for name in self.outputs:
            if name != "ledger":
                self.staged(name)
        self.kept.restore(self.results, self._staged)
        self._hashed |= {StatKey.of(self.kept.folder / name): proof["sha256"] for name, proof in old.outputs.items()}
        self.ledger = old
        self.ledger.reused = old.taken.n
        log.info("%s %s: reused %d of %d %ss", self.stage, self.shard, old.taken.n, old.taken.n, self.units.parent)

    def _commit(self, started: float) -> None:
        outputs = [path for name, path in self.outputs.items() if name != "ledger"]
        missing = [path for path in outputs if path not in self._staged]
        if missing:
            raise RuntimeError(f"{self.stage} {self.shard} wrote nothing for {', '.join(map(str, missing))}")
        for final, place in self._staged.items():
            publish(place, final)
        ledger = self.ledger
        ledger.key, ledger.content_key = self.key, self.content_key
        ledger.versions, ledger.inputs = self.versions, self.input_digests
        ledger.state = self.params.get("state")
        if ledger.state is not None and not self.sources.were_as_planned(ledger.quarantined):
            ledger.state = ""
            log.warning("%s %s: files were not as planned; the next run makes it again", self.stage, self.shard)
        for above in self.upstream:
            self._hashed |= {_stat_key(proof): proof["sha256"] for proof in above.outputs.values()}
        ledger.outputs = {
            str(file.relative_to(self.results)): _proof(file, self._hashed)
            for path in outputs
            for file in files_under(path)
        }
        ledger.started, ledger.seconds = round(started, 3), round(time.time() - started, 3)
        write_json(self.outputs["ledger"], ledger.to_json())
        self.kept.keep(self.results, outputs, self.outputs["ledger"])
        if "journal" in self.__dict__:
            self.journal.close()
        remove(self.journal_folder)


def run_together(jobs: Sequence[Job], work: Callable[[Sequence[Job]], None]) -> None:
    """Make the outputs and ledgers of jobs that have the same inputs, by taking all of them again or by ``work``."""
    started = time.time()
    first = jobs[0]
    first.check_inputs()
    for job in jobs:
        job.sources = first.sources  # looked at before anything of them is read
        job.input_digests = first.input_digests  # a large input is hashed once
    # A job without an output of its own (writing into a database) has nothing to take again.
    if all(len(job.outputs) > 1 and job.kept.answers(job.key) for job in jobs):
        for job in jobs:
            job._take_again()
    else:
        work(jobs)
    for job in jobs:
        job._commit(started)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _stat_key(proof: Mapping[str, Any]) -> StatKey:
    return StatKey(proof["size"], proof["mtime_ns"], proof["inode"])


def _proof(file: Path, hashed: Mapping[StatKey, str]) -> dict[str, Any]:
    """Return what a ledger states of a file; one of those that were ``hashed`` before is not read again."""
    stat = StatKey.of(file)
    digest = hashed.get(stat) or sha256_of(file)
    return {"size": stat.size, "mtime_ns": stat.mtime_ns, "inode": stat.inode, "sha256": digest}


def set_thread_counts(threads: int) -> None:
    """Tell the numeric libraries how many threads were granted; must run before they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"


def run_job(
    snakemake: Any,
    work: Callable[[Job], None],
    units: Units,
    *,
    packages: Sequence[str] = (),
    optional: Sequence[str] = (),
    identity: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    relevant: dict[str, Callable[[Job], Any]] | None = None,
) -> None:
    """Run ``work`` for the job that Snakemake's ``script:`` directive describes.

    ``packages`` are the distributions whose versions decide the result, ``optional`` those whose absence decides too;
    ``identity`` returns what else it depends on (a model's revision), given the params; ``relevant`` says what of an
    input does (see Job). SIGTERM in a batch ends with status 143, an error with that of :func:`exit_status`; after a
    permanent one a retry of the same run ends at once.
    """

    def describe() -> list[Job]:
        params = dict(snakemake.params.items())
        outputs = {name: Path(value) for name, value in snakemake.output.items()}
        known = identity(params) if identity else {}
        described = (_inputs(snakemake), outputs, params, units, snakemake.threads)
        return [Job(*described, packages, optional, known, relevant or {}, snakemake.rule)]

    _execute(snakemake, describe, lambda jobs: work(jobs[0]))


def run_jobs(
    snakemake: Any,
    work: Callable[[Sequence[Job]], None],
    units: Units,
    *,
    packages: Sequence[str] = (),
    relevant: dict[str, Callable[[Job], Any]] | None = None,
) -> None:
    """Run ``work`` once for all the shards that a rule writes in one pass over its inputs.

    The outputs of shard k are named with the suffix ``_k`` in the rule (``text_0``, ``ledger_0``, ``text_1``, …).
    ``work`` gets a job per shard, in that order; each has its number as the param ``part``. They share the lock of the
    first.
    """

    def describe() -> list[Job]:
        params = dict(snakemake.params.items())
        outputs: dict[int, dict[str, Path]] = defaultdict(dict)
        for name, value in snakemake.output.items():
            role, _, part = name.rpartition("_")
            outputs[int(part)][role] = Path(value)
        described = (units, snakemake.threads, packages)
        return [
            Job(_inputs(snakemake), outputs[part], {**params, "part": part}, *described, relevant=relevant or {})
            for part in sorted(outputs)
        ]

    _execute(snakemake, describe, work)


def _execute(snakemake: Any, describe: Callable[[], list[Job]], work: Callable[[Sequence[Job]], None]) -> None:
    with stoppable(snakemake.rule):  # Snakemake's own modules are read below, before the log is known
        _execute_logged(snakemake, describe, work)


def _execute_logged(snakemake: Any, describe: Callable[[], list[Job]], work: Callable[[Sequence[Job]], None]) -> None:
    set_thread_counts(snakemake.threads)
    (ledger, *_) = (Path(value) for name, value in snakemake.output.items() if name.partition("_")[0] == "ledger")
    journal, shard = _journal_folder(ledger), f"{ledger.parent.name} {ledger.stem}"
    keep_pandas_out()
    with logged(snakemake.log[0] if snakemake.log else None, shard):
        die_with_owner()
        try:
            with shard_lock(journal.with_name(f"{journal.name}.lock"), LOCK_PATIENCE):
                if (known := failed_before(journal)) is not None:
                    log.error("%s is not tried again in this run, since it would fail as before: %s", shard, known)
                    sys.exit(FAILED_FOR_GOOD)
                run_together(describe(), work)
        except Stopped as stopped:
            log.warning("%s: %s", shard, stopped)
            raise
        except Exception as error:
            status = exit_status(error)
            if status == WORTH_A_RETRY:
                log.exception("%s failed; the fault may pass, so the job is worth a retry", shard)
            else:
                log.exception("%s failed", shard)
            if status == FAILED_FOR_GOOD:
                note_failure(journal, error)
            sys.exit(status)


def _journal_folder(ledger: Path) -> Path:
    return ledger.parents[2] / "journal" / ledger.parent.name / ledger.stem


def _inputs(snakemake: Any) -> dict[str, list[Path]]:
    return {name: _paths(value) for name, value in snakemake.input.items()}


def _paths(value: Any) -> list[Path]:
    return [Path(value)] if isinstance(value, str) else [Path(item) for item in value]


@contextmanager
def logged(file: str | None, job: str | None = None) -> Iterator[None]:
    """Send log records to the rule's log file, and warnings and worse to standard error too.

    What stops the ``job`` (without a name it has its log's folder and name) is told there.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    console = logging.StreamHandler()
    console.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [console]
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8", errors="surrogateescape"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    try:
        with stoppable(job or (f"{Path(file).parent.name} {Path(file).stem}" if file else "job")):
            yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
