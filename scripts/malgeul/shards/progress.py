"""Progress of a long job: a bar with rate and remaining time on a terminal, plain lines in its log."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

QUIET_SECONDS = 3.0
"""A job that ends sooner shows nothing."""
LINE_SECONDS = 15.0
"""A line in the log this often."""

log = logging.getLogger(__name__)


class Progress:
    """Counts finished items of a job; a context manager."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.resumed = 0
        self._start = self._lined = time.monotonic()
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

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more finished items."""
        self.done += n
        self._bar.update(n)
        now = time.monotonic()
        if now - self._lined >= LINE_SECONDS:
            self._lined = now
            log.info("%s", self.line(now))

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
        log.info("%s", self.line(time.monotonic()))
