"""Jobs of the text wing, made by hand, and text that passes every rule."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from kiwipiepy import Kiwi

from malgeul.shards.inputs import InputFile
from malgeul.shards.ledger import read_ledger
from malgeul.shards.tables import read_rows
from malgeul.text.analyzer_process import ProcessAnalyzer
from malgeul.text.morphology import MorphemeAnalyzer
from malgeul.text.records import source_digests

PROSE = """지난 토요일에 부산 해운대에서 바다를 치우는 모임이 열렸다. 아침부터 학생들이 장갑을 끼고 모래밭을 걷는다.
김민수 씨는 작년에도 왔다고 말했다. 그는 올해 쓰레기가 조금 줄어든 것 같다며 웃었다. 사람들은 점심으로 김밥을 먹었다.
오후에는 부산시 직원이 나와 모은 쓰레기를 나누는 방법을 알려 주었다. 아이들은 유리와 플라스틱을 따로 담았다.
모임은 다음 달에도 같은 곳에서 열린다. 누구나 올 수 있고, 장갑은 현장에서 받을 수 있다고 한다. 비가 오면 미룬다."""


def prose(number: int = 0) -> str:
    """Return a text that the default profile keeps, another one for every number."""
    return f"{PROSE}\n{number}번째 모임에는 모두 {number + 30}명이 왔다."


def body(seed: int) -> str:
    """Return a text that is like no other."""
    rng = np.random.default_rng(seed)
    words = [
        "".join(rng.choice(list("가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허"), 3)) for _ in range(40)
    ]
    return " ".join(words) + "."


@pytest.fixture(autouse=True)
def _one_kiwi(monkeypatch):
    """Load Kiwi once per number of threads, not once per job."""
    monkeypatch.setattr(MorphemeAnalyzer, "kiwi", property(lambda analyzer: load_kiwi(analyzer.threads)))


@pytest.fixture(autouse=True)
def _no_process(monkeypatch):
    """Analyse in the test's own process; test_analyzer_process.py has the real one."""

    def analyze(self, texts):
        return MorphemeAnalyzer(self.threads, self.measures).analyze(texts)

    monkeypatch.setattr(ProcessAnalyzer, "analyze", analyze)


@cache
def load_kiwi(threads: int):
    return Kiwi(num_workers=threads)


@pytest.fixture
def ingest(make_job, tmp_path, results):
    """Ingest files into a shard and return the ledger; a file is its name and its bytes, or None if it is gone."""
    from ingest_text import ingest_text

    def run(files, shard="web-0000", *, problems=None, folder="input"):
        paths = []
        for name, data in files.items():
            paths.append(tmp_path / folder / name)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                paths[-1].write_bytes(data)
        problems = problems or {}
        described = [
            InputFile(name, len(data or b""), str(path), problems.get(name))
            for (name, data), path in zip(files.items(), paths, strict=True)
        ]
        job = make_job(
            "ingest",
            shard,
            {"text": f"text/{shard}.parquet"},
            units=("record", "document"),
            source={"name": "web", "format": "jsonl", "text_field": "text", "id_field": "id"},
            files=[asdict(file) for file in described],
            settings={"max_record_bytes": 1 << 20},
        )
        job.relevant = {"files": lambda job: source_digests(job.params)}
        job.run(ingest_text)
        return read_ledger(results / "ledger" / "ingest" / f"{shard}.json")

    return run


def jsonl(*rows) -> bytes:
    """Return rows as JSON lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@pytest.fixture
def find(ingest, make_job, results):
    """Ingest and screen texts by shard and id, find duplicates, and return the table's rows and the ledger.

    A shard's texts are a dictionary, or pairs where an id occurs twice.
    """

    from find_duplicates import find_duplicates
    from screen_text import screen_text

    def run(shards, boilerplate=100, mask_personal_numbers=True):
        for shard, texts in shards.items():
            pairs = texts.items() if isinstance(texts, dict) else texts
            ingest({"a.jsonl": jsonl(*({"id": name, "text": text} for name, text in pairs))}, shard=shard)
            job = make_job(
                "screen",
                shard,
                {"screened": f"screened/{shard}.parquet"},
                ledgers=[f"ingest/{shard}.json"],
                inputs={"text": [results / "text" / f"{shard}.parquet"]},
                profile="malgeul",
                thresholds={"too_short": 8, "few_sentences": 0},
                measure="needed",
            )
            job.run(screen_text)
        job = make_job(
            "dedup",
            "all",
            {"duplicates": "duplicates.parquet", "boilerplate": "boilerplate.parquet"},
            ledgers=[f"screen/{shard}.json" for shard in shards],
            inputs={
                folder: [results / folder / f"{shard}.parquet" for shard in shards] for folder in ("screened", "text")
            },
            sources={shard: shard.partition("-")[0] for shard in shards},
            boilerplate=boilerplate,
            mask_personal_numbers=mask_personal_numbers,
        )
        job.run(find_duplicates)
        return [tuple(row.values()) for row in read_rows(results / "duplicates.parquet")], read_ledger(
            job.outputs["ledger"]
        )

    return run
