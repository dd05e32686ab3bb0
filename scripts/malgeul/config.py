"""The whole config: one typed section per wing, with errors that say where, what and how to mend it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from malgeul import ROOT
from malgeul.audio.settings import ConvertSettings, RecordingsInput
from malgeul.dataset.settings import MergeSettings, SelectSettings, TokenizeSettings
from malgeul.embedding.settings import ChunkSettings, DocumentsInput, EmbedSettings, IndexSettings
from malgeul.models.settings import TextClassifier
from malgeul.shards.files import write_json
from malgeul.shards.settings import Section
from malgeul.speech.settings import AnalyzeSettings, DiarizeSettings, TranscribeSettings
from malgeul.text.profiles import check_thresholds
from malgeul.text.settings import FilterSettings, IngestSettings, TextInput
from malgeul.training.settings import NAME, SAMPLES_OF, TrainingChoice

REFERENCE_MARK = "<!-- made by: python -m malgeul.config (in scripts/) -->"
"""Line of config/README.md below which the reference is generated."""

MERGE_TAG = "tag:yaml.org,2002:merge"
"""What YAML calls the key <<, of which a mapping may have several: all of them count."""

NO_STRING = frozenset({"string_type", "invalid_key"})
"""Pydantic's errors of a value, and of a key, that has to be a string."""


class ConfigError(Exception):
    """The config, or an input that it names, is wrong; the message is for the user."""


