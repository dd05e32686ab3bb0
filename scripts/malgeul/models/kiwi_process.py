"""Kiwi in a process of its own, so that a crash of it costs one document and not the run.

Kiwi is native code and has aborted its process on odd texts. Texts go to the process and answers come back through
pipes, each as a length and JSON. When the process dies of a signal that a bug raises, the texts under way are analysed
one by one in a new one, and the text that kills it again is left out with a fault.

A wing has a module that calls :func:`serve` with its reader, and a :class:`KiwiProcess` that starts it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import IO, Any, Generic, Self

from malgeul import ROOT
from malgeul.models.kiwi import Answer, KiwiReader
from malgeul.shards.faults import Fault
from malgeul.shards.locks import heed_parent_alone

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


class KiwiProcess(ABC, Generic[Answer]):
    """Like a :class:`KiwiReader`, but no text can take the job's own process down. A context manager.

    ``module`` is run with the number of threads and ``arguments``; it is started when the first text comes.
    """

    def __init__(self, module: str, threads: int, arguments: Sequence[str] = ()) -> None:
        self.threads = threads
        self.command = [sys.executable, "-m", module, str(threads), *arguments]
        self.ahead = AHEAD_PER_THREAD * threads
        self._process: _Process | None = None

    @abstractmethod
    def decode(self, fields: Any) -> Answer:
        """Return the answer that the other side's ``encode`` (see :func:`serve`) made plain."""

    def analyze(self, texts: Iterable[str]) -> Iterator[Answer | Fault]:
        """Yield an answer per text, in order; a fault for a text on which the analysis fails or crashes.

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
                answer = self._receive()
            except ProcessDied as death:
                yield from self._one_by_one(waiting, death)
                continue
            waiting.popleft()
            yield answer

    def _one_by_one(self, waiting: deque[str], death: ProcessDied) -> Iterator[Answer | Fault]:
        """Yield the answers to the texts that were under way when the process died."""
        self._check(death)
        while waiting:
            text = waiting.popleft()
            try:
                self._running().send(text)
                self._running().flush()
                yield self._receive()
            except ProcessDied as again:
                self._check(again)
                yield Fault("CRASHES_ANALYZER", str(again), "analysed by itself in a new process")

    def _check(self, death: ProcessDied) -> None:
        self._process = None
        if not death.is_crash:
            raise MemoryError(str(death)) if death.status == -signal.SIGKILL else death

    def _receive(self) -> Answer | Fault:
        fields = self._running().receive()
        return Fault(**fields) if isinstance(fields, dict) and "kind" in fields else self.decode(fields)

    def _running(self) -> _Process:
        if self._process is None:
            self._process = _Process(self.command)
        return self._process

    def __enter__(self) -> Self:
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
            preexec_fn=heed_parent_alone,
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

    def receive(self) -> Any:
        answer = self._answers.get()
        if answer is None:
            raise self._death()
        return json.loads(answer)

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
    library = str(ROOT / "scripts")
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


def serve(reader: KiwiReader[Answer], encode: Callable[[Answer], Any], source: IO[bytes], answers: IO[bytes]) -> None:
    """Answer every text of ``source`` until it ends; ``encode`` makes an answer plain, as JSON can carry it.

    No answer is plain as an object with the key ``kind``: a fault is.
    """
    ended = False

    def texts() -> Iterator[str]:
        nonlocal ended
        while (frame := _read(source)) != _FLUSH:
            if frame is None:
                ended = True
                return
            yield frame.decode("utf-8")

    while not ended:
        for answer in reader.analyze(texts()):
            fields = asdict(answer) if isinstance(answer, Fault) else encode(answer)
            _write(answers, json.dumps(fields, ensure_ascii=False).encode("utf-8"))
