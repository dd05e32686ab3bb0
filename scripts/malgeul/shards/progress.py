"""Progress of a long job: a bar with rate and remaining time on a terminal, plain lines in its log, a file to watch."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer

from tqdm import tqdm

QUIET_SECONDS = 3.0
"""A job that ends sooner shows nothing."""
LINE_SECONDS = 15.0
"""A line in the log this often."""
STATE_SECONDS = 1.0
"""The file is written this often at most, and tells what happened so many seconds later at the latest."""
STATE = "progress.json"
"""Name of the file beside the shard's journal, for who looks on from outside. It goes with the journal."""

log = logging.getLogger(__name__)


class Progress:
    """Counts finished items of a job; a context manager.

    ``folder`` is where the file for onlookers goes: done, resumed and total items, when the job started and when it
    wrote (seconds of the epoch).
    """

    def __init__(self, label: str, total: int | None, unit: str, folder: Path | None = None) -> None:
        self.label, self.total, self.unit, self.folder = label, total, unit, folder
        self.done = 0
        self.resumed = 0
        self._start = self._lined = self._told = time.monotonic()
        self._started = time.time()
        self._telling = Lock()
        self._late: Timer | None = None
        self._ended = False
        self._tell()
        self._bar = tqdm(
            total=total,
            desc=label,
            unit=f" {unit}",
            delay=QUIET_SECONDS,
            leave=False,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def resume(self, n: int) -> None:
        """Count items that were found finished; they do not count for the rate."""
        self.done += n
        self.resumed += n
        self._bar.initial = n
        self._bar.update(n)
        self._tell_now_and_then(time.monotonic())

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more finished items."""
        self.done += n
        self._bar.update(n)
        now = time.monotonic()
        self._tell_now_and_then(now)
        if now - self._lined >= LINE_SECONDS:
            self._lined = now
            log.info("%s", self.line(now))

    def _tell_now_and_then(self, now: float) -> None:
        if now - self._told >= STATE_SECONDS:
            self._told = now
            self._cancel_late()
            self._tell()
        elif self.folder and self._late is None:  # the next item may take minutes: what was resumed is told before
            self._late = Timer(STATE_SECONDS, self._tell_late)
            self._late.daemon = True
            self._late.start()

    def _tell_late(self) -> None:
        self._late = None
        self._tell()

    def _cancel_late(self) -> None:
        if late := self._late:
            late.cancel()
            late.join()  # it may be telling already
            self._late = None

    def _tell(self) -> None:
        """Write the file for onlookers. It is no result: where it cannot be written, the job goes on without."""
        if self.folder is None:
            return
        with self._telling, suppress(OSError):
            if self._ended:  # the folder may be gone by now, and stays so
                return
            state = {
                "done": self.done,
                "resumed": self.resumed,
                "total": self.total,
                "unit": self.unit,
                "started": round(self._started, 3),
                "written": round(time.time(), 3),
            }
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self.folder / f".{STATE}.{os.getpid()}"
            place.write_text(json.dumps(state) + "\n", encoding="utf-8")
            place.replace(self.folder / STATE)

    def line(self, now: float) -> str:
        """Say how far the job is: done of total, rate, remaining time."""
        rate = (self.done - self.resumed) / max(now - self._start, 1e-9)
        if self.total is None:
            return f"{self.label}: {self.done} {self.unit}, {rate:.2f}/s"
        left = f"{(self.total - self.done) / rate:.0f} s left" if rate else "remaining time unknown"
        return f"{self.label}: {self.done} of {self.total} {self.unit}, {rate:.2f}/s, {left}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._cancel_late()
        self._tell()
        with self._telling:
            self._ended = True
        log.info("%s", self.line(time.monotonic()))
