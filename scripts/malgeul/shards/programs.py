"""Programs of the user's own: Python files that a run loads by path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from malgeul.shards.imports import let_pandas_in


def load_program(file: Path, options: dict[str, Any]) -> Callable[..., Any]:
    """Return what the file's ``load(**options)`` returns.

    Raises TypeError when it has no such function or what that returns cannot be called.
    """
    spec = importlib.util.spec_from_file_location(f"malgeul_own_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise TypeError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    let_pandas_in()
    sys.modules[spec.name] = module  # dataclasses and pickle look for it there
    spec.loader.exec_module(module)
    load: Callable[..., Any] | None = getattr(module, "load", None)
    program: Callable[..., Any] | None = load(**options) if load else None
    if not callable(program):
        raise TypeError(f"{file} has no function load(**options) that returns a function")
    return program
