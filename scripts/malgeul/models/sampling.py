"""How busy a GPU is while a job holds it: NVML's samples in a file beside the benchmark, their sum in the ledger.

A file has a JSON object per line, every ``INTERVAL`` seconds: ``time`` (of the epoch), ``utilization`` and
``memory_utilization`` (percent of the time since NVML's last look in which a kernel ran, and in which memory was read
or written), ``memory`` (bytes in use on the device, by whomever), ``torch_memory`` (bytes that torch holds of it for
this job), ``power`` (watts), ``energy`` (joules since the driver was loaded), ``sm_clock`` and ``memory_clock`` (MHz),
``temperature`` (°C). What the device does not tell is null; the ledger says why.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from malgeul.models.devices import Device, memory_info
from malgeul.shards.job import Job

log = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds between two samples; NVML itself looks a few times a second."""

PATIENCE = 5.0
"""Seconds for the last sample: a driver that hangs does not hold up the job."""

Sample = dict[str, float | None]


@contextmanager
def sampled(job: Job, device: Device, interval: float = INTERVAL) -> Iterator[None]:
    """Sample ``device`` while the block runs, and state what was seen under ``gpu`` in the job's ledger.

    On a processor nothing is started.
    """
    file = job.samples_file
    seen: dict[str, Any] = {}
    try:
        with watched(device, file, interval) as seen:
            yield
    finally:
        if seen:
            job.ledger.measure(gpu={"file": str(file.relative_to(job.results)), **seen})


@contextmanager
def watched(device: Device, file: Path, interval: float = INTERVAL) -> Iterator[dict[str, Any]]:
    """Write samples of ``device`` to ``file`` while the block runs; their summary is in what is given, after it.

    It stays empty on a processor. Samples are no result: a fault of NVML or of the file ends the sampling, not the
    block, and is the reason why nothing was measured.
    """
    seen: dict[str, Any] = {}
    if device.kind != "cuda":
        yield seen
        return
    samples: list[Sample] = []
    reasons: dict[str, str] = {}
    done = threading.Event()
    task = (device, file, interval, done, samples, reasons)
    watch = threading.Thread(target=_watch, args=task, name="gpu", daemon=True)
    watch.start()
    try:
        yield seen
    finally:
        done.set()
        watch.join(PATIENCE)
        seen.update(summary(samples, reasons))


def _watch(
    device: Device,
    file: Path,
    interval: float,
    done: threading.Event,
    samples: list[Sample],
    reasons: dict[str, str],
) -> None:
    """Add samples to the file and to ``samples`` until ``done``, and one more then."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", buffering=1) as lines:
            import pynvml

            pynvml.nvmlInit()
            try:
                probes = _probes(pynvml, pynvml.nvmlDeviceGetHandleByUUID(device.uuid))
                last = False
                while not last:
                    last = done.is_set()
                    samples.append(_sample(probes, pynvml.NVMLError, reasons))
                    lines.write(json.dumps(samples[-1]) + "\n")
                    done.wait(interval)
            finally:
                pynvml.nvmlShutdown()
    except Exception as error:  # noqa: BLE001 - whatever ends the sampling must not end the job
        reasons["samples"] = f"{type(error).__name__}: {error}"
        log.warning("the GPU is not sampled any more: %s: %s", type(error).__name__, error)


def _probes(nvml: Any, handle: Any) -> dict[str, Callable[[], float | None]]:
    """Return what is asked for in every sample, by name."""
    return {
        "utilization": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "memory_utilization": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).memory,
        "memory": lambda: memory_info(nvml, handle).used,
        "torch_memory": _held_by_torch,
        "power": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "energy": lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,
        "sm_clock": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_clock": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "temperature": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
    }


def _sample(probes: dict[str, Callable[[], float | None]], refusal: type[Exception], reasons: dict[str, str]) -> Sample:
    sample: Sample = {"time": round(time.time(), 3)}
    for name, probe in probes.items():
        try:
            sample[name] = probe()
        except refusal as error:
            sample[name] = None
            reasons[name] = str(error)
    return sample


def _held_by_torch() -> int | None:
    """Return the bytes that torch holds of the device; None until the job has imported it and used the device."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        return int(cuda.memory_reserved()) if cuda.is_initialized() else None  # type: ignore[union-attr]
    except AttributeError:  # not imported, or half
        return None


def read_samples(file: Path) -> list[Sample]:
    """Return the samples of a file; half a line that a kill left, or no file, has none."""
    samples = []
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            samples.append(json.loads(line))
        except ValueError:
            continue
    return samples


def summary(samples: Sequence[Sample], reasons: dict[str, str]) -> dict[str, Any]:
    """Return what a job's samples say together; what no sample has is None, with its reason under ``not_measured``.

    ``idle_share`` is the share of samples in which no kernel ran. ``energy_joules`` is of the device's own counter, or
    where it has none, of the power over time.
    """
    values = {
        name: [value for sample in samples if (value := sample.get(name)) is not None]
        for name in (
            "time", "utilization", "memory_utilization", "memory", "torch_memory", "power", "sm_clock", "temperature"
        )
    }  # fmt: skip
    busy, times = values["utilization"], values["time"]
    energy, source = _energy(samples)
    facts = {
        "samples": len(samples),
        "seconds": round(times[-1] - times[0], 3) if times else 0.0,
        "utilization_mean": _mean(busy),
        "utilization_max": max(busy, default=None),
        "idle_share": round(busy.count(0) / len(busy), 4) if busy else None,
        "memory_utilization_mean": _mean(values["memory_utilization"]),
        "peak_memory_bytes": max(values["memory"], default=None),
        "peak_torch_bytes": max(values["torch_memory"], default=None),
        "power_watts_mean": _mean(values["power"]),
        "power_watts_max": max(values["power"], default=None),
        "energy_joules": energy,
        "energy_from": source,
        "sm_clock_mean": _mean(values["sm_clock"]),
        "sm_clock_max": max(values["sm_clock"], default=None),
        "temperature_max": max(values["temperature"], default=None),
    }
    unseen = [name for name in reasons if name == "samples" or not any(s.get(name) is not None for s in samples)]
    return {**facts, "not_measured": {name: reasons[name] for name in sorted(unseen)}}


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def _energy(samples: Sequence[Sample]) -> tuple[float | None, str | None]:
    """Return the joules between the first and the last sample, and whether the counter or the power told them."""
    counted = [joules for sample in samples if (joules := sample.get("energy")) is not None]
    if len(counted) > 1:
        return round(counted[-1] - counted[0], 1), "counter"
    drawn = [(s["time"] or 0.0, watts) for s in samples if (watts := s.get("power")) is not None]
    if len(drawn) > 1:
        joules = sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(drawn))
        return round(joules, 1), "power"
    return None, None
