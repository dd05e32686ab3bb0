"""The morphological analysis in a process of its own, so that a crash of it costs one document and not the run.

Kiwi is native code and has aborted its process on odd texts. Texts go to the process and analyses come back through
pipes, each as a length and JSON. When the process dies of a signal that a bug raises, the texts under way are analysed
one by one in a new one, and the text that kills it again is left out with a fault.

    python -m malgeul.text.analyzer_process THREADS [MEASURE ...]     the process; it is started by ProcessAnalyzer
"""

from __future__ import annotations

import json
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from malgeul.shards.faults import Fault
from malgeul.shards.locks import die_with_parent
from malgeul.text.morphology import Analysis, MorphemeAnalyzer

CRASHES = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""Signals of a bug. SIGKILL is none: the kernel sends it when memory is short, and another try may succeed."""

AHEAD_PER_THREAD = 32
"""Texts under way: Kiwi pulls 16 per thread ahead, and as many wait in the pipe."""

_LENGTH = struct.Struct("<I")
_FLUSH = b"\xff"
"""A frame that is no text: 0xFF never stands in UTF-8."""


class ProcessDied(RuntimeError):
    """The process of the analysis ended by itself; ``status`` is as subprocess gives it (negative: a signal)."""

    def __init__(self, status: int, said: str) -> None:
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        super().__init__(f"the process of the morphological analysis ended {how}: {said[-500:].strip()}")
        self.status = status

    @property
    def is_crash(self) -> bool:
        """Whether a bug in native code ended it."""
        return -self.status in CRASHES


class ProcessAnalyzer:
    """Like :class:`MorphemeAnalyzer`, but no text can take the job's own process down. A context manager."""

    def __init__(self, threads: int, measures: Sequence[str] = ()) -> None:
        self.threads, self.measures = threads, measures
        self.command = [sys.executable, "-m", "malgeul.text.analyzer_process", str(threads), *measures]
        self.ahead = AHEAD_PER_THREAD * threads
        self._process: _Process | None = None

    def analyze(self, texts: Iterable[str]) -> Iterator[Analysis | Fault]:
        """Yield an analysis per text, in order; a fault for a text on which the analysis fails or crashes.

        Raises MemoryError where the process was killed, and ProcessDied where it cannot run at all.
        """
        source = iter(texts)
        waiting: deque[str] = deque()
        exhausted = False
        while True:
            try:
                while not exhausted and len(waiting) < self.ahead:
                    try:
                        text = next(source)
                    except StopIteration:
                        exhausted = True
                        if waiting:
                            self._running().flush()
                        break
                    waiting.append(text)
                    self._running().send(text)
                if not waiting:
                    return
                answer = self._running().receive()
            except ProcessDied as death:
                yield from self._one_by_one(waiting, death)
                continue
            waiting.popleft()
            yield answer

    def _one_by_one(self, waiting: deque[str], death: ProcessDied) -> Iterator[Analysis | Fault]:
        """Yield the answers to the texts that were under way when the process died."""
        self._check(death)
        while waiting:
            text = waiting.popleft()
            try:
                self._running().send(text)
                self._running().flush()
                yield self._running().receive()
            except ProcessDied as again:
                self._check(again)
                yield Fault("CRASHES_ANALYZER", str(again), "analysed by itself in a new process")

    def _check(self, death: ProcessDied) -> None:
        self._process = None
        if not death.is_crash:
            raise MemoryError(str(death)) if death.status == -signal.SIGKILL else death

    def _running(self) -> _Process:
        if self._process is None:
            self._process = _Process(self.command)
        return self._process

    def __enter__(self) -> ProcessAnalyzer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()


class _Process:
    """The running process. A thread reads its answers, so that neither side waits for the other with full pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=_environment(),
            preexec_fn=die_with_parent,
        )
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, text: str) -> None:
        self._send(text.encode("utf-8"))

    def flush(self) -> None:
        """Have all that was sent answered: Kiwi answers a text when it has pulled others, or when there are none."""
        self._send(_FLUSH)

    def _send(self, frame: bytes) -> None:
        assert self._child.stdin is not None
        try:
            _write(self._child.stdin, frame)
        except BrokenPipeError:
            raise self._death() from None

    def receive(self) -> Analysis | Fault:
        answer = self._answers.get()
        if answer is None:
            raise self._death()
        fields = json.loads(answer)
        return Fault(**fields) if "kind" in fields else Analysis(**fields)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout is not None
        while (frame := _read(self._child.stdout)) is not None:
            self._answers.put(frame)
        self._answers.put(None)

    def _death(self) -> ProcessDied:
        status = self._child.wait()
        self._said.seek(0)
        return ProcessDied(status, self._said.read().decode("utf-8", errors="replace"))


def _environment() -> dict[str, str]:
    import os

    library = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([library, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def _write(pipe: IO[bytes], frame: bytes) -> None:
    pipe.write(_LENGTH.pack(len(frame)) + frame)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """Return the next frame, or None where the other side has ended."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    frame = pipe.read(*_LENGTH.unpack(head))
    return frame if len(frame) == _LENGTH.unpack(head)[0] else None


def serve(analyzer: MorphemeAnalyzer, source: IO[bytes], answers: IO[bytes]) -> None:
    """Answer every text of ``source`` until it ends."""
    ended = False

    def texts() -> Iterator[str]:
        nonlocal ended
        while (frame := _read(source)) != _FLUSH:
            if frame is None:
                ended = True
                return
            yield frame.decode("utf-8")

    while not ended:
        for analysis in analyzer.analyze(texts()):
            fields = asdict(analysis) if isinstance(analysis, Fault) else vars(analysis)
            _write(answers, json.dumps(fields, ensure_ascii=False).encode("utf-8"))


if __name__ == "__main__":
    serve(MorphemeAnalyzer(int(sys.argv[1]), sys.argv[2:]), sys.stdin.buffer, sys.stdout.buffer)
