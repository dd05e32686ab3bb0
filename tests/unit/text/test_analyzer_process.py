"""A crash of native code costs the document on which it happens; what is the machine's fault fails the job."""

import sys

import pytest

from malgeul.models import kiwi_process
from malgeul.models.kiwi_process import ProcessDied
from malgeul.shards.faults import Fault
from malgeul.text.analyzer_process import ProcessAnalyzer
from malgeul.text.morphology import MorphemeAnalyzer
from unit.text.conftest import prose

CHILD = """
import os, signal, sys
from collections import deque
from malgeul.models.kiwi_process import serve
from malgeul.text.morphology import Analysis

class Fragile:
    def analyze(self, texts):
        waiting = deque()
        for text in texts:
            if text.startswith("SIG"):
                print("about to die of", text, file=sys.stderr, flush=True)
                os.kill(os.getpid(), getattr(signal, text.split()[0]))
            if text.startswith("EXIT"):
                sys.exit("there is no model")
            waiting.append(text)
            if len(waiting) > 5:
                yield Analysis(len(waiting.popleft()), {}, [])
        for text in waiting:
            yield Analysis(len(text), {}, [])

serve(Fragile(), vars, sys.stdin.buffer, sys.stdout.buffer)
"""


@pytest.fixture
def analyze(monkeypatch):
    monkeypatch.undo()  # the real process

    def run(texts):
        with ProcessAnalyzer(1) as analyzer:
            analyzer.command = [sys.executable, "-c", CHILD]
            return list(analyzer.analyze(texts))

    return run


@pytest.mark.parametrize("crashing", [{0}, {7}, {99}, {3, 4, 50}, set()])
def test_a_text_that_kills_the_process_is_alone_with_its_fault(analyze, crashing):
    texts = [f"SIGSEGV {k}" if k in crashing else "글" * k for k in range(100)]
    answers = analyze(texts)
    assert {k for k, answer in enumerate(answers) if isinstance(answer, Fault)} == crashing
    assert all(answers[k].n_morphemes == k for k in range(100) if k not in crashing)
    for k in crashing:
        assert answers[k].kind == "CRASHES_ANALYZER"
        assert "SIGSEGV" in answers[k].reason
        assert f"about to die of SIGSEGV {k}" in answers[k].reason


def test_an_abort_is_a_crash_too_and_texts_may_be_large(analyze):
    first, crash, last = analyze(["글" * 300_000, "SIGABRT", "글" * 300_001])
    assert (first.n_morphemes, crash.kind, last.n_morphemes) == (300_000, "CRASHES_ANALYZER", 300_001)


def test_a_process_that_was_killed_fails_the_job_to_be_tried_again(analyze):
    with pytest.raises(MemoryError, match="SIGKILL"):
        analyze(["가", "SIGKILL", "나"])


def test_a_process_that_cannot_work_says_why(analyze):
    with pytest.raises(ProcessDied, match="there is no model"):
        analyze(["가", "EXIT"])


def test_the_real_process_answers_as_the_analyzer_does(monkeypatch):
    monkeypatch.undo()
    texts = [prose(number) if number % 3 else "" for number in range(20)]
    with ProcessAnalyzer(2, ["word_length"]) as analyzer:
        assert list(analyzer.analyze(texts)) == list(MorphemeAnalyzer(1, ["word_length"]).analyze(texts))
    assert kiwi_process.AHEAD_PER_THREAD > 16
