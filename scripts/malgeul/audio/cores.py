"""Which core a decoder stays on.

ffmpeg hands every frame from thread to thread (demuxer, decoder, filters), tens of thousands of times for ten minutes,
and each does little with it. A thread that is woken on another core costs more than that: on one core a decoder takes
a quarter less of the processor's time.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_LIBC = ctypes.CDLL(None)

_choosing = threading.Lock()
_taken: Counter[int] = Counter()


@contextmanager
def core_of_its_own() -> Iterator[int]:
    """Give a core that this process may use, as long as the block runs.

    One that the fewest blocks have, and of these the one that the caller runs on, if it is among them: that is where
    the kernel found room, beside other processes.
    """
    here = _LIBC.sched_getcpu()
    with _choosing:
        core = min(sorted(os.sched_getaffinity(0)), key=lambda one: (_taken[one], one != here))
        _taken[core] += 1
    try:
        yield core
    finally:
        with _choosing:
            _taken[core] -= 1
