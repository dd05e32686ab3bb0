"""A run that scripts/search.py can be asked in, made without the work of its stages, and how long answers take."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sides import CORES

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "resources/models/embed-ko-demo"

SENTENCE = "원고가 대신 구하는 데 든 비용은 통상의 손해에 포함되고, 피고는 이를 배상할 책임이 있다. "
QUESTIONS = (
    "전세 계약을 해지하려면 어떻게 해야 합니까?",
    "손해를 배상할 책임",
    "해고된 근로자가 복직을 구할 수 있는 기간",
    "상속을 포기하는 절차와 필요한 서류",
    "음주 운전으로 취소된 면허",
)

# The run


def make_run(results: Path, parts: Iterable[Any]) -> None:
    """Leave chunks with texts, their vectors and the index, each with its ledger, and the plan.

    ``parts`` are the vectors of a shard each, of the bundled model's dimension.
    """
    from malgeul.plan import DocumentShard, Plan
    from malgeul.shards.files import write_json

    shards = []
    for number, vectors in enumerate(parts):
        shards.append(f"bench-{number:04d}")
        _make_shard(results, shards[-1], vectors)
    _build_index(results, shards)
    documents = {shard: DocumentShard("bench", k, len(shards), 1, "") for k, shard in enumerate(shards)}
    write_json(results / "plan.json", Plan(documents=documents, embed_inputs=["documents"]).to_json())


def _make_shard(results: Path, shard: str, vectors: Any) -> None:
    import pyarrow.parquet as pq

    from malgeul.embedding.vectors import stored, stored_as, to_table
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Units
    from malgeul.shards.tables import CHUNKS, LOOKED_UP_CHARACTERS, ROWS_PER_GROUP, TableWriter

    count, dimension = vectors.shape
    ids = [f"bench/{shard}/{k}#0" for k in range(count)]

    def write_chunks(job: Job) -> None:
        about = {"source": "bench", "index": 0, "start": 0, "end": 400, "n_tokens": 200}
        about |= {"overlap": 0, "level": "document", "size": "standard", "query_type": None}
        with TableWriter(job.staged("chunks"), CHUNKS, LOOKED_UP_CHARACTERS) as table:
            for k, name in enumerate(ids):
                text = f"{shard}의 {k}번째 조각. {SENTENCE * 8}"[:400]
                table.write({"chunk_id": name, "document_id": f"{shard}/{k}", "text": text, **about})

    def write_vectors(job: Job) -> None:
        table = to_table(ids, stored(vectors, stored_as("float32", dimension)), [b"0" * 16] * count, "float32")
        pq.write_table(table, job.staged("embeddings"), compression="zstd", row_group_size=ROWS_PER_GROUP)
        job.ledger.measure(dimension=dimension)

    for stage, name, write in (("chunk", "chunks", write_chunks), ("embed", "embeddings", write_vectors)):
        outputs = {name: results / f"{name}/{shard}.parquet", "ledger": results / f"ledger/{stage}/{shard}.json"}
        Job({}, outputs, {}, Units("chunk", "chunk")).run(write)


def _build_index(results: Path, shards: list[str]) -> None:
    from build_index import build_index
    from malgeul.embedding.query_model import describe_query_model
    from malgeul.embedding.settings import EmbedSettings
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Units

    inputs = {name: [results / f"{name}/{shard}.parquet" for shard in shards] for name in ("embeddings", "chunks")}
    ledgers = [results / f"ledger/{stage}/{shard}.json" for stage in ("embed", "chunk") for shard in shards]
    Job(
        {**inputs, "ledger": ledgers},
        {"index": results / "index", "ledger": results / "ledger/index/all.json"},
        {"settings": {}},
        Units("vector", "entry"),
        threads=CORES,
        identity=describe_query_model(EmbedSettings(model=str(MODEL)).model_dump()),
    ).run(build_index)


# The questions


def _command(results: Path) -> list[str]:
    return [sys.executable, str(ROOT / "scripts/search.py"), "--results", str(results), "--json"]


def ask_once(results: Path, question: str) -> float:
    """Return the seconds of a question on the command line: from the start of the process to its end."""
    started = time.perf_counter()
    finished = subprocess.run([*_command(results), question], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    _check(finished.stdout)
    return seconds


def ask_on(results: Path, questions: Iterable[str]) -> list[float]:
    """Return the seconds of every question on the standard input of one process: from its line to its answer's.

    One question before them is not counted: it waits until all is loaded.
    """
    each = []
    with subprocess.Popen(
        _command(results), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for question in (QUESTIONS[0], *questions):
            started = time.perf_counter()
            process.stdin.write(f"{question}\n")
            line = process.stdout.readline()
            each.append(time.perf_counter() - started)
            _check(line)
        process.stdin.close()
    return each[1:]


def _check(line: str) -> None:
    assert json.loads(line)["hits"], line
