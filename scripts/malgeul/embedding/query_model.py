"""Which model answers questions: what index.json says of the one that made the vectors."""

from __future__ import annotations

from typing import Any

from malgeul.embedding.recipe import read_recipe
from malgeul.models.loading import folder_of, identity
from malgeul.models.local import resolve, sketch_of_model


def describe_query_model(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what index.json says of the model that ``settings`` (model, revision, query_prompt, dimensions) name.

    That is its name, what its files are, the prompt before a question, and how many numbers of a vector are kept.
    """
    folder = folder_of(settings["model"], settings["revision"])
    local = resolve(settings["model"])
    content = {"sketch": sketch_of_model(folder)} if local else identity(settings["model"], settings["revision"])
    prompt = read_recipe(folder, query_prompt=settings["query_prompt"]).query_prompt
    return {**content, "model": settings["model"], "query_prompt": prompt, "dimensions": settings["dimensions"]}
