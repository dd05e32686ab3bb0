"""The stages as a reader meets them: what they are called, which flow they belong to, where their jobs log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from malgeul.plan import Plan


@dataclass(frozen=True)
class Stage:
    """A stage; ``rules`` are the folders of its logs and benchmarks, ``model`` says that its jobs ask for a GPU.

    ``finds`` names what a stage looks for through which nothing passes.
    """

    name: str
    title: str
    korean: str
    rules: tuple[str, ...]
    model: bool = False
    finds: str = ""


@dataclass(frozen=True)
class Flow:
    """A part of the DAG from one kind of input."""

    title: str
    korean: str
    stages: tuple[Stage, ...]


FLOWS = (
    Flow(
        "Recordings",
        "녹음",
        (
            Stage("convert", "Convert", "변환", ("convert_audio",)),
            Stage("diarize", "Tell speakers apart", "화자 나누기", ("diarize_audio",)),
            Stage("transcribe", "Transcribe", "받아쓰기", ("transcribe_audio",), model=True),
            Stage("classify", "Classify", "분류", ("classify_transcripts",), model=True),
            Stage("analyze", "Analyze", "대화 측정", ("analyze_conversation",)),
        ),
    ),
    Flow(
        "Text",
        "글",
        (
            Stage("ingest", "Ingest", "읽어 들이기", ("ingest_text", "ingest_stream", "ingest_transcripts")),
            Stage("screen", "Screen", "훑어보기", ("screen_text",)),
            Stage("dedup", "Find duplicates", "중복 찾기", ("find_duplicates",), finds="duplicate"),
            Stage("score", "Score", "점수 매기기", ("score_text",)),
            Stage("filter", "Filter", "거르기", ("filter_text",)),
            Stage("select", "Select samples", "표본 고르기", ("select_samples",)),
            Stage("cap", "Cap entities", "개체 상한", ("cap_entities",), finds="frequent entity"),
            Stage("tokenize", "Tokenize", "토큰화", ("tokenize_samples",)),
            Stage("merge", "Merge", "합치기", ("merge_dataset",)),
        ),
    ),
    Flow(
        "Documents and vectors",
        "문서와 벡터",
        (
            Stage("export", "Export", "내보내기", ("export_documents",)),
            Stage("chunk", "Chunk", "나누기", ("chunk_documents",)),
            Stage("embed", "Embed", "임베딩", ("embed_chunks",), model=True),
            Stage("index", "Index", "색인", ("build_index",)),
            Stage("write_back", "Write back", "되돌려 쓰기", ("write_back",)),
        ),
    ),
    Flow(
        "Trainings",
        "학습",
        (
            Stage("train", "Train", "학습", ("train_model",), model=True),
            Stage("evaluate", "Measure models", "모델 평가", ("evaluate_model",), model=True),
        ),
    ),
)

STAGES = {stage.name: stage for flow in FLOWS for stage in flow.stages}
"""Every stage by name, in the order of the flow."""


def job_file(results: Path, kind: str, plan: Plan, stage: str, shard: str, suffix: str) -> Path | None:
    """Return the log or benchmark (``kind`` is the folder) of a shard's job, or None where none was written.

    The shards of a large compressed file are written by one job, which is named after the file.
    """
    text = plan.text.get(shard)
    job = text.stream if stage == "ingest" and text and text.stream else shard
    files = (results / kind / rule / f"{job}{suffix}" for rule in STAGES[stage].rules)
    return next((file for file in files if file.is_file()), None)
