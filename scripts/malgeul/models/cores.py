"""A processor's cores shared out among the parts of a batch, which are computed side by side.

An operator that all cores compute together ends with the slowest of them, and a batch has thousands of operators; parts
with cores of their own wait for one another once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


class Cores:
    """So many cores, one thread on each; made by the thread that hands out the work."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "cores")
        torch.set_num_threads(threads)

    def compute(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Return what ``work`` makes of every part, in order; all have ended when it returns or raises.

        Each is computed by an equal share of the cores, by one where there are more parts than cores. Cores that are
        over stay idle: torch and MKL know one number for all threads, and with unequal ones the last digits of a result
        would hang on which thread came first. What torch keeps for a thread, such as inference mode, ``work`` turns on
        itself.
        """
        if len(parts) <= 1 or self.threads == 1:
            return [work(part) for part in parts]
        share = max(1, self.threads // len(parts))

        def on_share(part: Part) -> Result:
            torch.set_num_threads(share)  # of this thread, of new ones, and of what MKL does in any
            return work(part)

        try:
            running = deque(self._pool.submit(on_share, part) for part in parts)
            wait(running)  # what runs on would take the memory that a smaller batch is tried with
            # One that is kept here would hold its error, whose traceback holds this: no tensor in it would be freed.
            return [running.popleft().result() for _ in parts]
        finally:
            torch.set_num_threads(self.threads)
