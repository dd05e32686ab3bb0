"""Comparisons side by side: each side in a process of its own, the sides in turn, ratios taken pair by pair."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CORES = os.cpu_count() or 1
Result = dict[str, Any]


GPU_INTERVAL = 0.1
"""Seconds between two looks at a GPU."""


@contextmanager
def clock(result: Result) -> Iterator[None]:
    """Add wall and processor seconds (of children too) to a result, and what NVML says of a GPU meanwhile."""
    from malgeul.models.devices import claimed_device
    from malgeul.models.sampling import watched

    with tempfile.TemporaryDirectory() as name, claimed_device() as device:
        with watched(device, Path(name) / "samples", GPU_INTERVAL) as gpu:
            started, spent = time.perf_counter(), _cpu()
            yield
            result["seconds"] = time.perf_counter() - started
            result["cpu_seconds"] = _cpu() - spent
        if gpu:
            result["gpu"] = gpu


def _cpu() -> float:
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_mb() -> float:
    """Return the peak memory of this process and of the largest of its children that have ended, in MB."""
    return own_peak_mb() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def own_peak_mb() -> float:
    """Return the peak memory of this process alone, in MB, without what it was forked from (getrusage counts it)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def has_bfloat16() -> bool:
    """Return whether this processor has instructions for bfloat16; prints that its rows are left out where it has none.

    Emulated it takes ten times as long as float32, which says nothing of either side.
    """
    from malgeul.models.devices import cpu
    from malgeul.models.precision import candidate_precisions

    found = "bfloat16" in candidate_precisions(cpu())
    if not found:
        print("This processor has no instructions for bfloat16: its rows are left out.\n")
    return found


def run_side(script: str, side: str, work: Path, *, gpu: bool = False) -> Result:
    """Run one side of a comparison; ``script --side SIDE WORK`` prints its result as JSON on the last line.

    A machine's GPUs are hidden from sides that are compared on its processor.
    """
    command = [sys.executable, script, "--side", side, str(work)]
    shown = os.environ if gpu else {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=shown)
    result: Result = json.loads(finished.stdout.splitlines()[-1])
    print(f"{side}: {result['seconds']:.1f} s, {result['cpu_seconds']:.1f} s of processor", file=sys.stderr)
    return result


def ratios(ours: Sequence[Result], theirs: Sequence[Result]) -> str:
    """Return how many times the peer's time is ours: the median and the spread over the runs."""
    each = [b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
