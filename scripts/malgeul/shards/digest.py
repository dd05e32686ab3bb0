"""Which code a rule's result depends on: a digest of its script and of every module of ours that it imports.

Snakemake's own code trigger sees the script alone. The imports are read from the source (also those inside functions),
so that nothing is imported while the Snakefile is parsed. The package ``shards`` is left out: see its ``LAYOUT``; and
so are modules that watch a job and change nothing that it computes.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from malgeul import ROOT
from malgeul.shards import LAYOUT

SCRIPTS = ROOT / "scripts"
"""The folder that holds the scripts and the package."""

_LEFT_OUT = ("malgeul.shards.", "malgeul.models.profiling.", "malgeul.models.sampling.")


@cache
def code_digest(script: str) -> str:
    """Return a digest of ``scripts/<script>.py`` and the modules of malgeul that it reaches.

    Comments and formatting do not count: what is hashed is the syntax tree without docstrings.
    """
    start = SCRIPTS / f"{script}.py"
    seen: dict[str, str] = {}
    _visit(start, seen)
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(seen.items()))
    return hashlib.sha256(f"{LAYOUT}\n{text}".encode()).hexdigest()[:16]


def _visit(file: Path, seen: dict[str, str]) -> None:
    name = str(file.relative_to(SCRIPTS))
    if name in seen:
        return
    digest, imported = _parse(file)
    seen[name] = digest
    for module in imported:
        _visit(module, seen)


@cache
def _parse(file: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the digest of a source file and the files of malgeul's modules that it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imported: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported |= _resolve(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imported |= _resolve(node.module)
            for alias in node.names:
                imported |= _resolve(f"{node.module}.{alias.name}")
        _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imported))


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        node.body = [
            part for part in node.body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        ] or [ast.Pass()]


def _resolve(module: str) -> set[Path]:
    """Return the file of a module of malgeul, and the package files on the way to it."""
    if module.split(".")[0] != "malgeul" or f"{module}.".startswith(_LEFT_OUT):
        return set()
    base = SCRIPTS.joinpath(*module.split("."))
    candidates = {base.with_suffix(".py"), base / "__init__.py"}
    return {file for file in candidates if file.is_file()}
