"""Tiny models with the bundled tokenizer, and tasks that a model of two layers learns in a few steps."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOKENIZER = ROOT / "resources/models/tokenizer-ko-demo"
PIECES = 8000
NAMES = range(1000, 1012)


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny matrices gain nothing from threads, which lose much on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_base(folder: Path, *, dropout: float = 0.0, positions: int = 64) -> Path:
    """Write a random BERT of 2 layers of 64 with the bundled tokenizer."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=PIECES,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny-bert")


@pytest.fixture(scope="session")
def base_with_dropout(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny-bert-dropout", dropout=0.1)


def mention_rows(number: int, seed: int) -> list[dict]:
    """Rows with a masked mention of two pieces, which the pieces around it tell."""
    draw = random.Random(seed)
    rows = []
    for _ in range(number):
        name = draw.choice(NAMES)
        around = [name + 1000] * draw.randrange(4, 12)
        mask = 4
        rows.append(
            {
                "input_ids": [2, *around, mask, mask, 3],
                "labels": [-100] * (1 + len(around)) + [name, name + 500, -100],
            }
        )
    return rows


def sequence_rows(number: int, seed: int) -> list[dict]:
    """Rows of one piece again and again, so that those left tell the masked ones."""
    draw = random.Random(seed)
    return [{"input_ids": [2, *[draw.choice(NAMES)] * draw.randrange(8, 16), 3]} for _ in range(number)]


def save_dataset(folder: Path, make, *, train: int = 256, validation: int = 48, test: int = 48) -> Path:
    """Write rows as a DatasetDict on disk, as merging does."""
    from datasets import Dataset, DatasetDict

    sizes = {"train": train, "validation": validation, "test": test}
    splits = {name: Dataset.from_list(make(size, k)) for k, (name, size) in enumerate(sizes.items())}
    DatasetDict(splits).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="session")
def mentions(tmp_path_factory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("data") / "mentions", mention_rows)


@pytest.fixture(scope="session")
def sequences(tmp_path_factory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("data") / "sequences", sequence_rows)


def write_lines(file: Path, records) -> Path:
    file.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return file


TOPICS = {"야구": "투수 타자 홈런 구장 안타", "날씨": "비 눈 바람 구름 기온", "음식": "국수 김치 만두 식당 반찬"}


def labelled(number: int, seed: int = 0) -> list[dict]:
    """Texts of words of one of three topics, most of the first."""
    draw = random.Random(seed)
    records = []
    for k in range(number):
        label = draw.choices(list(TOPICS), weights=(3, 2, 1))[0]
        words = draw.choices(TOPICS[label].split(), k=draw.randrange(4, 9))
        records.append({"text": f"{' '.join(words)} {k}", "label": label})
    return records


@pytest.fixture(scope="session")
def labelled_file(tmp_path_factory) -> Path:
    return write_lines(tmp_path_factory.mktemp("data") / "topics.jsonl", labelled(360))


def question_pairs(number: int, seed: int = 0) -> list[dict]:
    """Questions of two words with answers of two others, each of which always stands for the same word."""
    draw = random.Random(seed)
    asked = ["날씨", "야구", "국수", "바다", "학교", "시장", "노래", "병원"]
    answered = ["구름", "투수", "식당", "파도", "교실", "상인", "가수", "의사"]
    records = []
    for k in range(number):
        one, other = draw.sample(range(len(asked)), 2)
        query = f"{asked[one]} {asked[other]} {k}"
        records.append({"query": query, "positive": f"{answered[one]} {answered[other]}"})
    return records


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory) -> Path:
    return write_lines(tmp_path_factory.mktemp("data") / "pairs.jsonl", question_pairs(400))


@pytest.fixture(scope="session")
def scored_file(tmp_path_factory) -> Path:
    records = question_pairs(30, 5)
    near = [{"text_a": r["query"], "text_b": r["positive"], "score": 1.0} for r in records[:15]]
    far = [
        {"text_a": a["query"], "text_b": b["positive"], "score": 0.0}
        for a, b in zip(records[:15], records[15:], strict=True)
    ]
    return write_lines(tmp_path_factory.mktemp("data") / "scored.jsonl", [*near, *far])
