"""What torch does during the first batches of a job, when the config asks for it (``profile: true``).

A profile is a folder of three files: ``trace.json.gz``, every operator and kernel on the axis of time (for
https://ui.perfetto.dev or chrome://tracing); ``operators.json``, what took longest, for programs; ``operators.txt``,
the same by the shapes of the inputs, for people.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from malgeul.shards.files import write_json, written_whole
from malgeul.shards.job import Job

log = logging.getLogger(__name__)

FIRST_BATCHES = 8
"""Batches that are recorded, after one to warm up."""

MOST_SECONDS = 3.0
"""Recording ends with the batch that is running then: torch takes 0.1 ms and 1 KB for each of some 100,000 events a
second."""

ROWS = 50
"""Operators that are listed."""

MARK = "malgeul: batch"
"""What a batch is called on the axis of time."""


class Profile:
    """A profile that nobody asked for: records nothing and costs nothing."""

    def batch(self) -> AbstractContextManager[None]:
        """Return what to compute a batch in."""
        return nullcontext()


NO_PROFILE = Profile()


@contextmanager
def profiled(job: Job, first_batches: int = FIRST_BATCHES) -> Iterator[Profile]:
    """Give the profile of a job; the job computes each of its batches in ``with profile.batch():``, on any threads.

    It is written when enough batches have run or the block ends, and stated under ``profile`` in the job's ledger:
    ``folder``, ``batches``, whether one ran before them (``warmed_up``), ``seconds`` that were recorded, and
    ``writing_seconds``, by which the job took longer. A profiler that fails costs the profile, not the job, and the
    ledger says why (``failed``).
    """
    if not job.hint("profile"):
        yield NO_PROFILE
        return
    recorder = _Recorder(job.profile_folder, first_batches)
    try:
        yield recorder
    except BaseException:
        recorder.drop()
        raise
    recorder.finish()
    folder = str(job.profile_folder.relative_to(job.results))
    job.ledger.measure(profile={"folder": folder, **recorder.facts})


class _Recorder(Profile):
    """Records from the start of the second batch to the end of the last wanted one, what lies between them included.

    The first batch pays for what is made once (kernels chosen, memory taken, the profiler itself): its recording is
    kept only where it stays the only one.
    """

    def __init__(self, folder: Path, first_batches: int) -> None:
        self.facts: dict[str, Any] = {}
        self._folder, self._wanted = folder, first_batches
        self._profiler: Any = None
        self._begun = 0
        self._started = 0.0

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Record a batch, unless enough are."""
        if self.facts:
            yield
            return
        self._begin()
        if self._profiler is None:
            yield
            return
        from torch.profiler import record_function

        with record_function(MARK):
            yield
        if self._begun > self._wanted or (self._begun > 1 and time.monotonic() - self._started > MOST_SECONDS):
            self.finish()

    def _begin(self) -> None:
        self._begun += 1
        if self._begun > 2:
            return
        self.drop()
        try:
            import torch
            from torch._C._profiler import _ExperimentalConfig
            from torch.profiler import ProfilerActivity, profile

            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            # A processor's cores compute the parts of a batch on threads of their own.
            everywhere = _ExperimentalConfig(profile_all_threads=True)
            profiler = profile(
                activities=kinds, record_shapes=True, profile_memory=True, experimental_config=everywhere
            )
            profiler.start()
            self._profiler, self._started = profiler, time.monotonic()
        except Exception as error:  # noqa: BLE001 - the profiler must not end the job
            self._fail(error)

    def drop(self) -> None:
        """End a recording that nobody wants."""
        profiler, self._profiler = self._profiler, None
        if profiler is not None:
            try:
                profiler.stop()
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(error)

    def finish(self) -> None:
        """End the recording and write it."""
        if self.facts:
            return
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            self.facts = {"batches": 0, "failed": "the job computed no batch"}
            return
        try:
            stopped = time.monotonic()
            profiler.stop()
            seconds = stopped - self._started
            self._write(profiler, seconds)
            self.facts = {
                "batches": max(1, self._begun - 1),
                "warmed_up": self._begun > 1,
                "seconds": round(seconds, 3),
                "writing_seconds": round(time.monotonic() - stopped, 3),
            }
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.facts = {"batches": 0, "failed": f"{type(error).__name__}: {error}"}
        log.warning("no profile is written: %s: %s", type(error).__name__, error)

    def _write(self, profiler: Any, seconds: float) -> None:
        averages = profiler.key_averages()
        on_gpu = any(average.self_device_time_total for average in averages)
        first = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        with written_whole(self._folder) as folder:
            folder.mkdir(parents=True)
            profiler.export_chrome_trace(str(folder / "trace.json.gz"))
            table = profiler.key_averages(group_by_input_shape=True).table(sort_by=first, row_limit=ROWS)
            (folder / "operators.txt").write_text(table, encoding="utf-8")
            write_json(folder / "operators.json", {"seconds": round(seconds, 6), **slowest(averages)})


def slowest(averages: Sequence[Any]) -> dict[str, Any]:
    """Return operators by time of their own, the slowest first, and kernels of the GPU likewise, ``ROWS`` of each.

    ``averages`` are those of torch's ``key_averages``. Times are seconds: ``cpu_seconds`` and ``gpu_seconds`` of an
    operator's own, without those that it calls; ``gpu_seconds`` is None where no kernel was seen. ``memory`` is bytes
    taken less bytes given back. Totals are over all operators, those that are not listed included.
    """
    from torch._C._autograd import DeviceType

    known = [a for a in averages if a.key != MARK]
    operators = [a for a in known if a.device_type == DeviceType.CPU]
    kernels = [a for a in known if a.device_type != DeviceType.CPU]
    on_gpu = any(a.self_device_time_total for a in known)
    rows = [
        {
            "name": a.key,
            "calls": a.count,
            "cpu_seconds": _seconds(a.self_cpu_time_total),
            "gpu_seconds": _seconds(a.self_device_time_total) if on_gpu else None,
            "memory": a.self_device_memory_usage if on_gpu else a.self_cpu_memory_usage,
        }
        for a in operators
    ]
    gpu_rows = [{"name": a.key, "calls": a.count, "gpu_seconds": _seconds(a.self_device_time_total)} for a in kernels]
    order = "gpu_seconds" if on_gpu else "cpu_seconds"
    return {
        "cpu_seconds": _seconds(sum(a.self_cpu_time_total for a in operators)),
        "gpu_seconds": _seconds(sum(a.self_device_time_total for a in operators)) if on_gpu else None,
        "operators": sorted(rows, key=lambda row: (-row[order], row["name"]))[:ROWS],
        "kernels": sorted(gpu_rows, key=lambda row: (-row["gpu_seconds"], row["name"]))[:ROWS],
    }


def _seconds(microseconds: float) -> float:
    return round(microseconds / 1e6, 7)
