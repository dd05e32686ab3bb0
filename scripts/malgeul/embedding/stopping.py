"""SIGTERM lets a batch be finished: what is committed stays, and the next run goes on there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a program that ended because of SIGTERM."""


class Stopped(SystemExit):
    """The work was stopped between two batches; ``progress`` says how far it was."""

    def __init__(self, progress: str) -> None:
        super().__init__(TERMINATED)
        self.progress = progress

    def __str__(self) -> str:
        return self.progress


@contextmanager
def stop_asked() -> Iterator[threading.Event]:
    """Give an event that SIGTERM sets instead of ending the process while the block runs.

    Signals reach the main thread alone; in another one the event stays unset and SIGTERM does what it did.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    former = signal.signal(signal.SIGTERM, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, former)
