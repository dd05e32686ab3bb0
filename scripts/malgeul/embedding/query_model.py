"""Which model answers questions: what index.json says of the one that made the vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from malgeul.models.loading import folder_of
from malgeul.models.local import resolve, sketch_of_model


def describe_query_model(model: str, revision: str | None) -> dict[str, Any]:
    """Return what index.json says of the model: its name, what its files are, and the prompt before a question."""
    folder = folder_of(model, revision)
    content = {"sketch": sketch_of_model(folder)} if resolve(model) else {"commit": folder.name}
    return {"model": model, **content, "query_prompt": query_prompt(folder)}


def query_prompt(folder: Path) -> str:
    """Return the prompt that a model wants before a question: ``query`` among its prompts, else its default one."""
    file = folder / "config_sentence_transformers.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    prompts = config.get("prompts") or {}
    return str(prompts.get("query", prompts.get(config.get("default_prompt_name"), "")))
