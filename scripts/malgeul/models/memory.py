"""How much fits into a device's memory: sizes planned from what is free, batches that are halved when it runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from malgeul.models.devices import Device, free_memory
from malgeul.models.variables import memory_cap
from malgeul.shards.faults import is_out_of_memory

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

SAFETY = 0.8
"""Share of the free memory that batches are planned for."""

GROW_AFTER = 8
"""Batches that must fit before larger ones are tried again."""


class DoesNotFit(Exception):
    """A single item does not fit into the device's memory."""


class Batcher(Generic[Item, Result]):
    """Gives batches to ``work``; when memory runs out it halves them, and after some that fit it doubles them again."""

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], unit: str) -> None:
        self._work, self._unit = work, unit
        self._most: int | None = None  # how many are tried; None: all
        self._whole = 0
        self._fitted = 0

    def __call__(self, batch: Sequence[Item]) -> list[Result | DoesNotFit]:
        """Return what ``work`` makes of a batch, in order; DoesNotFit in place of an item that does not fit alone."""
        results: list[Result | DoesNotFit] = []
        while len(results) < len(batch):
            part = batch[len(results) :][: self._most]
            found = self._try(part)
            if found is not None:
                results += found
                self._grow()
            elif len(part) == 1:
                results.append(DoesNotFit(f"a single {self._unit} does not fit into the device's memory"))
        return results

    def _try(self, part: Sequence[Item]) -> list[Result] | None:
        import torch

        try:
            return list(self._work(part))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the block: the traceback holds tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._whole = max(self._whole, len(part))
        self._most, self._fitted = max(1, len(part) // 2), 0
        if len(part) > 1:
            log.warning("out of memory with %d %ss; going on with %d", len(part), self._unit, self._most)
        return None

    def _grow(self) -> None:
        self._fitted += 1
        if self._most is not None and self._fitted >= GROW_AFTER:
            self._most, self._fitted = self._most * 2, 0
            if self._most >= self._whole:
                self._most, self._whole = None, 0


def planned_size(device: Device, cost: int, most: int) -> int:
    """Return how many items of ``cost`` bytes fit into the device's free memory: at least one, at most ``most``.

    MAX_MEMORY_GB bounds what the job uses in all.
    """
    free = free_memory(device)
    used = _status("VmRSS")
    if device.kind == "cuda":
        import torch

        used = torch.cuda.memory_allocated()
        free += torch.cuda.memory_reserved() - used
    cap = memory_cap()
    if cap is not None:
        free = min(free, cap - used)
    return max(1, min(most, int(SAFETY * free / max(cost, 1))))


def plan_batches(lengths: Sequence[int], budget: int, *, padded: bool) -> list[list[int]]:
    """Return batches of positions of at most ``budget`` tokens, longest first.

    Where they are ``padded``, every member counts as long as the longest. The plan depends on the lengths alone; a
    sequence over the budget has a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    batches: list[list[int]] = []
    tokens = 0
    for k in order:
        size = lengths[batches[-1][0]] if batches and padded else lengths[k]
        if batches and tokens + size <= budget:
            batches[-1].append(k)
            tokens += size
        else:
            batches.append([k])
            tokens = lengths[k]
    return batches


def cost_of(device: Device, work: Callable[[], Result]) -> tuple[Result, int]:
    """Return what ``work`` returns, and how many bytes of the device's memory it took at its peak; 0 if unknown."""
    rise = MemoryRise(device)
    result = work()
    return result, (rise.gpu() if device.kind == "cuda" else rise.host()) or 0


class MemoryRise:
    """How far memory rises at its peak, in bytes, from the moment this is made."""

    def __init__(self, device: Device) -> None:
        self._resident = _status("VmRSS") if _forget_peak() else None
        self._allocated: int | None = None
        if device.kind == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
            self._allocated = torch.cuda.memory_allocated()

    def host(self) -> int | None:
        """Return the rise of this process; None where the system does not let its peak start anew."""
        return None if self._resident is None else max(0, _status("VmHWM") - self._resident)

    def gpu(self) -> int | None:
        """Return the rise of what torch holds of the GPU; None on a processor."""
        if self._allocated is None:
            return None
        import torch

        return torch.cuda.max_memory_allocated() - self._allocated


def _forget_peak() -> bool:
    """Have the peak of this process start anew (proc(5)); some containers do not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
