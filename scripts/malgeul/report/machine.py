"""The machine on which the report is written: processor, cores, memory, as far as the system tells."""

from __future__ import annotations

import os
import platform

from malgeul.models.devices import cpu
from malgeul.models.host import memory
from malgeul.pages.quantities import megabytes


def describe_machine() -> dict[str, str]:
    """Return what the machine is, by label."""
    return {
        "Processor": cpu().name,
        "Cores for this process": str(len(os.sched_getaffinity(0))),
        "Memory": megabytes(memory() / 1e6),
        "System": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }
