"""Batches that are halved when the device's memory runs out; what does not fit alone costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class DoesNotFit(Exception):
    """A single item does not fit into the device's memory."""


def halving(
    work: Callable[[Sequence[Item]], Sequence[Result]], batch: Sequence[Item], unit: str
) -> list[Result | DoesNotFit]:
    """Return what ``work`` makes of a batch, in order; DoesNotFit in the place of an item that does not fit alone."""
    import torch

    try:
        return list(work(batch))
    except torch.OutOfMemoryError:
        pass  # the traceback holds tensors: only outside the block is their memory free
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        return [DoesNotFit(f"a single {unit} does not fit into the device's memory")]
    half = len(batch) // 2
    log.warning("out of memory with %d %ss; going on with %d", len(batch), unit, half)
    return [*halving(work, batch[:half], unit), *halving(work, batch[half:], unit)]
