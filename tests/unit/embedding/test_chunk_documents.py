"""A shard's chunks: every document accounted for, the same bytes with any threads, nothing done twice after a kill."""

import json

import pytest

from malgeul import ROOT
from malgeul.embedding import chunker
from malgeul.embedding.sentences import SentenceProcess
from malgeul.shards.faults import Fault
from malgeul.shards.ledger import read_ledger
from malgeul.shards.tables import CHUNKS, DOCUMENTS, TableWriter, read_rows
from unit.embedding.test_chunk import STATUTE

PROSE = "원고는 피고에게 물품 대금을 지급하라고 청구하였다. 피고는 받은 적이 없다고 다툰다. " * 40
DOCUMENTS_OF_SHARD = [
    ("case/1", PROSE, {"kind": "case"}),
    ("statute/1", STATUTE * 6, {"kind": "statute"}),
    ("statute/2", STATUTE, {"kind": "statute"}),
    ("odd", PROSE, {"kind": ["not", "a", "name"]}),
]


@pytest.fixture(autouse=True)
def _one_kiwi(one_kiwi):
    """Load Kiwi once."""


@pytest.fixture
def chunk(make_job, results):
    from chunk_documents import chunk_documents

    source = results / "exported/law-0000.parquet"
    source.parent.mkdir(parents=True, exist_ok=True)
    with TableWriter(source, DOCUMENTS) as out:
        for name, text, meta in DOCUMENTS_OF_SHARD:
            out.write({"id": name, "text": text, "source": "law", "meta": json.dumps(meta)})

    def run(threads=1, **settings):
        job = make_job(
            "chunk",
            "law-0000",
            {"chunks": "chunks/law-0000.parquet"},
            units=("document", "chunk"),
            inputs={"documents": [source]},
            threads=threads,
            settings=settings,
            prompt=None,
            spelled={"model": str(ROOT / "resources/models/embed-ko-demo"), "revision": None},
        )
        job.run(chunk_documents)
        ledger = read_ledger(results / "ledger/chunk/law-0000.json")
        return list(read_rows(results / "chunks/law-0000.parquet")), ledger

    return run


@pytest.mark.parametrize("strategy", ["standard", "dynamic", "hybrid", "tokens"])
def test_every_document_has_chunks_that_are_places_of_it(chunk, strategy):
    rows, ledger = chunk(strategy=strategy)
    texts = {name: text for name, text, _ in DOCUMENTS_OF_SHARD}
    assert set(rows[0]) == set(CHUNKS.names)
    assert {row["document_id"] for row in rows} == set(texts)
    assert all(texts[row["document_id"]][row["start"] : row["end"]] == row["text"] for row in rows)
    assert len({row["chunk_id"] for row in rows}) == len(rows) == ledger.given.n
    assert ledger.used.n == len(texts)
    assert ledger.imbalance() is None
    assert ledger.measured["tokens"] == sum(row["n_tokens"] for row in rows)


def test_rows_say_what_a_version_of_embeddings_records(chunk):
    rows, _ = chunk(strategy="hybrid")
    mine = [row for row in rows if row["document_id"] == "statute/1"]
    assert [row["index"] for row in mine] == list(range(len(mine)))
    assert [row["size"] for row in mine] == sorted(
        (row["size"] for row in mine), key=["small", "medium", "large"].index
    )
    assert {(row["size"], row["query_type"]) for row in mine} == {
        ("small", "precise"),
        ("medium", "balanced"),
        ("large", "broad"),
    }
    assert mine[0]["chunk_id"] == "law/statute/1#small0"
    assert mine[0]["level"] == "chapter"
    assert {row["level"] for row in rows if row["document_id"] == "statute/2"} == {"document"}
    standard, _ = chunk()
    assert standard[1]["chunk_id"] == "law/case/1#1"
    assert standard[1]["overlap"] == standard[0]["end"] - standard[1]["start"] > 0
    assert (standard[0]["size"], standard[0]["query_type"]) == ("standard", None)


def test_the_number_of_threads_changes_nothing(chunk, results):
    chunk(threads=1)
    one = (results / "chunks/law-0000.parquet").read_bytes()
    (results / "kept/chunk/law-0000/ledger.json").unlink()
    chunk(threads=2)
    assert (results / "chunks/law-0000.parquet").read_bytes() == one


def test_a_killed_job_goes_on_behind_the_last_batch(chunk, results, monkeypatch):
    import chunk_documents

    rows, _ = chunk()
    (results / "kept/chunk/law-0000/ledger.json").unlink()
    monkeypatch.setattr(chunk_documents, "BATCH", 2)
    cut = chunker.Chunker.cut
    batches = []

    def killed(self, documents):
        batches.append([text for text, _ in documents])
        if len(batches) == 2:
            raise KeyboardInterrupt
        return cut(self, documents)

    monkeypatch.setattr(chunker.Chunker, "cut", killed)
    with pytest.raises(KeyboardInterrupt):
        chunk()
    again, _ = chunk()
    assert again == rows
    assert len(batches) == 3
    assert batches[2] == batches[1]


def test_a_document_on_which_kiwi_fails_is_cut_by_punctuation_and_noted(chunk, monkeypatch):
    def fails(self, texts):
        for _ in texts:
            yield Fault("CRASHES_ANALYZER", "ended by SIGABRT")

    monkeypatch.setattr(SentenceProcess, "analyze", fails)
    rows, ledger = chunk()
    by_punctuation, _ = chunk(sentences="punctuation")
    assert rows == by_punctuation
    assert ledger.measured["punctuated"] == 3
    assert {"item": "case/1", "sentences": "punctuation", "reason": "ended by SIGABRT"} in ledger.notes


def test_documents_of_one_chunk_are_not_given_to_kiwi(chunk, monkeypatch):
    given = []
    analyze = SentenceProcess.analyze

    def counted(self, texts):
        given.extend(texts)
        return analyze(self, given)

    monkeypatch.setattr(SentenceProcess, "analyze", counted)
    chunk()
    assert given == [text for _, text, _ in DOCUMENTS_OF_SHARD if len(text) > 800]