class RunConfig(Section):
    """Config of malgeul. Threads, memory and GPUs are Snakemake's: --cores, --resources and profiles."""

    run: str = Field("demo", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the run; results go to results/<run>/."""
    on_bad_input: Literal["quarantine", "fail"] = "quarantine"
    """fail: the run ends with an error when anything was quarantined."""
    profile: bool = False
    """Record with torch.profiler what the first batches of every GPU job do, for the report and results/<run>/profile/.
    A job takes up to some minutes longer. No finished job runs again for it: give the run another name for that."""
    recordings: RecordingsInput = RecordingsInput()
    text: TextInput = TextInput()
    documents: DocumentsInput = DocumentsInput()
    convert: ConvertSettings = ConvertSettings()
    diarize: DiarizeSettings = DiarizeSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    classify: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], TextClassifier] = {}
    """Classifiers of transcripts by name: probabilities of their labels for every passage."""
    analyze: AnalyzeSettings = AnalyzeSettings()
    ingest: IngestSettings = IngestSettings()
    filter: FilterSettings = FilterSettings()
    select: SelectSettings = SelectSettings()
    tokenize: TokenizeSettings = TokenizeSettings()
    merge: MergeSettings = MergeSettings()
    chunk: ChunkSettings = ChunkSettings()
    embed: EmbedSettings = EmbedSettings()
    index: IndexSettings = IndexSettings()
    train: dict[Annotated[str, Field(pattern=NAME)], TrainingChoice] = {}
    """Trainings by name, an optional part of the DAG; models go to results/<run>/trained/<name>/, their measures to
    results/<run>/evaluated/<name>.json."""

    @model_validator(mode="after")
    def _known_rules_of_sources(self) -> RunConfig:
        for number, source in enumerate(self.text.sources):
            try:
                check_thresholds(source.profile or self.filter.profile, source.thresholds)
            except ValueError as error:
                raise ValueError(f"text.sources.{number}.thresholds: {error}") from None
        return self

    @model_validator(mode="after")
    def _samples_that_trainings_need(self) -> RunConfig:
        for name, training in self.train.items():
            needed = SAMPLES_OF.get(training.kind, self.select.kind)
            if needed != self.select.kind:
                raise ValueError(
                    f"train.{name}: kind {training.kind} learns from samples of select.kind {needed}, and it is "
                    f"{self.select.kind}"
                )
        return self


def read_config(raw: dict[str, Any]) -> RunConfig:
    """Validate the config as Snakemake merged it; raises ConfigError listing everything that is wrong with it."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise ConfigError("The config is not valid:\n" + "\n".join(f"  - {line}" for line in lines)) from None


def check_keys(files: Iterable[str | Path]) -> None:
    """Raise ConfigError for keys that a file has twice: YAML keeps the last, and what the first has is lost."""
    twice: list[str] = []
    for file in files:
        with suppress(yaml.YAMLError):  # JSON that is no YAML; Snakemake has read it
            tree = yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            twice += [f"{file}, {place}" for place in _repeated(tree, (), set())]
    if twice:
        raise ConfigError("The config has keys twice; join what stands under them:\n  - " + "\n  - ".join(twice))


def _repeated(node: yaml.Node | None, above: tuple[str, ...], seen: set[yaml.Node | None]) -> Iterator[str]:
    """Yield line and place of every key of a mapping that it has already. A node that was ``seen`` is an alias."""
    if node in seen:
        return
    seen.add(node)
    if isinstance(node, yaml.MappingNode):
        known: dict[str, int] = {}
        for key, value in node.value:
            line, here = key.start_mark.line + 1, (*above, str(key.value))
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE_TAG:
                if key.value in known:
                    yield f"line {line}: {'.'.join(here)} is there since line {known[key.value]}"
                known.setdefault(key.value, line)
            yield from _repeated(value, here, seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _repeated(value, (*above, str(number)), seen)


def _explain(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        known = _keys_at(parents)
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    if problem["type"] == "union_tag_not_found":
        return f"{where}: the key {problem['ctx']['discriminator']} is missing, which says what this is"
    given = problem.get("input")
    shown = f" (given: {given!r})" if not isinstance(given, dict | list) else ""
    if problem["type"] in NO_STRING and shown and given is not None:
        shown = f" (given: {given}); put it in quotes: without them YAML takes numbers, dates, yes, no, on and off for "
        shown += "what they mean"
    return f"{where}: {problem['msg']}{shown}"


def _keys_at(location: list[Any]) -> list[str]:
    """Return the keys that the schema knows at a place in the config."""
    schema = RunConfig.model_json_schema()
    definitions = schema.get("$defs", {})
    node = schema
    for part in location:
        node = definitions.get(part) or _child(_resolve(node, definitions), part)
    return list(_resolve(node, definitions).get("properties", {}))


def _child(node: dict[str, Any], part: Any) -> dict[str, Any]:
    """Return the schema of what lies under a key, a name of the user's, an index, or the tag of a choice."""
    if isinstance(part, int):
        found: dict[str, Any] = node.get("items", {})
    elif part in (tags := node.get("discriminator", {}).get("mapping", {})):
        found = {"$ref": tags[part]}
    else:
        named: dict[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
        found = node.get("properties", {}).get(part, named)
    return found


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    for choice in [node, *node.get("anyOf", []), *node.get("allOf", [])]:
        if "$ref" in choice:
            found: dict[str, Any] = definitions[choice["$ref"].rsplit("/", 1)[1]]
            return found
    return node


def reference() -> str:
    """Return every key of the config as Markdown, one table per section."""
    schema = RunConfig.model_json_schema()
    parts = [_table("The whole", schema)]
    for key, node in schema["properties"].items():
        section = _resolve(node, schema["$defs"])
        if "properties" in section:
            parts.append(_table(f"`{key}`: {section['description'].splitlines()[0]}", section))
    top = {node["$ref"].rsplit("/", 1)[1] for node in schema["properties"].values() if "$ref" in node}
    nested = [name for name, node in schema["$defs"].items() if name not in top and "properties" in node]
    parts += [_table(f"{name}: {schema['$defs'][name]['description']}", schema["$defs"][name]) for name in nested]
    return "\n".join(parts)


def _table(title: str, section: dict[str, Any]) -> str:
    """Return the keys of a section that say what they mean; those that are sections have tables of their own."""
    rows = [
        f"| `{key}` | {_kind(node)} | {_default(node, key in section.get('required', []))} | {_meaning(node)} |"
        for key, node in section["properties"].items()
        if "description" in node
    ]
    return "\n".join([f"## {title}", "", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _meaning(node: dict[str, Any]) -> str:
    return str(node.get("description", "")).replace("\n", " ").replace("|", "\\|")


def _kind(node: dict[str, Any]) -> str:
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if choices := node.get("anyOf") or node.get("oneOf"):
        return " or ".join(_kind(choice) for choice in choices)
    if node.get("patternProperties"):
        return " or ".join(f"names of {_kind(values)}" for values in node["patternProperties"].values())
    if "$ref" in node:
        return str(node["$ref"]).rsplit("/", 1)[1]
    if node.get("type") == "array":
        return f"list of {_kind(node.get('items', {}))}"
    return str(node.get("type", "any"))


def _default(node: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    text = json.dumps(node.get("default"), ensure_ascii=False)
    return f"`{text}`" if len(text) < 60 else "see the schema"


if __name__ == "__main__":
    config_folder = ROOT / "config"
    write_json(config_folder / "schema.json", RunConfig.model_json_schema(), indent=2)
    readme = config_folder / "README.md"
    preface = readme.read_text(encoding="utf-8").partition(REFERENCE_MARK)[0]
    readme.write_text(preface + REFERENCE_MARK + "\n\n" + reference(), encoding="utf-8")
