"""Imports that cost a job seconds: how to have them for less."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


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


class _NoPandas:
    """A finder to which no module is called pandas."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("this job keeps pandas out", name=name)


def keep_pandas_out() -> None:
    """Have pyarrow, where it is imported, take it that there is no pandas, until something is converted to it.

    It would import pandas to see whether a list is one of its columns: half of what a job over a small table costs.
    Who imports pandas themselves (datasets), or calls ``to_pandas``, has it still; but a column of pandas that is given
    to pyarrow before that is a list like any other to it.
    """
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None or "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pyarrow.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


def let_pandas_in() -> None:
    """Have pyarrow know columns of pandas again: code of the user's may hand it some."""
    if pyarrow := sys.modules.get("pyarrow"):
        with suppress(ImportError):
            pyarrow.nulls(0).to_pandas()
