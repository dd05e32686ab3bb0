"""A run as the wings leave it, fabricated: a plan, the ledgers of all stages, tables, transcripts, logs, benchmarks."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from malgeul.dataset.samples import ENTITY_CAP, SAMPLES
from malgeul.plan import ALL, DocumentShard, Plan, RecordingShard, TextShard
from malgeul.report.stages import STAGES
from malgeul.shards.faults import Fault
from malgeul.shards.files import write_json
from malgeul.shards.inputs import InputFile
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Units
from malgeul.shards.tables import CHUNKS, DOCUMENTS, TableWriter, embeddings_schema
from malgeul.speech.conversation import CONVERSATION
from malgeul.text.boilerplate import BOILERPLATE
from malgeul.text.duplicates import DUPLICATES
from malgeul.text.filtering import FEATURES, FILTERED, REJECTED, SCREENED

HOSTILE = "<script>alert('말글')</script>\u202egpj.m4a"
BYTES = "caf\udce9.m4a"
"""A file name that is not UTF-8, as Python reads it."""
START = 1_800_000_000.0
"""When the first job of a fabricated run started."""

RECORDINGS = {
    "calls-0000": ["통화 녹음 한빛은행.m4a", "택배 주소 변경.wav", "통화 녹음 한빛은행 (1).m4a", HOSTILE],
    "calls-0001": ["할머니.opus", BYTES, "주간회의.flac"],
}
DOCUMENTS_OF = {"web-0000": 12, "web-0001": 10, "notes-0000": 6}
PROSE = "김민수 씨는 토요일에 해운대에서 바다를 치웠다. 모임에는 서른 명이 왔고, 점심으로 김밥을 먹었다. "


def channel_ids(shard: str) -> list[str]:
    """The recordings of a shard that are converted, by id."""
    return [f"{shard}-{n}" for n, name in enumerate(RECORDINGS[shard]) if name not in {HOSTILE} and "(1)" not in name]


def fabricated_plan() -> Plan:
    recordings = {
        shard: RecordingShard("calls", [InputFile(name, 1000, f"/data/calls/{name}") for name in names])
        for shard, names in RECORDINGS.items()
    }
    text = {
        shard: TextShard(shard.rpartition("-")[0], [InputFile(f"{shard}.jsonl", 5000, f"/data/{shard}.jsonl")])
        for shard in DOCUMENTS_OF
    }
    return Plan(
        recordings=recordings,
        text=text,
        documents={"law-0000": DocumentShard("law", 0, 1, 9, "d")},
        text_sources={"web": {}, "notes": {}},
        databases={"law": {"path": "law.sqlite"}},
        ignored={"calls": {"jpg": 3, "txt": 1}},
        embed_inputs=["documents", "text", "transcripts"],
        write_back="copy",
    )


def fabricated_row(recording: str) -> dict[str, Any]:
    """A row of conversation/ of a recording with a hostile name, one speaker, a doubt and two lexicon spans."""
    span = {"rule": "demand.transfer", "category": "demand", "start": 0, "end": 2, "quote": "이체"}
    return {
        "id": recording,
        "name": f"{recording} {HOSTILE}",
        "seconds": 63.0,
        "no_speech": False,
        "quality": {"missing_seconds": 2.5, "decoding_errors": 1},
        "interaction": {"talk_seconds": 60.0},
        "voices": [{"speaker": "0", "channel": 0}],
        "evidence": [span, span],
        "trust": {"segments": 2, "flagged_segments": 1},
        "unmeasured": [],
    }


class FabricatedRun:
    """Makes the shards of a plan one after the other, with clocks of its own."""

    def __init__(self, results: Path) -> None:
        self.results, self.plan = results, fabricated_plan()
        self.clock = START
        self.given: dict[tuple[str, str], list[str]] = {}

    def ledger_file(self, stage: str, shard: str) -> Path:
        return self.results / "ledger" / stage / f"{shard}.json"

    def taken(self, stage: str, shard: str) -> list[str]:
        return [item for parent in self.plan.parents_of(stage, shard) for item in self.given[parent]]

    def make(
        self,
        stage: str,
        shard: str,
        units: tuple[str, str],
        outputs: dict[str, str],
        work: Callable[[Job], None],
        seconds: float = 5.0,
    ) -> None:
        paths = {name: self.results / place for name, place in outputs.items()}
        given: list[str] = []

        def recorded(job: Job) -> None:
            give = job.ledger.give
            job.ledger.give = lambda child: (give(child), given.append(child))[0]  # type: ignore[method-assign]
            work(job)

        Job({}, {**paths, "ledger": self.ledger_file(stage, shard)}, {}, Units(*units), packages=("pyarrow",)).run(
            recorded
        )
        self.given[stage, shard] = given
        self.change(stage, shard, started=self.clock, seconds=seconds)
        self.clock += seconds * 0.6
        self._log_and_benchmark(stage, shard, seconds)

    def read(self, stage: str, shard: str) -> dict[str, Any]:
        """Return a ledger as it is on disk."""
        return json.loads(self.ledger_file(stage, shard).read_text(encoding="utf-8"))

    def change(self, stage: str, shard: str, **fields: Any) -> None:
        """Change fields of a ledger on disk, as a fault in its stage would."""
        write_json(self.ledger_file(stage, shard), self.read(stage, shard) | fields)

    def ledger(self, stage: str, shard: str) -> Ledger:
        return Ledger.from_json(self.read(stage, shard))

    def _log_and_benchmark(self, stage: str, shard: str, seconds: float) -> None:
        rule = STAGES[stage].rules[0]
        log = self.results / "logs" / rule / f"{shard}.log"
        benchmark = self.results / "benchmarks" / rule / f"{shard}.jsonl"
        for file in (log, benchmark):
            file.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{stage} {shard}: done\n", encoding="utf-8")
        sampled = {"s": seconds, "max_rss": 300.0 + 10 * seconds, "cpu_time": seconds * 1.7}
        record = sampled if seconds > 1 else {"s": seconds, "max_rss": "NA", "cpu_time": "NA"}
        benchmark.write_text(json.dumps(record) + "\n", encoding="utf-8")

    # The wings

    def make_everything(self) -> None:
        for shard in self.plan.recordings:
            self._recordings(shard)
        for shard in self.plan.text:
            self._ingest(shard)
        for shard in self.plan.text_shards:
            self._screen(shard)
        if self.plan.text:
            repeated = {"shard": "web-0001", "id": "web-0001-3", "row": 3, "kind": "duplicate", "duplicate_of": "web/1"}
            notice = {
                "line": 7,
                "text": "무단 전재 및 재배포를 금지합니다.",
                "documents": 212,
                "first": "web/web-0000-0",
            }
            tables = {"duplicates": (DUPLICATES, [repeated]), "boilerplate": (BOILERPLATE, [notice])}
            self._decide("dedup", ("document", "duplicate"), tables, found=["web-0001/web-0001-3"])
        for shard in self.plan.text_shards:
            self._filter_and_select(shard)
        frequent = {"entity": "서울", "largest_priority": 9, "samples": 1204}
        tables = {"entity_cap": (ENTITY_CAP, [frequent])}
        self._decide("cap", ("sample", "saturated entity"), tables, found=["서울"])
        for shard in self.plan.text_shards:
            self._pass("tokenize", shard, ("sample", "row"), {"tokenized": f"tokenized/{shard}"}, reject="entity_cap")
        self._pass("merge", ALL, ("row", "row"), {"dataset": "dataset"}, seconds=0.4)
        for shard in self.plan.documents:
            self._export(shard)
        for shard in self.plan.embedded_shards:
            self._chunk_and_embed(shard)
        if self.plan.embedded_shards:
            self._pass("index", ALL, ("vector", "entry"), {"index": "index"}, seconds=0.7)
        for database in self.plan.written_databases:
            self._pass("write_back", database, ("vector", "vector"), {"database": f"database/{database}.sqlite"})
        write_json(self.results / "plan.json", self.plan.to_json())

    def _recordings(self, shard: str) -> None:
        files = self.plan.recordings[shard].files
        ids = channel_ids(shard)

        def convert(job: Job) -> None:
            good = iter(ids)
            for file in files:
                if file.name == HOSTILE:
                    job.ledger.quarantine(file.path, Fault("NOT_AUDIO", f"{file.name} is a playlist", "probed"))
                elif "(1)" in file.name:
                    job.ledger.reject(file.path, "duplicate")
                    job.ledger.note(file.path, what="duplicate", duplicate_of=ids[0], alias=file.name)
                else:
                    recording = next(good)
                    job.ledger.use(file.path)
                    job.ledger.give(recording)
                    (job.staged("recordings") / f"{recording}.wav").write_bytes(b"RIFF" + recording.encode())
            job.ledger.measure(audio_seconds=620.5, missing_seconds=0.0, separate_channels=0)

        self.make("convert", shard, ("recording", "channel"), {"recordings": f"recordings/{shard}"}, convert, 8)

        def transcribe(job: Job) -> None:
            for recording in self.taken("transcribe", shard):
                said = {
                    "start": 0.0,
                    "end": 4.24,
                    "channel": 0,
                    "flags": ["low_logprob"],
                    "text": f"여보세요? {HOSTILE}",
                }
                reply = {"start": 4.5, "end": 63.0, "speaker": "나", "flags": [], "text": "네, 한빛은행입니다."}
                transcript = {"id": recording, "segments": [said, reply], "text": "여보세요? 네, 한빛은행입니다."}
                write_json(job.staged("transcripts") / f"{recording}.json", transcript)
                job.ledger.use(recording)
                job.ledger.give(recording)
            job.ledger.device = {"name": "NVIDIA H200", "dtype": "float16"}
            job.ledger.measure(audio_seconds=620.5, windows=24)

        self.make(
            "transcribe", shard, ("channel", "recording"), {"transcripts": f"transcripts/{shard}"}, transcribe, 21
        )

        def analyze(job: Job) -> None:
            with TableWriter(job.staged("conversation"), CONVERSATION) as table:
                for recording in self.taken("analyze", shard):
                    table.write(fabricated_row(recording))
                    (job.staged("pages") / f"{recording}.html").write_text("a page", encoding="utf-8")
                    job.ledger.use(recording)
                    job.ledger.give(recording)

        places = {"conversation": f"conversation/{shard}.parquet", "pages": f"pages/{shard}"}
        self.make("analyze", shard, ("recording", "recording"), places, analyze, 2.5)
        name = f"transcripts-{shard}"

        def ingest(job: Job) -> None:
            with TableWriter(job.staged("text"), DOCUMENTS) as table:
                for recording in self.taken("ingest", name):
                    job.ledger.use(recording)
                    job.ledger.give(recording)
                    table.write({"id": recording, "text": PROSE, "source": "transcripts", "meta": "{}"})

        self.make("ingest", name, ("recording", "document"), {"text": f"text/{name}.parquet"}, ingest, 0.6)

    def _ingest(self, shard: str) -> None:
        def ingest(job: Job) -> None:
            with TableWriter(job.staged("text"), DOCUMENTS) as table:
                for n in range(DOCUMENTS_OF[shard]):
                    text = f"{PROSE * 4}{HOSTILE} {n}번째 글에서 김민수 씨가 말했다. {PROSE * 3}"
                    table.write({"id": f"{shard}-{n}", "text": text, "source": shard[:-5], "meta": "{}"})
                    job.ledger.use(f"{shard}.jsonl:{n}")
                    job.ledger.give(f"{shard}-{n}")
            job.ledger.quarantine(f"{shard}.jsonl:{99}", Fault("BROKEN_JSON", "Expecting ',' delimiter: column 12"))
            job.ledger.measure(characters=120_000)

        self.make("ingest", shard, ("record", "document"), {"text": f"text/{shard}.parquet"}, ingest, 1.5)

    def _screen(self, shard: str) -> None:
        def screen(job: Job) -> None:
            with TableWriter(job.staged("screened"), SCREENED) as table:
                for document in self.taken("screen", shard):
                    job.ledger.use(document)
                    job.ledger.give(document)
                    table.write({"id": document, "features": {"characters": 431.0}})

        self.make("screen", shard, ("document", "document"), {"screened": f"screened/{shard}.parquet"}, screen, 1.2)

    def _filter_and_select(self, shard: str) -> None:
        ids = self.taken("filter", shard)
        source = shard.rpartition("-")[0]
        text = PROSE * 4 + "그 뒤에 김민수 씨가 다시 왔다."
        names = [{"surface": "김민수", "start": text.find("김민수"), "end": text.find("김민수") + 3, "tag": "NNP"}]
        last = text.rfind("김민수")
        names.append({"surface": "김민수", "start": last, "end": last + 3, "tag": "NNP"})
        measures = [field.name for field in FEATURES]
        features = dict.fromkeys(measures) | {"characters": 431.0, "hangul": 0.7312}

        def filter_text(job: Job) -> None:
            with (
                TableWriter(job.staged("filtered"), FILTERED) as kept,
                TableWriter(job.staged("rejected"), REJECTED) as gone,
            ):
                for n, document in enumerate(ids):
                    if n % 5 == 3:
                        reason, value, limit = [("too_short", 120.0, 200.0), ("low_hangul", 0.0213, 0.4)][n % 2]
                        row = {"id": document, "source": source, "reason": reason, "measured": value}
                        gone.write(row | {"threshold": limit, "features": features, "scores": {}})
                        job.ledger.reject(document, reason)
                        continue
                    row = {
                        "id": document,
                        "text": text,
                        "source": source,
                        "meta": "{}",
                        "features": features,
                        "scores": {},
                    }
                    kept.write(row | {"n_morphemes": 96, "mentions": names, "n_masked": 0})
                    job.ledger.use(document)
                    job.ledger.give(document)
            job.ledger.measure(characters_in=40_000, characters_out=31_000)

        places = {"filtered": f"filtered/{shard}.parquet", "rejected": f"rejected/{shard}.parquet"}
        self.make("filter", shard, ("document", "document"), places, filter_text, 6)

        def select(job: Job) -> None:
            with TableWriter(job.staged("samples"), SAMPLES) as table:
                for n, document in enumerate(self.taken("select", shard)):
                    if n % 4 == 2:
                        job.ledger.reject(document, "no_repeated_name")
                        continue
                    job.ledger.use(document)
                    for k in range(3):
                        sample = f"{source}/{document}@{k}"
                        job.ledger.give(sample)
                        table.write(
                            {
                                "sample_id": sample, "doc_id": document, "source": source, "split": "train",
                                "window_first": 0, "window_last": 96, "masked_index": 0,
                                "mention_starts": [], "mention_ends": [],
                                "entity": "김민수", "masked_start": last, "masked_end": last + 3,
                                "distance": last - names[0]["end"], "priority": k,
                            }
                        )  # fmt: skip

        self.make("select", shard, ("document", "sample"), {"samples": f"samples/{shard}.parquet"}, select, 2)

    def _export(self, shard: str) -> None:
        def export(job: Job) -> None:
            with TableWriter(job.staged("exported"), DOCUMENTS) as table:
                for n in range(9):
                    if n == 4:
                        job.ledger.reject(f"case/{n}", "too_short")
                        continue
                    table.write({"id": f"case/{n}", "text": PROSE, "source": "law", "meta": "{}"})
                    job.ledger.use(f"case/{n}")
                    job.ledger.give(f"case/{n}")

        place = {"exported": f"exported/{shard}.parquet"}
        self.make("export", shard, ("document", "document"), place, export, 1.2)

    def _chunk_and_embed(self, shard: str) -> None:
        documents = self.taken("chunk", shard)

        def chunk(job: Job) -> None:
            with TableWriter(job.staged("chunks"), CHUNKS) as table:
                for document in documents:
                    job.ledger.use(document)
                    for k in range(2):
                        row = {
                            "chunk_id": f"{shard}/{document}#{k}",
                            "document_id": document,
                            "source": "web",
                            "index": k,
                        }
                        place = {"start": 30 * k, "end": 30 * k + 40, "overlap": 10 * k, "level": "sentence"}
                        table.write(row | place | {"text": PROSE[:40], "n_tokens": 21, "size": "standard"})
                        job.ledger.give(row["chunk_id"])

        self.make("chunk", shard, ("document", "chunk"), {"chunks": f"chunks/{shard}.parquet"}, chunk, 1.1)

        def embed(job: Job) -> None:
            with TableWriter(job.staged("embeddings"), embeddings_schema(4)) as table:
                for chunk_id in self.taken("embed", shard):
                    table.write({"chunk_id": chunk_id, "vector": [0.5] * 4})
                    job.ledger.use(chunk_id)
                    job.ledger.give(chunk_id)
            job.ledger.measure(tokens=21 * job.ledger.taken.n)
            job.ledger.device = {"name": "NVIDIA H200", "dtype": "float16"}

        self.make("embed", shard, ("chunk", "vector"), {"embeddings": f"embeddings/{shard}.parquet"}, embed, 9)

    def _decide(
        self, stage: str, units: tuple[str, str], tables: dict[str, tuple[pa.Schema, list[Any]]], found: list[str]
    ) -> None:
        """Make a stage of the whole run that takes all, finds a few and writes tables."""

        def decide(job: Job) -> None:
            for item in self.taken(stage, ALL):
                job.ledger.use(item)
            for item in found:
                job.ledger.give(item)
            for name, (schema, rows) in tables.items():
                with TableWriter(job.staged(name), schema) as table:
                    for row in rows:
                        table.write(row)

        self.make(stage, ALL, units, {name: f"{name}.parquet" for name in tables}, decide, 1.4)

    def _pass(
        self,
        stage: str,
        shard: str,
        units: tuple[str, str],
        outputs: dict[str, str],
        reject: str | None = None,
        seconds: float = 2.5,
    ) -> None:
        """Make a shard of a stage that gives every id that it takes, or rejects a few."""

        def work(job: Job) -> None:
            for n, item in enumerate(self.taken(stage, shard)):
                if reject and n % 7 == 6:
                    job.ledger.reject(item, reject)
                    continue
                job.ledger.use(item)
                job.ledger.give(item)
            for name in outputs:
                place = job.staged(name)
                (place / "part.bin" if place.is_dir() else place).write_text(f"{stage} {shard}", encoding="utf-8")

        self.make(stage, shard, units, outputs, work, seconds)


@pytest.fixture(scope="session")
def complete_run(tmp_path_factory) -> FabricatedRun:
    """A complete run in which every stage has shards. Not to be changed."""
    fabricated = FabricatedRun(tmp_path_factory.mktemp("fabricated") / "results" / "made")
    fabricated.make_everything()
    return fabricated


@pytest.fixture
def run(complete_run, tmp_path) -> FabricatedRun:
    """A copy of the complete run to do with as the test likes."""
    own = copy.copy(complete_run)
    own.results = tmp_path / "results" / "made"
    shutil.copytree(complete_run.results, own.results, ignore=shutil.ignore_patterns("kept", "journal"))
    return own


@pytest.fixture(scope="session")
def text_run(tmp_path_factory) -> FabricatedRun:
    """A run over text alone: no recordings, no database, nothing embedded. Not to be changed."""
    fabricated = FabricatedRun(tmp_path_factory.mktemp("fabricated") / "results" / "text")
    fabricated.plan = replace(
        fabricated.plan, recordings={}, documents={}, databases={}, ignored={}, embed_inputs=[], write_back="off"
    )
    fabricated.make_everything()
    return fabricated
