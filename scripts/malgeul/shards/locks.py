"""Who may write: one run at a time in a results folder, one job at a time on a shard, none after its parent's death.

Snakemake killed with SIGKILL leaves its jobs running and its lock behind. A job therefore watches the Snakemake process
that started it (``MALGEUL_OWNER``, set when the Snakefile is parsed) and dies with it, and holds an flock on its shard,
which the kernel gives back with the process, so that a successor never writes beside it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

OWNER = "MALGEUL_OWNER"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Loaded here: between fork and exec no lock of the loader may be waited for."""


class Busy(RuntimeError):
    """Somebody else holds the lock."""


def _describe_self() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def try_lock(path: Path) -> IO[str] | None:
    """Take an exclusive flock on ``path`` and write who holds it; return None when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    json.dump(_describe_self(), file)
    file.flush()
    return file


def holder_of(path: Path) -> str:
    """Say who holds a lock, as far as its file tells."""
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


@contextmanager
def shard_lock(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock of a shard while the block runs; wait up to ``patience`` seconds for a dying predecessor.

    Raises :class:`Busy` when it is still held after that.
    """
    deadline = time.monotonic() + patience
    while (file := try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise Busy(f"{holder_of(path)} is still working on this shard ({path}); wait for it or end it")
        time.sleep(0.1)
    try:
        yield
    finally:
        file.close()


def die_with_owner() -> None:
    """End this process at once when the Snakemake process that owns it is gone.

    The owner is read from ``MALGEUL_OWNER``; without it (a script run by hand) nothing is watched.
    """
    owner = int(os.environ.get(OWNER, "0"))
    if not owner:
        return
    gone = _watcher(owner)

    def watch() -> None:
        gone()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="owner-watch", daemon=True).start()


def _watcher(process: int) -> Callable[[], None]:
    """Return a function that comes back when ``process`` has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return lambda: None
    except OSError:  # a kernel without pidfd (before 5.3, some sandboxes)
        return lambda: _poll_until_gone(process)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def wait() -> None:
        poll.poll()

    return wait


def _poll_until_gone(process: int) -> None:
    while alive(process):
        time.sleep(1)


def alive(process: int) -> bool:
    """Tell whether a process of this machine runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; for ``preexec_fn`` of decoders and workers."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def heed_parent_alone() -> None:
    """Like :func:`die_with_parent`, and leave the signals that a whole group is asked to stop by to the parent.

    A decoder that ends by one is no fault of its recording, and cannot be told from one that gave up. For programs
    that start no others: the signals stay blocked in those, too.
    """
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
