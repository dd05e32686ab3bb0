"""The processes that share a training, one or several: sums over all, and out of memory as a matter of all.

Where one process runs out of memory the others must not wait for it in a collective operation for ever. So every
stretch of work without communication ends with a word of each whether it went well.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.distributed as dist

from malgeul.shards.faults import is_out_of_memory

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class OutOfMemory(Exception):
    """A process of the training ran out of memory; all of them know."""


class Ranks:
    """The processes of a training: how many there are and which of them this is."""

    def __init__(self) -> None:
        self.size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0

    @property
    def device(self) -> torch.device:
        """Where numbers must lie that processes tell each other."""
        return torch.device("cuda" if dist.is_initialized() and dist.get_backend() == "nccl" else "cpu")

    def total(self, number: int) -> int:
        """Return the sum of a number over the processes."""
        if self.size == 1:
            return number
        known = torch.tensor(number, device=self.device)
        dist.all_reduce(known)
        return int(known)

    def together(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns, which must not communicate; raises OutOfMemory when any process ran out."""
        result: Result | None = None
        failed = False
        try:
            result = work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        # Outside the block: the traceback holds tensors.
        if failed:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if self.total(int(failed)):
            raise OutOfMemory
        return result  # type: ignore[return-value]

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes, equally many of each, in their order."""
        if self.size == 1:
            return rows
        rows = rows.contiguous()
        found = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(found, rows)
        return torch.cat(found)

    def gather_uneven(self, own: torch.Tensor | None, total: int) -> torch.Tensor:
        """Return the rows of all processes in the order of the whole, of which each has every ``size``-th.

        Processes that come first have one row more than others at most; raises ValueError where there is no row at all.
        """
        if not total:
            raise ValueError("there is no row to measure on")
        if self.size == 1:
            assert own is not None
            return own
        width = torch.tensor(0 if own is None else own.shape[1], device=self.device)
        dist.all_reduce(width, dist.ReduceOp.MAX)
        most = -(-total // self.size)
        padded = torch.zeros(most, int(width), device=self.device)
        if own is not None:
            padded[: len(own)] = own.to(self.device)
        gathered = self.gather(padded).reshape(self.size, most, -1)
        return gathered.transpose(0, 1).reshape(self.size * most, -1)[:total].cpu()

    def add_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Replace the gradients of all processes by their sum."""
        if self.size == 1:
            return
        under_way = [dist.all_reduce(weight.grad, async_op=True) for weight in weights if weight.grad is not None]
        for one in under_way:
            one.wait()

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()
