"""What a trained model leaves: a folder that transformers (or peft) loads, with tokenizer, curves and a card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spm.model",
)
"""Files of a tokenizer, of which a folder has some."""

ENCODER = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "*_*/config.json")
"""Files that say how an encoder of sentence-transformers makes vectors."""

CURVES = "curves.json"
CARD = "README.md"


def save_model(model: Any, folder: Path, base: str, revision: str | None) -> None:
    """Write a model, or the adapter that was trained on one; ``base`` is what the user calls the base."""
    if hasattr(model, "peft_config"):
        for config in model.peft_config.values():
            config.base_model_name_or_path, config.revision = base, revision
        # peft would ask the hub whether the base's vocabulary was another; no embeddings are trained here.
        model.save_pretrained(folder, save_embedding_layers=False)
        # Else a loader knows neither labels nor their number.
        model.get_base_model().config.save_pretrained(folder)
        (folder / CARD).unlink(missing_ok=True)  # peft's, without a word of this training
    else:
        model.save_pretrained(folder)


def copy_files(source: Path, folder: Path, patterns: Iterable[str]) -> None:
    """Copy the files of a model that match; folders within are made."""
    for pattern in patterns:
        for file in sorted(source.glob(pattern)):
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def write_curves(folder: Path, points: Sequence[Mapping[str, Any]]) -> None:
    """Write the points of the curves."""
    text = json.dumps(list(points), ensure_ascii=False, indent=1)
    (folder / CURVES).write_text(text + "\n", encoding="utf-8")


def write_card(
    folder: Path,
    *,
    name: str,
    base: str,
    licence: str | None,
    adapter: bool,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    course: Mapping[str, Any],
    figures: Mapping[str, Any],
    device: str,
) -> None:
    """Write the model's card: data, settings, seed, steps, time and the figures on the validation rows."""
    head = {
        "language": ["ko"],
        "license": licence or "other",
        "base_model": base,
        "library_name": "peft" if adapter else "transformers",
    }
    lines = [
        "---",
        yaml.safe_dump(head, allow_unicode=True, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {name}",
        "",
        f"Trained by malgeul from {base}{' as a LoRA adapter' if adapter else ''}: {settings['kind']}.",
        "",
        *_table("Data", data),
        *_table("Course", {
            "steps": f"{course['steps']:,} of {course['planned_steps']:,} planned",
            "weights kept from step": f"{course['best_step']:,}",
            "weights that learn": f"{course['learning_weights']:,} of {course['weights']:,}",
            "precision": course["precision"],
            "weights of the base in": course["base_precision"],
            "rows at once": course["rows_at_once"],
            "samples a second": course["samples_per_second"],
            "seconds": course["seconds"],
            "device": device,
        }),
        *_table("On the validation rows", figures),
        *_table("Settings", {key: value for key, value in sorted(settings.items()) if not isinstance(value, dict)}),
        f"Licence: {licence or 'not given'}. The curves are in `{CURVES}`.",
        "",
    ]  # fmt: skip
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")


def _table(title: str, facts: Mapping[str, Any]) -> list[str]:
    rows = [f"| {name.replace('_', ' ')} | {_said(value)} |" for name, value in facts.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""]


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
