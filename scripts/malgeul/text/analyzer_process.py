"""The morphological analysis in a process of its own, so that a crash of it costs one document and not the run.

``python -m malgeul.text.analyzer_process THREADS [MEASURE ...]`` is that process; ProcessAnalyzer starts it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from malgeul.models.kiwi_process import KiwiProcess, serve
from malgeul.text.morphology import Analysis, MorphemeAnalyzer


class ProcessAnalyzer(KiwiProcess[Analysis]):
    """Like :class:`MorphemeAnalyzer`, but no text can take the job's own process down. A context manager."""

    def __init__(self, threads: int, measures: Sequence[str] = ()) -> None:
        super().__init__("malgeul.text.analyzer_process", threads, measures)
        self.measures = measures

    def decode(self, fields: Any) -> Analysis:
        """Return an analysis of its fields."""
        return Analysis(**fields)


if __name__ == "__main__":
    serve(MorphemeAnalyzer(int(sys.argv[1]), sys.argv[2:]), vars, sys.stdin.buffer, sys.stdout.buffer)
