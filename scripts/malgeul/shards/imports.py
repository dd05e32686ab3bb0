"""Imports that cost a job seconds: how to have them for less."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting_imports() -> Iterator[None]:
    """Import large libraries in the block, at three quarters of their processor time or less.

    Python would look through what they make for garbage, again and again as it grows and at every full collection
    after that, though all of it stays. It is left alone for good, and with it whatever else is alive when the block
    ends: import before there are models or data.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
