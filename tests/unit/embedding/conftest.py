"""The bundled embedding model's tokenizer, and one Kiwi for all tests."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from functools import cache

import pytest
from kiwipiepy import Kiwi

from malgeul import ROOT
from malgeul.embedding import versions
from malgeul.embedding.recipe import Recipe
from malgeul.embedding.sentences import SentenceProcess, SentenceSplitter
from malgeul.embedding.tokens import TextTokenizer
from malgeul.models.tokenizers import load_fast_tokenizer

BUNDLED = ROOT / "resources/models/embed-ko-demo"


@cache
def bundled_tokenizer(longest: int = 512, prompt: str = "") -> TextTokenizer:
    """Return the bundled tokenizer as that of a model that takes ``longest`` tokens and wants a prompt."""
    return TextTokenizer(load_fast_tokenizer(BUNDLED), Recipe("mean", longest, prompt, "", 0, ("normalize",)))


@cache
def load_kiwi(threads: int):
    return Kiwi(num_workers=threads)


@pytest.fixture
def one_kiwi(monkeypatch):
    """Load Kiwi once per number of threads, and find sentences in the test's own process."""
    monkeypatch.setattr(SentenceSplitter, "kiwi", property(lambda splitter: load_kiwi(splitter.threads)))

    def analyze(self, texts):
        return SentenceSplitter(self.threads).analyze(texts)

    monkeypatch.setattr(SentenceProcess, "analyze", analyze)


@pytest.fixture
def sigterm_at(monkeypatch):
    """Send this process SIGTERM while the batch that begins with a certain chunk is inserted."""
    insert = versions._insert

    @contextmanager
    def at(start):
        def asked(session, version, number, batch, columns):
            if batch.columns["chunk_index"][0] == start:
                os.kill(os.getpid(), signal.SIGTERM)
            insert(session, version, number, batch, columns)

        with monkeypatch.context() as patched:
            patched.setattr(versions, "_insert", asked)
            yield

    return at


WHOLE = {"overlap": 0, "level": "document", "size": "standard", "query_type": None}
"""Columns of a chunk that is all of its document."""
