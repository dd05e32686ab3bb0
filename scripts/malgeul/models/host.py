"""The memory of this machine, as far as this process may use it."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory() -> int:
    """Return the bytes of memory this process may use: the host's, or less where a cgroup limits it."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [file.read_text(encoding="ascii").strip() for file in CGROUP_LIMITS if file.is_file()]
    return min([host, *(int(limit) for limit in limits if limit.isdigit())])
