"""Who asks a run to stop gets a short answer: what is recorded stays, and the next run goes on there.

SIGTERM lets a batch be finished. Ctrl-C (SIGINT) and a closed terminal (SIGHUP) do not wait, and neither ends in a
traceback.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

log = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a program that ended because of SIGTERM."""


_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a process to stop."""

_SAID = re.compile(r": stopped by (SIG[A-Z]+)\b")


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


@contextmanager
def stoppable(what: str) -> Iterator[None]:
    """Have a signal that asks to stop while the block runs end this process at once, after a word in the log.

    It dies of that signal, as it would without Python: threads and decoders under way are waited for by no clean-up,
    and an exception that native code or a finalizer swallows is none. What it leaves is what a kill leaves.
    """

    def end(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # it came while another word was being written
            log.warning("%s: stopped by %s", what, signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    formers = {number: signal.getsignal(number) for number in _ASKS}
    taken = {number: former for number, former in formers.items() if former is not signal.SIG_IGN}  # as nohup has it
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, former in taken.items():
            signal.signal(number, former)


def end_at_interrupt() -> None:
    """Have Ctrl-C end a command at once and without a traceback, also in the middle of a long statement of a database.

    For commands that leave nothing half done when they are killed. Where Ctrl-C is ignored, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped_by(tail: str) -> str | None:
    """Return the name of the signal that a job's log ends with, None where something else ended it."""
    said = _SAID.search(tail.rstrip().rpartition("\n")[2])
    return said[1] if said else None


def hang_up_as_interrupt() -> None:
    """Have SIGHUP (a closed terminal, a lost connection) do what Ctrl-C does, but where it is ignored (nohup).

    Snakemake would die of it with its lock left behind. What it still says goes nowhere: the terminal is gone.
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        return
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # the kernel sends it, and so does the shell
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in terminals:
            os.dup2(nowhere, descriptor)
        raise KeyboardInterrupt

    signal.signal(signal.SIGHUP, interrupt)
