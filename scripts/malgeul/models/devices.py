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
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

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

    @property
    def place(self) -> str:
        """What torch calls it; of the GPUs that a job holds this is the first, and the only one it works on."""
        return "cuda:0" if self.kind == "cuda" else self.kind

    def to_json(self) -> dict[str, Any]:
        """Return the form in which a ledger names it."""
        return asdict(self)


@contextmanager
def nvml() -> Iterator[Any | None]:
    """Give NVIDIA's management library while the block runs; None where it or a driver is missing."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


@cache
def list_gpus() -> tuple[Device, ...]:
    """Return the NVIDIA devices of the machine; none without a driver."""
    with nvml() as library:
        if library is None:
            return ()
        return tuple(_describe(library, index) for index in range(library.nvmlDeviceGetCount()))


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
        return len(_names(visible))
    return len(list_gpus())


def threads_with_gpu(cores: int, jobs: int) -> int:
    """Return the threads of each of ``jobs`` that hold a GPU at a time, of so many ``cores``: enough to feed it.

    Without a GPU the cores do its work, and the jobs share them all.
    """
    if count_gpus():
        return min(4, max(1, cores // 2))
    return max(1, cores // max(1, jobs))


def threads_beside_gpu(cores: int, jobs: int) -> int:
    """Return the threads of a job on the processor beside such a one: all that it leaves.

    Without a GPU they are as many as such a job has, and it takes its turn: where all cores are busy anyhow, nothing is
    won by keeping some for it.
    """
    threads = threads_with_gpu(cores, jobs)
    return max(1, cores - threads) if count_gpus() else threads


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

    A single device that the scheduler granted or the user chose (CUDA_VISIBLE_DEVICES) stands as it is. Of several, the
    first whose slot (an flock in a folder of the machine) is free is taken and made the only visible one, so that two
    jobs of one machine never share. Raises TimeoutError when all stay taken for ``patience`` seconds.
    """
    with claimed_devices(1, slots, gpus, patience) as (device,):
        yield device


@contextmanager
def claimed_devices(
    count: int,
    slots: Path | None = None,
    gpus: Callable[[], Sequence[Device]] = list_gpus,
    patience: float = PATIENCE,
) -> Iterator[tuple[Device, ...]]:
    """Hold so many devices as :func:`claimed_device` holds one; where there is no GPU, the CPU stands for each.

    All are taken or none, so that two jobs never wait for each other's. Raises RuntimeError when there are fewer GPUs
    (another node may have them all: it is worth a retry).
    """
    # As NVML and nvidia-smi number them; CUDA by itself puts the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = _visible(gpus(), chosen)
    if not devices:
        yield (cpu(),) * count
        return
    if len(devices) < count:
        raise RuntimeError(f"the job asks for {count} GPUs, of which this machine shows {len(devices)}")
    if chosen is not None and len(devices) == count:
        yield tuple(devices)
        return
    folder = slots or Path(tempfile.gettempdir()) / f"malgeul-gpu-slots-{os.getuid()}"
    taken = _free_slots(folder, devices, count, patience)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(device.uuid for device, _ in taken)
    try:
        yield tuple(device for device, _ in taken)
    finally:
        if chosen is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = chosen
        for _, lock in taken:
            lock.close()


def _visible(gpus: Sequence[Device], chosen: str | None) -> list[Device]:
    """Return the devices that CUDA_VISIBLE_DEVICES names, by number or uuid, in its order; all when it is not set."""
    if chosen is None:
        return list(gpus)
    named: list[Device] = []
    for name in _names(chosen) if gpus else ():
        known = [device for index, device in enumerate(gpus) if name in {str(index), device.uuid}]
        named += known or [Device("cuda", name, name)]  # a slice of a device (MIG) has a uuid of its own
    return named


def _names(chosen: str) -> list[str]:
    """Return the numbers and uuids of CUDA_VISIBLE_DEVICES; CUDA reads no further than what names no device."""
    return list(takewhile(lambda name: name not in {"", "-1"}, (part.strip() for part in chosen.split(","))))


def _free_slots(folder: Path, devices: Sequence[Device], count: int, patience: float) -> list[tuple[Device, IO[str]]]:
    deadline = time.monotonic() + patience
    while True:
        taken: list[tuple[Device, IO[str]]] = []
        for device in devices:
            lock = try_lock(folder / f"{device.uuid}.lock")
            if lock is not None:
                taken.append((device, lock))
            if len(taken) == count:
                return taken
        for _, lock in taken:
            lock.close()
        if time.monotonic() > deadline:
            free = "no GPU" if count == 1 else f"no {count} GPUs"
            raise TimeoutError(f"{free} became free in {patience:.0f} s; {folder} shows who holds them")
        time.sleep(0.5)


def free_memory(device: Device) -> int:
    """Return the free memory in bytes: of the GPU by NVML or torch, of the host (and its cgroup) for a CPU."""
    if device.kind == "cuda":
        free = _nvml_free(device.uuid)
        if free is None:
            free = _torch_free()
        if free is not None:
            return free
    return min(_available(), _cgroup_left())


def _nvml_free(uuid: str) -> int | None:
    """Return what NVML says; None where it cannot tell."""
    with nvml() as library:
        if library is None:
            return None
        try:
            return int(memory_info(library, library.nvmlDeviceGetHandleByUUID(uuid)).free)
        except library.NVMLError:
            return None


def memory_info(nvml: Any, handle: Any) -> Any:
    """Return what NVML says of a device's memory (bytes: total, free, used); raises its error where it cannot tell.

    Its second form knows what the driver holds back; an old driver has only the first, unified memory (GB10) neither.
    """
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetMemoryInfo(handle)


def _torch_free() -> int | None:
    """Return what CUDA says of the device in use; None where it cannot tell.

    Of memory that it shares with the host (GB10) it counts the cache of files as used, which gives way to what is asked
    for: a job that has read its models would find hardly any.
    """
    import torch

    try:
        if torch.cuda.get_device_properties().is_integrated:
            return None
        return int(torch.cuda.mem_get_info()[0])
    except RuntimeError:
        return None


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
        facts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:
        return 1 << 62
    used -= int(facts.get("active_file", 0)) + int(facts.get("inactive_file", 0))  # the cache of files gives way
    return 1 << 62 if limit == "max" else max(0, int(limit) - used)
