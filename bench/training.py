"""A step of training beside itself in plain float32, and beside transformers' Trainer as it comes, in one run.

    python bench/training.py [--model small|base] [--rows N] [--batch N] [--length N] [--runs N] [--only NAME ...]

Mention reference prediction from random weights on windows of random pieces, the vocabulary that of kf-deberta (130,000
pieces). On a GPU where there is one, else on the CPU. Every side runs in a process of its own, the sides in turn; the
first steps are not timed. The loss is that of the last steps: sides that compute the same must agree within noise.
Peak memory is what was allocated on the GPU, or the process's on a CPU.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sides import CORES, Result, clock, peak_mb, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts")]

SIZES = {
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
PIECES = 130_000
WARM = 4
"""Steps before the clock starts."""


def rows_of(work: dict[str, Any]) -> list[dict[str, list[int]]]:
    """Return windows with a mention of two pieces masked, which a piece at the start of the window tells."""
    import random

    draw = random.Random(0)
    rows = []
    for _ in range(work["rows"]):
        length = draw.randrange(work["length"] // 2, work["length"] + 1)
        name = draw.randrange(1000, 1100)
        ids = [2, name + 5000, *[draw.randrange(20_000, 21_000) for _ in range(length - 5)], 4, 4, 3]
        rows.append({"input_ids": ids, "labels": [-100] * (length - 3) + [name, name + 500, -100]})
    return rows


def make_model(folder: Path, size: str, length: int) -> None:
    """Write a BERT with random weights."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(vocab_size=PIECES, max_position_embeddings=length, pad_token_id=0, **SIZES[size])
    BertForMaskedLM(config).save_pretrained(folder)


def _steps(work: dict[str, Any]) -> int:
    return work["rows"] // work["batch"]


def _result(work: dict[str, Any], seconds: float, losses: Sequence[float]) -> Result:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "samples": (_steps(work) - WARM) * work["batch"] / seconds,
        "peak_mb": torch.cuda.max_memory_allocated() / 2**20 if cuda else peak_mb(),
        "loss": statistics.mean(losses[-3:]),
    }


def train_malgeul(work: dict[str, Any], **more: Any) -> Result:
    """The stage's own code."""
    import torch

    from malgeul.dataset.collator import MaskedMentionCollator
    from malgeul.training.learner import learn
    from malgeul.training.masked import MentionTask
    from malgeul.training.settings import settings_of

    torch.set_num_threads(CORES)
    rows = rows_of(work)
    task = MentionTask(lambda split: rows if split == "train" else rows[:1], MaskedMentionCollator(0))
    course = {"base": work["model"], "batch": work["batch"], "learning_rate": 1e-4, "log_every": 1}
    settings = settings_of({"kind": "coref", **course, "precision": "float32", "measure_every": 10_000, **more})
    times: list[float] = []
    losses: list[float] = []

    def told(point: dict[str, Any]) -> None:
        if "loss" in point:
            times.append(time.perf_counter())
            losses.append(point["loss"])

    with tempfile.TemporaryDirectory() as journal:
        learn(task, settings, work["model"], Path(journal), cuda=torch.cuda.is_available(), threads=CORES, told=told)
    return _result(work, times[-1] - times[WARM - 1], losses)


def train_plainly(work: dict[str, Any]) -> Result:
    """Transformers' Trainer with our collator: the head computes every place of a window."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForMaskedLM, Trainer, TrainerCallback, TrainingArguments, set_seed

    from malgeul.dataset.collator import MaskedMentionCollator

    torch.set_num_threads(CORES)
    times: list[float] = []
    losses: list[float] = []

    class Told(TrainerCallback):
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                times.append(time.perf_counter())
                losses.append(logs["loss"])

    set_seed(0)
    model = AutoModelForMaskedLM.from_pretrained(work["model"], dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=work["batch"], num_train_epochs=1, learning_rate=1e-4,
            warmup_steps=0.06, weight_decay=0.01, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_drop_last=True, seed=0, use_cpu=not torch.cuda.is_available(),
        )  # fmt: skip
        rows = Dataset.from_list(rows_of(work))
        collate = MaskedMentionCollator(0)
        Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Told()]).train()
    return _result(work, times[-1] - times[WARM - 1], losses)


PLAIN = "float32"
SIDES: dict[str, Callable[[dict[str, Any]], Result]] = {
    PLAIN: train_malgeul,
    "bfloat16": lambda work: train_malgeul(work, precision="bfloat16"),
    "checkpointing": lambda work: train_malgeul(work, gradient_checkpointing=True),
    "bfloat16, checkpointing": lambda work: train_malgeul(work, precision="bfloat16", gradient_checkpointing=True),
    "transformers' Trainer, float32": train_plainly,
}
"""Every side by name; the first is what the others are beside."""


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(SIZES), default="small")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=512, help="pieces of a window at most")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="beginnings of names of sides; float32 always runs")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("work", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rows < (least := (WARM + 1) * given.batch):
        parser.error(f"the first {WARM} steps are not timed: give --rows {least} or more ({WARM + 1} batches)")
    if given.side:
        result: Result = {}
        with clock(result):
            measured = SIDES[given.side](json.loads(given.work.read_text(encoding="utf-8")))
        print(json.dumps(result | measured))
        return
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {CORES} cores"
    print(f"{device}; " + ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate")))
    print(f"{given.model}, {given.rows} windows of up to {given.length} pieces, batches of {given.batch}\n")
    print("| training step | samples/s | times float32 (spread) | peak memory | loss |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model", given.model, given.length)
        work = {"model": str(folder / "model"), **{key: getattr(given, key) for key in ("rows", "batch", "length")}}
        file = folder / "work.json"
        file.write_text(json.dumps(work), encoding="utf-8")
        only = tuple(given.only) if given.only else ("",)
        sides = [side for side in SIDES if side == PLAIN or side.startswith(only)]
        rounds = [[run_side(__file__, side, file, gpu=True) for side in sides] for _ in range(given.runs)]
    for side, results in zip(sides, zip(*rounds, strict=True), strict=True):
        each = [result["samples"] / plain[0]["samples"] for result, plain in zip(results, rounds, strict=True)]
        spread = f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        samples, peak = (statistics.median(result[key] for result in results) for key in ("samples", "peak_mb"))
        print(f"| {side} | {samples:,.1f} | {spread} | {peak:,.0f} MB | {results[0]['loss']:.3f} |")


if __name__ == "__main__":
    main()
