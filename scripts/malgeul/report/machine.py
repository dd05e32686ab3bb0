"""The machine on which the report is written: processor, cores, memory, as far as the system tells."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from malgeul.models.devices import cpu
from malgeul.pages.quantities import megabytes

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def describe_machine() -> dict[str, str]:
    """Return what the machine is, by label."""
    return {
        "Processor": cpu().name,
        "Cores for this process": str(len(os.sched_getaffinity(0))),
        "Memory": megabytes(memory() / 1e6),
        "System": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def memory() -> int:
    """Return the bytes of memory this process may use: the host's, or less where a cgroup limits it."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [file.read_text(encoding="ascii").strip() for file in CGROUP_LIMITS if file.is_file()]
    return min([host, *(int(limit) for limit in limits if limit.isdigit())])
