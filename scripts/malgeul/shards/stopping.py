"""SIGTERM lets a batch be finished: what is recorded stays, and the next run goes on there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a program that ended because of SIGTERM."""


class Stopped(SystemExit):
    """The work was stopped between two batches."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)

    def __str__(self) -> str:
        return "stopped by SIGTERM after a whole batch"


@contextmanager
def whole_batch() -> Iterator[None]:
    """Hold SIGTERM back while the block makes a batch and records it, and raise Stopped when it has.

    A second SIGTERM does at once what it did before, and so does every one outside such a block, where there is
    nothing to lose. Signals reach the main thread alone; in another one nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGTERM, former)

    former = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
    if asked:
        raise Stopped
