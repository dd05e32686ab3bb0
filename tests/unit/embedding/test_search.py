"""A question gives the nearest chunks with places and texts; an index that is not that of the results is refused."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import build_index
import search
from malgeul import ROOT
from malgeul.embedding.encoder import Encoder
from malgeul.embedding.query_model import describe_query_model
from malgeul.embedding.search import CannotSearch, Found, Searcher
from malgeul.embedding.settings import EmbedSettings
from malgeul.embedding.vectors import read_vectors
from malgeul.models.devices import Device
from malgeul.plan import DocumentShard, Plan
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import CHUNKS, LOOKED_UP_CHARACTERS, TableWriter, embeddings_schema
from unit.embedding.conftest import WHOLE

MODEL = str(ROOT / "resources/models/embed-ko-demo")
TEXTS = {
    "law-0000": ["임대차 보증금을 돌려받는 절차", "해안쓰레기를 치우는 방법", "소형위성의 등록과 취소"],
    "law-0001": ["교통사고의 손해배상 책임", "토종씨앗을 나누는 행사"],
}


class SmallRun:
    """A run with two shards of chunks, as chunk_documents, embed_chunks and build_index leave it."""

    def __init__(self, results):
        self.results = results
        encoder = Encoder(ROOT / MODEL, Device("cpu", "x"), 1)
        for shard, texts in TEXTS.items():
            self.chunk(shard, texts)
            self.embed(shard, encoder.encode(encoder.tokenize(texts)[0]))
        documents = {shard: DocumentShard("law", n, 2, 3, "d") for n, shard in enumerate(TEXTS)}
        self.plan = Plan(documents=documents, embed_inputs=["documents"])
        write_json(results / "plan.json", self.plan.to_json())
        self.index()

    def _job(self, stage, shard, output, inputs=None, ledgers=(), **params):
        outputs = {"out": self.results / output, "ledger": self.results / f"ledger/{stage}/{shard}.json"}
        inputs = {**(inputs or {}), "ledger": [self.results / f"ledger/{name}.json" for name in ledgers]}
        return Job(inputs, outputs, params, Units("chunk", "vector"))

    def chunk(self, shard, texts, **params):
        def work(job):
            with TableWriter(job.staged("out"), CHUNKS, LOOKED_UP_CHARACTERS) as table:
                for n, text in enumerate(texts):
                    place = {"document_id": f"case/{n}", "source": "law", "index": 0, "start": 5, "end": 5 + len(text)}
                    table.write({"chunk_id": f"law/case/{n}@{shard}#0", "text": text, "n_tokens": 9, **place, **WHOLE})

        self._job("chunk", shard, f"chunks/{shard}.parquet", **params).run(work)

    def embed(self, shard, vectors, **params):
        def work(job):
            with TableWriter(job.staged("out"), embeddings_schema(256)) as table:
                for n, vector in enumerate(vectors):
                    table.write({"chunk_id": f"law/case/{n}@{shard}#0", "vector": vector.tolist()})
            job.ledger.measure(dimension=256)

        self._job("embed", shard, f"embeddings/{shard}.parquet", **params).run(work)

    def index(self):
        tables = {name: [self.results / name / f"{s}.parquet" for s in TEXTS] for name in ("embeddings", "chunks")}
        ledgers = [self.results / f"ledger/{stage}/{shard}.json" for stage in ("embed", "chunk") for shard in TEXTS]
        job = Job(
            {**tables, "ledger": ledgers},
            {"index": self.results / "index", "ledger": self.results / "ledger/index/all.json"},
            {"settings": {}, "embed": {"model": MODEL, "revision": None}},
            Units("vector", "entry"),
            identity=describe_query_model(EmbedSettings(model=MODEL).model_dump()),
            relevant={"embeddings": build_index._versions},
        )
        job.run(build_index.build_index)
        return job

    def searcher(self):
        return Searcher(self.results, self.plan.embedded_shards, 1)


@pytest.fixture
def run(tmp_path):
    return SmallRun(tmp_path / "results/small")


def test_a_question_in_the_words_of_a_chunk_finds_it_with_document_offsets_score_and_text(run):
    searcher = run.searcher()
    for shard, texts in TEXTS.items():
        for n, text in enumerate(texts):
            first = searcher.search(text)[0]
            assert first.text == text
            assert (first.rank, first.source, first.document) == (1, "law", f"case/{n}")
            assert (first.start, first.end, first.chunk) == (5, 5 + len(text), f"law/case/{n}@{shard}#0")
            assert first.score == pytest.approx(1, abs=1e-5)
    assert len(searcher.search("법", k=3)) == 3
    assert [one.rank for one in searcher.search("법", k=10)] == [1, 2, 3, 4, 5]


def test_a_question_that_is_not_composed_is_the_same_question(run):
    import unicodedata

    searcher = run.searcher()
    assert searcher.search(unicodedata.normalize("NFD", "손해배상")) == searcher.search("손해배상")


def test_an_empty_question_is_refused(run):
    with pytest.raises(ValueError, match="empty"):
        run.searcher().search("  \n")


def test_no_index_is_told(run):
    (run.results / "index/index.json").unlink()
    with pytest.raises(CannotSearch, match="there is no index"):
        run.searcher()


def test_an_index_of_an_earlier_form_is_refused(run):
    (run.results / "index/index.json").write_text('{"kind": "exact"}')
    with pytest.raises(CannotSearch, match="earlier version"):
        run.searcher()


def test_vectors_that_are_newer_than_the_index_are_named(run):
    run.embed("law-0001", np.eye(2, 256, dtype=np.float32), model="other")
    with pytest.raises(CannotSearch, match=r"law-0001.*run the workflow to its end"):
        run.searcher()
    run.index()
    assert run.searcher()


def test_chunks_that_are_newer_than_the_index_are_named(run):
    run.chunk("law-0000", ["바뀐 글", "다른 글", "새 글"], strategy="other")
    with pytest.raises(CannotSearch, match="law-0000"):
        run.searcher()


def test_a_shard_that_is_planned_but_not_indexed_is_named(run):
    with pytest.raises(CannotSearch, match="law-0007"):
        Searcher(run.results, [*TEXTS, "law-0007"], 1)


def test_chunks_that_change_while_questions_are_answered_are_noticed(run):
    searcher = run.searcher()
    (run.results / "chunks/law-0001.parquet").unlink()
    with pytest.raises(CannotSearch, match="has changed"):
        searcher.search("교통사고")
    shutil.copy(run.results / "chunks/law-0000.parquet", run.results / "chunks/law-0001.parquet")
    with pytest.raises(CannotSearch, match="not those of the index"):
        searcher.search("교통사고")


def test_the_index_is_built_anew_when_the_version_changes_though_its_vectors_do_not(run):
    first = json.loads((run.results / "index/index.json").read_text())["embedding_version"]
    ((_, vectors),) = read_vectors(run.results / "embeddings/law-0001.parquet")
    run.embed("law-0001", vectors, batch_tokens=7)
    job = run.index()
    assert job.ledger.reused == 0
    assert json.loads((run.results / "index/index.json").read_text())["embedding_version"] != first
    assert run.index().ledger.reused == 5


def test_the_ledger_of_the_index_tells_kind_and_size_and_its_journal_is_gone(run):
    ledger = json.loads((run.results / "ledger/index/all.json").read_text())
    assert (ledger["measured"]["kind"], ledger["measured"]["vectors"], ledger["measured"]["dimension"]) == (
        "exact",
        5,
        256,
    )
    assert (ledger["in"], ledger["out"]) == (5, 5)
    assert not (run.results / "journal/index/all").exists()


def call(monkeypatch, capsys, *args, lines=""):
    monkeypatch.setattr(sys, "argv", ["search.py", *map(str, args)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code = search.main()
    return (code, *capsys.readouterr())


def test_the_command_answers_a_question_as_lines_and_as_json(run, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "교통사고의 손해배상 책임", "--results", run.results, "-k", 2)
    assert code == 0
    assert "law/case/0, characters 5 to 18" in out
    assert out.count("characters") == 2
    code, out, _ = call(monkeypatch, capsys, "교통사고의 손해배상 책임", "--results", run.results, "--json")
    answer = json.loads(out)
    assert answer["hits"][0]["text"] == "교통사고의 손해배상 책임"
    assert answer["query"] == "교통사고의 손해배상 책임"
    assert set(answer["hits"][0]) == {"rank", "score", "source", "document", "start", "end", "text", "chunk"}


def test_what_a_terminal_would_obey_is_spelled_out():
    """Texts and ids are others': an escape sequence would set the terminal's title, or hide what follows."""
    found = Found(1, 0.5, "web", "a\x1b]0;b\x07\nc", 0, 9, "글\x1b[8m 숨은\n\n글\u202e", "web/a#0")
    lines = search.lines_of("물음", [found], 0.1)
    assert lines[1:] == [
        "  1. 0.5000  web/a\\x1b]0;b\\x07 c, characters 0 to 9",
        "     글\\x1b[8m 숨은 글\\u202e",
        "",
    ]


def test_questions_from_standard_input_are_answered_line_by_line_and_an_empty_one_stops_nothing(
    run, monkeypatch, capsys
):
    lines = "소형위성\n\n토종씨앗\n"
    code, out, _ = call(monkeypatch, capsys, "--results", run.results, "--json", lines=lines)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [answer["query"] for answer in answers] == ["소형위성", "", "토종씨앗"]
    assert "empty" in answers[1]["error"]
    assert answers[2]["hits"]
    _, out, err = call(monkeypatch, capsys, "--results", run.results, lines=lines)
    assert "the question is empty" in err
    assert out.count("characters") == 10


def command(run, *arguments, **options):
    script = [sys.executable, search.__file__, *arguments, "--results", str(run.results)]
    return subprocess.Popen(script, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_a_question_that_is_no_utf8_is_told_and_stops_nothing(run):
    strict = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"}
    with command(run, "--json", stdin=subprocess.PIPE, env=strict) as answering:
        out, err = answering.communicate(b"\xff\xfe\n" + "소형위성\n".encode())
    refused, answered = map(json.loads, out.splitlines())
    assert refused == {"query": "\\udcff\\udcfe", "error": "the question is not UTF-8"}
    assert answered["hits"]
    assert (answering.returncode, err) == (0, b"")


def test_who_reads_no_further_gets_no_traceback(run):
    with command(run, "소형위성") as answering:
        answering.stdout.close()
        assert answering.stderr.read() == b""
    assert answering.returncode == -signal.SIGPIPE


def test_ctrl_c_ends_the_questions_without_a_traceback(run):
    with command(run, "--json", stdin=subprocess.PIPE) as answering:
        answering.stdin.write("소형위성\n".encode())
        answering.stdin.flush()
        assert json.loads(answering.stdout.readline())["hits"]
        answering.send_signal(signal.SIGINT)
        assert answering.stderr.read() == b""
    assert answering.returncode == -signal.SIGINT


def test_the_command_tells_what_is_missing(run, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit, match="there is no run in results/nowhere"):
        call(monkeypatch, capsys, "서울", "--run", "nowhere")
    with pytest.raises(SystemExit) as usage:
        call(monkeypatch, capsys, " ", "--results", run.results)
    assert usage.value.code == 2
    (run.results / "index/index.json").unlink()
    with pytest.raises(SystemExit, match="there is no index"):
        call(monkeypatch, capsys, "서울", "--results", run.results)
