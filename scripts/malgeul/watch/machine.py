"""What the machine does at a moment: load, memory, GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from malgeul.models.devices import cpu, free_memory, nvml
from malgeul.models.host import memory


@dataclass(frozen=True)
class GpuLoad:
    """A GPU: how busy it is in percent, its memory in bytes; None where the driver does not say (unified memory)."""

    name: str
    busy: int | None
    used: int | None
    memory: int | None


@dataclass(frozen=True)
class MachineLoad:
    """``load`` is the mean number of runnable processes over a minute; memory is in bytes, within the cgroup."""

    cores: int
    load: float
    used: int
    memory: int
    gpus: tuple[GpuLoad, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def load_now() -> MachineLoad:
    """Return what the machine does now."""
    whole = memory()
    return MachineLoad(
        len(os.sched_getaffinity(0)),
        round(os.getloadavg()[0], 2),
        max(0, whole - free_memory(cpu())),
        whole,
        gpu_loads(),
    )


def gpu_loads() -> tuple[GpuLoad, ...]:
    """Return the load of every NVIDIA device; none without a driver."""
    with nvml() as library:
        if library is None:
            return ()
        try:
            return tuple(_gpu_load(library, index) for index in range(library.nvmlDeviceGetCount()))
        except library.NVMLError:
            return ()


def _gpu_load(nvml: Any, index: int) -> GpuLoad:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def asked(question: Callable[[Any], Any]) -> Any:
        try:
            return question(handle)
        except nvml.NVMLError:
            return None

    busy, held = asked(nvml.nvmlDeviceGetUtilizationRates), asked(nvml.nvmlDeviceGetMemoryInfo)
    return GpuLoad(
        str(nvml.nvmlDeviceGetName(handle)),
        None if busy is None else int(busy.gpu),
        None if held is None else int(held.used),
        None if held is None else int(held.total),
    )
