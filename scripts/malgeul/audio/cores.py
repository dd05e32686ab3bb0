"""Which core a decoder stays on.

ffmpeg hands every frame from thread to thread (demuxer, decoder, filters), tens of thousands of times for ten minutes,
and each does little with it. A thread that is woken on another core costs more than that: on one core a decoder takes
a quarter less of the processor's time.

But the kernel moves what stays on one core to no other that is idle, so that two decoders must not stay on the same
one. Jobs run side by side: a core is taken by a name that the kernel gives once, and takes back from who has died.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_LIBC = ctypes.CDLL(None)

TAKEN = "\0malgeul decodes on core {}"
"""The name of a core in Linux's abstract namespace of sockets, where no file is left behind."""


@contextmanager
def core_of_its_own() -> Iterator[int | None]:
    """Give a core that this process may use and no other decoder has, as long as the block runs; None if all are taken.

    The first that is tried is the one that the caller runs on: that is where the kernel found room.
    """
    here = _LIBC.sched_getcpu()
    cores = sorted(os.sched_getaffinity(0), key=lambda core: (core < here, core))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taken:
        yield next((core for core in cores if _takes(taken, core)), None)


def _takes(taken: socket.socket, core: int) -> bool:
    try:
        taken.bind(TAKEN.format(core))
    except OSError:
        return False
    return True
