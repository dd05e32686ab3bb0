"""The table of faults: which belong to an item and are quarantined, which break a step, and which of these are retried.

A permanent fault of an item is its own (a truncated file stays truncated). A transient one is the machine's (memory, a
lost node, a locked database): the shard fails, and Snakemake runs it again. A permanent error of a step (what a job was
given is wrong, or the program is) fails the shard once. Of any other error nobody knows, and it is tried again.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from typing import Any

PERMANENT: dict[str, str] = {
    # recordings
    "EMPTY": "the file has no bytes",
    "TRUNCATED": "the container's index is missing; the file was cut off or is still being written",
    "NO_AUDIO": "the container holds no audio stream",
    "NOT_AUDIO": "the file is no audio container (a playlist, a text, random bytes)",
    "ENCRYPTED": "the audio is encrypted (DRM)",
    "UNDECODABLE": "the decoder gave up",
    "TOO_LONG": "the recording is longer than convert.max_seconds",
    "TIMEOUT": "the decoder took longer than convert.timeout_seconds",
    "NOT_A_FILE": "a folder, pipe, socket, device or a link that leads nowhere",
    "UNREADABLE": "the file may not be read by this user",
    "VANISHED": "the file was there when the run was planned and is gone",
    "CHANGED": "the file changed while it was read",
    # text
    "BROKEN_JSON": "the line is no JSON object",
    "MISSING_FIELD": "the record has no such field, or it is not text",
    "INVALID_UTF8": "the bytes are not UTF-8",
    "DUPLICATE_ID": "an earlier record of the source has the id",
    "EMPTY_TEXT": "there is nothing but white space",
    "TOO_LARGE": "the record is larger than ingest.max_record_bytes",
    "CORRUPT": "the file cannot be read to its end",
    "UNTOKENIZABLE": "the analyser failed on this document alone",
    "CRASHES_ANALYZER": "the analyser's process dies of this document alone",
    # chunks
    "UNCHUNKABLE": "a single character has more tokens than the model takes",
    # models
    "OUT_OF_MEMORY": "the item alone does not fit into the device's memory",
    "MODEL_FAILED": "the model failed on this item alone",
}
"""Class of every permanent fault and what it means. They name what is wrong with the item."""

RETRYABLE = frozenset({"OUT_OF_MEMORY", "MODEL_FAILED", "TIMEOUT", "UNREADABLE", "VANISHED", "CHANGED"})
"""Classes that another machine, or a repaired input, may mend."""

NOT_READ = frozenset({"NOT_A_FILE", "UNREADABLE", "VANISHED", "CHANGED"})
"""Classes of files that tell nothing of what is in them."""

TRANSIENT_ERRNO = frozenset(
    {errno.ENOMEM, errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EMFILE, errno.EDQUOT, errno.EBUSY}
)

PERMANENT_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NameError,
    AssertionError,
    ArithmeticError,
)
"""Errors of values and of programs: with the same inputs on another day or node they are raised again."""

FAILED, FAILED_FOR_GOOD, WORTH_A_RETRY = 1, os.EX_DATAERR, os.EX_TEMPFAIL
"""Exit statuses of a job, and of a process of a training, by its error."""


@dataclass(frozen=True)
class Fault:
    """What was wrong with an item: a class of :data:`PERMANENT`, a reason in words, and what was tried."""

    kind: str
    reason: str
    tried: str = ""

    def __post_init__(self) -> None:
        if self.kind not in PERMANENT:
            raise ValueError(f"{self.kind} is no class of fault; the table is in malgeul/shards/faults.py")

    def to_json(self) -> dict[str, Any]:
        """Return the form in which a ledger lists it."""
        return {
            "class": self.kind,
            "reason": self.reason,
            "tried": self.tried,
            "retryable": self.kind in RETRYABLE,
        }


class ItemFault(Exception):
    """Raised while working on one item; carries the fault to quarantine it with."""

    def __init__(self, kind: str, reason: str, tried: str = "") -> None:
        super().__init__(f"{kind}: {reason}")
        self.fault = Fault(kind, reason, tried)


OUT_OF_MEMORY_SAID = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",
)
"""What torch says of memory that ran out where it has no class of its own for it: of the host, and of a GPU whose
libraries (cuBLAS, cuDNN 8 and 9) ask the driver themselves."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the memory of the host or of a GPU ran out, by Python's error or one of torch's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY_SAID)


def is_transient(error: BaseException) -> bool:
    """Tell whether running the same step again may succeed."""
    if is_out_of_memory(error) or isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in ("locked", "busy"))
    if isinstance(error, OSError):
        return error.errno in TRANSIENT_ERRNO
    return type(error).__name__ in {"AcceleratorError", "BrokenProcessPool"}


def exit_status(error: BaseException) -> int:
    """Return with which status the step ends that an error broke."""
    if is_transient(error):
        return WORTH_A_RETRY
    return FAILED_FOR_GOOD if isinstance(error, PERMANENT_ERRORS) else FAILED
