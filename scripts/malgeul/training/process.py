"""A process of a training, and the parent's side: as many as share the batches, none of which outlives the job.

The parent writes the work as JSON, starts the processes, hears the points of the curves line by line, and ends the
others when one fails. It needs neither torch nor transformers itself. The first process measures for the job: what
loading took, its GPU, a profile.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from malgeul.models.devices import Device
from malgeul.models.loading import measured_imports
from malgeul.models.sampling import sampled
from malgeul.shards.faults import FAILED, FAILED_FOR_GOOD, WORTH_A_RETRY, exit_status
from malgeul.shards.files import remove, write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units
from malgeul.shards.locks import die_with_parent

log = logging.getLogger(__name__)

RANK, SIZE = "RANK", "WORLD_SIZE"
"""As torch's own launcher and accelerate name them."""

RESULT = "result.json"
LINES_TOLD = 20
"""Last lines of a failed process that its error tells."""

WORDS = "| "
"""Before a point of the curves in what the first process writes."""


def run_processes(
    script: Path, work: Mapping[str, Any], processes: int, threads: int, told: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run ``script`` with the work in each of so many processes and return the result of the first.

    ``work["journal"]`` is a folder for what they tell each other; ``ledger``, ``rule`` and ``hints`` are the job's, and
    ``device`` is what the first computes on. The result has the figures for the ledger under ``measured``. Raises
    BrokenProcessPool when one dies or fails of something that may pass, ValueError with its last words when it fails of
    a permanent error, RuntimeError when it fails of any other.
    """
    journal = Path(work["journal"])
    journal.mkdir(parents=True, exist_ok=True)
    remove(journal / RESULT)
    meeting = journal / f"meeting-{os.getpid()}"
    remove(meeting)
    share = max(1, threads // processes)
    write_json(journal / "work.json", {**work, "meeting": str(meeting), "threads": share})
    children: list[subprocess.Popen[str]] = []
    words: list[deque[str]] = []
    readers: list[threading.Thread] = []
    ended = threading.Semaphore(0)
    try:
        for rank in range(processes):
            child = subprocess.Popen(
                [sys.executable, str(script), str(journal / "work.json")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
                env=_environment(rank, processes, share),
                preexec_fn=die_with_parent,
            )
            children.append(child)
            words.append(deque(maxlen=LINES_TOLD))
            reader = threading.Thread(target=_listen, args=(child, rank, words[-1], told, ended), daemon=True)
            reader.start()
            readers.append(reader)
        for _ in children:
            ended.acquire()
            if any(child.poll() for child in children):
                break
    finally:
        for child in children:
            child.kill()
            child.wait()
        for reader in readers:
            reader.join()
        remove(meeting)
    _complain(children, words)
    result: dict[str, Any] = json.loads((journal / RESULT).read_text(encoding="utf-8"))
    return result


def _environment(rank: int, processes: int, threads: int) -> dict[str, str]:
    threads_of = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
    own = {RANK: str(rank), SIZE: str(processes), "LOCAL_RANK": str(rank), "PYTHONUNBUFFERED": "1"}
    # Accelerate asks for an address even where the processes have met by a file.
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    return {**os.environ, **threads_of, **own, **address}


def _listen(
    child: subprocess.Popen[str],
    rank: int,
    last: deque[str],
    told: Callable[[dict[str, Any]], None],
    ended: threading.Semaphore,
) -> None:
    """Pass on what a process writes: points of the curves from the first, all else into the job's log."""
    assert child.stdout is not None
    try:
        for line in child.stdout:
            line = line.rstrip("\n")
            point = _point(line) if rank == 0 else None
            if point is not None:
                told(point)
                log.info("%s", line[len(WORDS) :])
            else:
                last.append(line)
                log.info("process %d: %s", rank, line)
        child.wait()
    finally:
        ended.release()


def _point(line: str) -> dict[str, Any] | None:
    """Return the point of the curves that a line tells, None for any other line that begins alike."""
    if not line.startswith(WORDS):
        return None
    try:
        point = json.loads(line[len(WORDS) :])
    except ValueError:
        return None
    return point if isinstance(point, dict) else None


def _complain(children: list[subprocess.Popen[str]], words: list[deque[str]]) -> None:
    """Raise what the first failure of a process was; those that were ended because of it do not count."""
    failed = [(rank, child.returncode) for rank, child in enumerate(children) if child.returncode]
    if not failed:
        return
    # A process that fails by itself says so; the others died of our own SIGKILL, or of having lost it.
    said = {FAILED: 1, FAILED_FOR_GOOD: 2, WORTH_A_RETRY: 2}
    rank, code = max(failed, key=lambda one: said.get(one[1], 0))
    tail = "\n  ".join(words[rank])
    if code == WORTH_A_RETRY or code < 0:
        raise BrokenProcessPool(f"process {rank} of the training ended with {code}; its last words:\n  {tail}")
    kind = ValueError if code == FAILED_FOR_GOOD else RuntimeError
    raise kind(f"process {rank} of the training failed; its last words:\n  {tail}")


def take_part(learn: Callable[[dict[str, Any], Job], Any]) -> None:
    """Be one of the processes: read the work from the file given, meet the others, and ``learn``.

    ``learn`` gets the work, and the job as a process knows it: the first has its hints and measures for all. What its
    ledger measures and what ``learn`` returns there (a dataclass) are the result. An error ends it with the
    status of :func:`exit_status`.
    """
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rank, size = int(os.environ[RANK]), int(os.environ[SIZE])
    device = Device(**work["device"])
    hints = work["hints"] if rank == 0 else {}
    ledger = Path(work["ledger"])
    job = Job({}, {"ledger": ledger}, {"hints": hints}, Units("row", "model"), work["threads"], rule=work["rule"])
    try:
        with sampled(job, device) if rank == 0 else nullcontext():
            measured_imports(job.ledger)
            import torch

            torch.set_num_threads(work["threads"])
            _meet(work, rank, size, device.kind == "cuda")
            result = learn(work, job)
        if rank == 0:
            write_json(Path(work["journal"]) / RESULT, {**asdict(result), "measured": job.ledger.measured})
        if size > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
    except Exception as error:
        logging.getLogger(__name__).exception("process %d failed", rank)
        sys.exit(exit_status(error))


def _meet(work: Mapping[str, Any], rank: int, size: int, cuda: bool) -> None:
    """Join the processes of a training, where there are several, each on a GPU of its own."""
    import torch

    if cuda:
        torch.cuda.set_device(rank)
    if size > 1:
        torch.distributed.init_process_group(
            "nccl" if cuda else "gloo",
            init_method=f"file://{Path(work['meeting']).resolve()}",
            rank=rank,
            world_size=size,
            timeout=timedelta(minutes=30),
        )
    else:  # a single process is no distributed training to accelerate
        for name in (RANK, SIZE, "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)


def tell(point: Mapping[str, Any]) -> None:
    """Write a point of the curves for the parent."""
    sys.stdout.write(f"{WORDS}{json.dumps(point)}\n")
    sys.stdout.flush()
