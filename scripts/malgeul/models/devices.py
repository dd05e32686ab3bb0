"""Accelerators: how many there are, which one a job holds, how much memory is free."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from malgeul.shards.locks import try_lock

PATIENCE = 600.0
"""Seconds a job waits for a device that another run holds."""


@dataclass(frozen=True)
class Device:
    """What a job computes on: cuda or cpu, its name, the uuid of a GPU, its memory in bytes."""

    kind: str
    name: str
    uuid: str = ""
    memory: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form in which a ledger names it."""
        return asdict(self)


@cache
def list_gpus() -> tuple[Device, ...]:
    """Return the NVIDIA devices of the machine; none without a driver."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_describe(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()


def _describe(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:  # unified memory (GB10) is not supported
        memory = None
    return Device("cuda", str(nvml.nvmlDeviceGetName(handle)), str(nvml.nvmlDeviceGetUUID(handle)), memory)


def count_gpus() -> int:
    """Return the number of NVIDIA devices that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list_gpus())


def cpu() -> Device:
    """Return the processor as a device."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return Device("cpu", name)


@contextmanager
def claimed_device(
    slots: Path | None = None, gpus: Callable[[], Sequence[Device]] = list_gpus, patience: float = PATIENCE
) -> Iterator[Device]:
    """Hold a device while the block runs; yields the CPU where there is no GPU.

    Where the scheduler has granted one (CUDA_VISIBLE_DEVICES of a Slurm job) or the user has chosen, that stands. Else
    the first device whose slot (an flock in a folder of the machine) is free is taken and made the only visible one, so
    that two jobs of one machine never share. Raises TimeoutError when all stay taken for ``patience`` seconds.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None or not gpus():
        yield _granted(gpus())
        return
    folder = slots or Path(tempfile.gettempdir()) / f"malgeul-gpu-slots-{os.getuid()}"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for device in gpus():
            lock = try_lock(folder / f"{device.uuid}.lock")
            if lock is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = device.uuid
                try:
                    yield device
                finally:
                    del os.environ["CUDA_VISIBLE_DEVICES"]
                    lock.close()
                return
        time.sleep(0.5)
    raise TimeoutError(f"no GPU became free in {patience:.0f} s; {folder} shows who holds them")


def _granted(gpus: Sequence[Device]) -> Device:
    """Return the device that CUDA_VISIBLE_DEVICES names first, the CPU when it names none that exists."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    for index, device in enumerate(gpus):
        if first in {str(index), device.uuid}:
            return device
    return cpu()


def free_memory(device: Device) -> int:
    """Return the free memory in bytes: of the GPU by NVML or torch, of the host (and its cgroup) for a CPU."""
    if device.kind == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return min(_available(), _cgroup_left())


def _available() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _cgroup_left() -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
        used = int((folder / "memory.current").read_text(encoding="utf-8"))
    except OSError:
        return 1 << 62
    return 1 << 62 if limit == "max" else max(0, int(limit) - used)
