"""Accelerators: how many there are, which one a job may use, how much memory is free."""

from __future__ import annotations

import os
from functools import cache


@cache
def count_gpus() -> int:
    """Return the number of NVIDIA devices this process may use; 0 without a driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except (ImportError, pynvml.NVMLError):
        return 0
