"""A permanent error is not worked up to again: Snakemake looks at no exit status and retries whatever has failed.

A job that ended by one leaves a note in its journal's folder. The next attempt of the same run finds it and ends at
once; the next run begins by taking all notes away, since by then the user may have mended what was wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

from malgeul.shards.files import write_json

NOTE = "failed.json"


def note_failure(journal: Path, error: BaseException) -> None:
    """Leave word in a shard's journal of the error that every attempt will end with."""
    write_json(journal / NOTE, f"{type(error).__name__}: {error}")


def failed_before(journal: Path) -> str | None:
    """Return by what the shard failed for good in this run, None where it did not."""
    try:
        error: str = json.loads((journal / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return error


def forget_failures(results: Path) -> None:
    """Take away the notes that former runs left."""
    for note in results.glob(f"journal/*/*/{NOTE}"):
        note.unlink(missing_ok=True)
