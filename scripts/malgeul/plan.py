"""The plan of a run: which shards there are, from names and sizes, and how the stages hang together.

The main process makes the plan when the Snakefile is parsed and writes it to ``results/<run>/plan.json``; jobs on other
machines read it, so that a file added meanwhile changes nothing until the next run.
"""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from malgeul import ROOT
from malgeul.config import ConfigError, RunConfig
from malgeul.embedding.settings import Database, version_settings
from malgeul.models.local import ModelFolder, model_folder
from malgeul.named_models import NamedModel, named_models
from malgeul.shards.buckets import Limits, power_of_two, split
from malgeul.shards.files import digest_of
from malgeul.shards.inputs import Found, InputFile, Twin, find_files, locate, sketch
from malgeul.shards.ledger import Tally
from malgeul.shards.names import TRANSCRIPTS, slug, stable_hash
from malgeul.shards.settings import Section, ShardLimits
from malgeul.speech.lexicon import lexicons_at, read_lexicons
from malgeul.text.settings import TextSource
from malgeul.training.settings import SAMPLES_OF, DatasetTraining, EmbeddingTraining, FileTraining

Value = TypeVar("Value")

RESULTS = Path("results")
"""Where runs leave what they make, in a folder for each."""

ALL = "all"
"""Shard id of the stages that have one job for the whole run."""

STATED = ("convert", "ingest", "export", "dedup", "cap", "merge", "index", "write_back")
"""Stages that read the user's files or databases, or any number of shards: their rules have a param ``state``."""

FILLED_IN = re.compile(r"\{[^{}]*\}|<[a-z][a-z0-9_]*>")
"""What Snakemake takes for a wildcard or a variable in the path of a declared input."""

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
"""What a model is called on the hub; everything else is a path."""

COMPRESSED = {"gz": 5, "zst": 5, "bz2": 6, "xz": 7}
"""Suffixes of compressed text and how many times larger it is taken to be unpacked."""

TEXT_SUFFIXES = {
    "jsonl": [
        f"{name}{ending}" for name in ("jsonl", "ndjson", "json") for ending in ("", *(f".{end}" for end in COMPRESSED))
    ],
    "parquet": ["parquet"],
    "arrow": ["arrow"],
    "txt": ["txt", "md", "markdown"],
}


@dataclass(frozen=True)
class RecordingShard:
    """Recordings that are converted, transcribed and analyzed together."""

    source: str
    files: list[InputFile]
    twins: list[Twin] = field(default_factory=list)


@dataclass(frozen=True)
class TextShard:
    """Records that go through the text wing together: files, or part ``part`` of ``parts`` of one large file."""

    source: str
    files: list[InputFile]
    part: int = 0
    parts: int = 1
    stream: str | None = None
    """Name of the compressed file whose parts are all written by one job."""


@dataclass(frozen=True)
class DocumentShard:
    """Documents of a database with ids in bucket ``bucket`` of ``buckets``; ``digest`` is that of their rows."""

    database: str
    bucket: int
    buckets: int
    rows: int
    digest: str


@dataclass(frozen=True)
class Plan:
    """Every shard of a run by id."""

    recordings: dict[str, RecordingShard] = field(default_factory=dict)
    text: dict[str, TextShard] = field(default_factory=dict)
    documents: dict[str, DocumentShard] = field(default_factory=dict)
    text_sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignored: dict[str, dict[str, int]] = field(default_factory=dict)
    embed_inputs: list[str] = field(default_factory=list)
    write_back: str = "off"
    scored: bool = False
    """Whether models or references score the text (not transcripts) before it is filtered."""
    diarized: bool = False
    """Whether speakers of recordings of one channel are told apart."""
    classified: bool = False
    """Whether classifiers see the transcripts."""
    trainings: dict[str, str] = field(default_factory=dict)
    """Trainings by name, and their kinds."""
    models: dict[str, ModelFolder] = field(default_factory=dict)
    """Models that are folders of the user's, by the name that the config has for them; others are ids of the hub."""

    # Which shards a stage has

    @cached_property  # asked for once a shard, by the states and the audit
    def transcript_shards(self) -> dict[str, str]:
        """Shards of the text wing that hold transcripts, with the shard of recordings each is made from."""
        return {f"{TRANSCRIPTS}-{shard}": shard for shard in self.recordings}

    @property
    def text_shards(self) -> list[str]:
        """All shards of the text wing, transcripts among them."""
        return [*self.text, *self.transcript_shards]

    @property
    def embedded_shards(self) -> list[str]:
        """Shards that become chunks and vectors."""
        kinds: dict[str, Iterable[str]] = {
            "documents": self.documents,
            "text": self.text,
            "transcripts": self.transcript_shards,
        }
        return [shard for kind in sorted(self.embed_inputs) for shard in kinds[kind]]

    @property
    def streams(self) -> dict[str, list[str]]:
        """Large compressed files and the shards that one job makes of each."""
        streams: dict[str, list[str]] = defaultdict(list)
        for shard, what in self.text.items():
            if what.stream:
                streams[what.stream].append(shard)
        return dict(streams)

    def shards_of(self) -> dict[str, list[str]]:
        """Return the shard ids of every stage that this run has, in the order of the flow."""
        stages = {
            "convert": list(self.recordings),
            "diarize": list(self.recordings) if self.diarized else [],
            "transcribe": list(self.recordings),
            "classify": list(self.recordings) if self.classified else [],
            "analyze": list(self.recordings),
            "ingest": self.text_shards,
            "screen": self.text_shards,
            "dedup": [ALL] if self.text else [],
            "score": list(self.text) if self.scored else [],
            "filter": self.text_shards,
            "select": self.text_shards,
            "cap": [ALL] if self.text_shards else [],
            "tokenize": self.text_shards,
            "merge": [ALL] if self.text_shards else [],
            "export": list(self.documents),
            "chunk": self.embedded_shards,
            "embed": self.embedded_shards,
            "index": [ALL] if self.embedded_shards else [],
            "write_back": self.written_databases,
            "train": list(self.trainings),
            "evaluate": list(self.trainings),
        }
        return {stage: shards for stage, shards in stages.items() if shards}

    @property
    def written_databases(self) -> list[str]:
        """Databases that get a new embedding version."""
        embedded = "documents" in self.embed_inputs and self.write_back != "off"
        return list(self.databases) if embedded else []

    @property
    def written_into(self) -> dict[str, str]:
        """Addresses (a path, or a server's) of the databases that get the version themselves, no copy of them."""
        names = self.written_databases if self.write_back == "in_place" else []
        return {name: self.databases[name]["path"] or self.databases[name]["settings"]["path"] for name in names}

    def parents_of(self, stage: str, shard: str) -> list[tuple[str, str]]:
        """Return the shards whose output ids are the input ids of this one, as (stage, shard).

        Empty for the stages that read the user's own files and databases.
        """
        match stage:
            case "diarize" | "transcribe":
                return [("convert", shard)]
            case "classify" | "analyze":
                return [("transcribe", shard)]
            case "ingest" if shard in self.transcript_shards:
                return [("transcribe", self.transcript_shards[shard])]
            case "screen":
                return [("ingest", shard)]
            case "dedup":
                return [("screen", other) for other in self.text]
            case "score" | "filter":
                return [("screen", shard)]
            case "select":
                return [("filter", shard)]
            case "cap":
                return [("select", other) for other in self.text_shards]
            case "tokenize":
                return [("select", shard)]
            case "merge":
                return [("tokenize", other) for other in self.text_shards]
            case "chunk":
                return [("export" if shard in self.documents else "filter", shard)]
            case "embed":
                return [("chunk", shard)]
            case "index":
                return [("embed", other) for other in self.embedded_shards]
            case "write_back":
                return [("embed", other) for other in self.shards_of_database(shard)]
            case "train" if self.trainings[shard] in SAMPLES_OF:
                return [("merge", ALL)]
            case "evaluate":
                return [("train", shard)]
        return []

    def shards_of_database(self, database: str) -> list[str]:
        """Return the shards of one database."""
        return [shard for shard, what in self.documents.items() if what.database == database]

    def files_of(self, stage: str, shard: str) -> Tally | None:
        """Return the tally of raw file names that a first stage must account for, or None for another stage."""
        if stage == "convert":
            return Tally.of(file.path for file in self.recordings[shard].files)
        return None

    def state_of(self, stage: str, shard: str) -> str:
        """Return a digest of what a shard is made of: the user's files, with sizes and times, or the shards before it.

        It starts the shard's job again when it changes, by Snakemake's parameters and by the ledger. The parts of a
        compressed file have one, since one job makes them.
        """
        made_of: Any = self.parents_of(stage, shard)
        if stage == "convert":
            recordings = self.recordings[shard]
            twins = [{"file": vars(twin.file), "shard": twin.shard} for twin in recordings.twins]
            made_of = {**_with_files(recordings), "twins": twins}
        elif stage == "ingest" and shard in self.text:
            text = self.text[shard]
            made_of = {**_with_files(text), "part": 0 if text.stream else text.part}
        elif stage == "export":
            made_of = vars(self.documents[shard])
        return digest_of(made_of)[:16]

    @property
    def states(self) -> dict[tuple[str, str], str]:
        """The states of all shards that may be made of something else by another plan, by stage and shard."""
        shards = self.shards_of()
        return {(stage, shard): self.state_of(stage, shard) for stage in STATED for shard in shards.get(stage, ())}

    # Its form on disk

    def to_json(self) -> dict[str, Any]:
        """Return the form on disk."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """Read what :meth:`to_json` wrote."""
        recordings = {
            shard: RecordingShard(what["source"], _files(what), list(map(Twin.from_json, what["twins"])))
            for shard, what in value["recordings"].items()
        }
        text = {shard: TextShard(**{**what, "files": _files(what)}) for shard, what in value["text"].items()}
        documents = {shard: DocumentShard(**what) for shard, what in value["documents"].items()}
        models = {name: ModelFolder(**what) for name, what in value.get("models", {}).items()}
        return cls(**{**value, "recordings": recordings, "text": text, "documents": documents, "models": models})


def _with_files(shard: RecordingShard | TextShard) -> dict[str, Any]:
    """Return a shard with its files as plain data; asdict, which copies all, takes five times as long."""
    return {**vars(shard), "files": [vars(file) for file in shard.files]}


def _files(shard: dict[str, Any]) -> list[InputFile]:
    return [InputFile(**file) for file in shard["files"]]


def read_plan(file: Path) -> Plan:
    """Read a plan; raises FileNotFoundError, or ValueError naming a file that is none, or that of another version."""
    try:
        return Plan.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no plan of this version of malgeul ({error!r}); run the workflow again") from error


def make_plan(config: RunConfig, root: Path, former: Plan | None = None) -> Plan:
    """Find the inputs that the config names and distribute them over shards.

    ``root`` is the Snakefile's folder, ``former`` the plan of the last run (rows of a database that has not changed are
    not read again). Raises ConfigError listing every input that is missing, unreadable or empty.
    """
    problems: list[str] = []
    ignored: dict[str, dict[str, int]] = {}
    names = _Names(problems)

    recordings: dict[str, RecordingShard] = {}
    for entry in config.recordings.paths:
        path, given = (entry, None) if isinstance(entry, str) else (entry.path, entry.name)
        source = names.take(given, path, "recordings.paths")
        found = _find(path, root, config.recordings.formats, f"recordings.paths: {path}", problems)
        _count_ignored(ignored, source, found)
        for shard, files in _shards(source, found.files, config.recordings.shard):
            recordings[shard] = RecordingShard(source, files)
    recordings = _with_twins(recordings)

    text: dict[str, TextShard] = {}
    text_sources: dict[str, dict[str, Any]] = {}
    for text_source in config.text.sources:
        source = names.take(text_source.name, text_source.path, "text.sources")
        suffixes = TEXT_SUFFIXES[text_source.format]
        found = _find(text_source.path, root, suffixes, f"text.sources: {text_source.path}", problems)
        _count_ignored(ignored, source, found)
        text_sources[source] = _plain(text_source)
        text.update(_text_shards(source, text_source, found.files, config.text.shard))

    databases = _databases(config, root, former, names, problems)
    documents = {
        f"{name}-{bucket:04d}": DocumentShard(name, bucket, len(known["buckets"]), rows, digest)
        for name, known in databases.items()
        for bucket, (rows, digest) in enumerate(known["buckets"])
    }

    problems += _problems_beside(config)
    problems += [
        f"train.{name}: kind {training.kind} learns from the dataset, but there are neither recordings nor text"
        for name, training in config.train.items()
        if training.kind in SAMPLES_OF and not (recordings or text)
    ]
    plan = Plan(
        _in_order(recordings),
        _in_order(text),
        _in_order(documents),
        _in_order(text_sources),
        _in_order(databases),
        _in_order(ignored),
        sorted(config.embed.inputs),
        config.documents.write_back,
        bool(config.filter.scorers),
        config.diarize.file is not None,
        bool(config.classify),
        _in_order({name: training.kind for name, training in config.train.items()}),
    )
    folders = {one.model: model_folder(one.model) for one in named_models(config, plan)}
    for one in named_models(config, plan):
        problems += _problems_of_model(one, folders[one.model])
    if problems:
        raise ConfigError("The input is not as the config says:\n" + "\n".join(f"  - {p}" for p in problems))
    if not (recordings or text or documents or config.train):  # a training may have files of its own
        raise ConfigError(
            "The config names no input: recordings.paths, text.sources and documents.databases are all empty. "
            "config/README.md shows how to name yours."
        )
    return replace(plan, models=_in_order({name: folder for name, folder in folders.items() if folder}))


def _read_beside(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield the files that a run reads beside its inputs, each after its key in the config; lexicons are apart."""
    if config.recordings.paths:
        yield from (("transcribe.known_phrases", path) for path in config.transcribe.known_phrases)
        if config.diarize.file:
            yield "diarize.file", config.diarize.file
    if config.text.sources:
        for name, scorer in config.filter.scorers.items():
            if scorer.kind == "overlap":
                yield from ((f"filter.scorers.{name}.files", path) for path in scorer.files)
            elif scorer.kind == "own":
                yield f"filter.scorers.{name}.file", scorer.file
    for name, training in config.train.items():
        if isinstance(training, FileTraining):
            yield from ((f"train.{name}.files", path) for path in training.files)
        if isinstance(training, EmbeddingTraining) and training.scored:
            yield f"train.{name}.scored", training.scored


def _problems_beside(config: RunConfig) -> Iterator[str]:
    """Say which files and folders that a run reads beside its inputs cannot be had, and which are not what they are."""
    for key, path in _read_beside(config):
        if problem := _problem_of_input(path):
            yield f"{key}: {problem}"
    if config.recordings.paths:
        yield from (f"analyze.lexicons: {problem}" for problem in _problems_of_lexicons(config.analyze.lexicons))
    for name, training in config.train.items():
        for path in training.also_on.values() if isinstance(training, DatasetTraining) else ():
            problem = _problem_of_input(path, lambda folder: folder.rglob("*"))
            if problem is None and not (locate(path, ROOT) / "dataset_dict.json").is_file():
                problem = f"{path} is no merged dataset (results/<run>/dataset)"
            if problem:
                yield f"train.{name}.also_on: {problem}"


def _problems_of_lexicons(paths: list[str]) -> list[str]:
    """Say which lexicons cannot be had, or what is wrong in them: the first is read when a shard was transcribed."""
    problems = []
    for path in paths:
        problem = _problem_of_input(path, lexicons_at)
        if problem is None and not lexicons_at(locate(path, ROOT)):
            problem = f"{path} holds no lexicon (.yaml)"
        if problem:
            problems.append(problem)
    if problems:
        return problems
    try:
        read_lexicons(file for path in paths for file in lexicons_at(locate(path, ROOT)))
    except (OSError, ValueError) as error:
        return [str(error)]
    return []


def _problem_of_input(path: str, wanted: Callable[[Path], Iterable[Path]] | None = None) -> str | None:
    """Say why a path of the config can be no input of a rule: a file, or a folder of which files are ``wanted``."""
    try:
        place = locate(path, ROOT)
        if not place.exists():
            return f"{path} does not exist (looked in the working directory and in {ROOT})"
        is_folder = place.is_dir()
    except OSError as error:  # a folder on the way that may not be entered
        return f"{path} cannot be read ({error.strerror})"
    if is_folder and wanted is None:
        return f"{path} is a folder; name its files"
    if not os.access(place, os.R_OK):
        return f"{path} may not be read"
    files = wanted(place) if wanted else ()
    return next(filter(None, map(_filled_in, (place, *files))), None)


def _filled_in(file: Path | str) -> str | None:
    """Say what Snakemake would take for a wildcard in the name of an input."""
    filled = FILLED_IN.search(str(file))
    if filled is None:
        return None
    return f"Snakemake would fill in {filled[0]} in the name of an input ({file}); rename it, or name a link to it"


def _problems_of_model(one: NamedModel, folder: ModelFolder | None) -> Iterator[str]:
    """Say why a model that the config names can be none."""
    if folder is None:
        if not HUB_ID.fullmatch(one.model) or locate(one.model, ROOT).exists():
            yield f"{one.key}: {one.model} is neither a folder with files in it nor a hub id such as BAAI/bge-m3"
        return
    if one.revision is not None:
        yield f"{one.key}: {one.model} is a folder, and has no revision {one.revision}; leave the revision out"
    yield from (f"{one.key}: {problem}" for problem in [*filter(None, map(_filled_in, folder.files))][:1])


def _in_order(shards: dict[str, Value]) -> dict[str, Value]:
    """Sort by name, as plan.json is: jobs that read the plan there must see the order that the main process saw."""
    return dict(sorted(shards.items()))


class _Names:
    """Names of sources: unique over the whole config, since shard ids are made of them."""

    def __init__(self, problems: list[str]) -> None:
        self._taken: dict[str, str] = {}
        self._problems = problems

    def take(self, given: str | None, path: str, section: str) -> str:
        plain = path.rstrip("/").rsplit("/", 1)[-1]
        if any(c in plain for c in "*?["):
            plain = path.split("*")[0].rstrip("/").rsplit("/", 1)[-1] or "files"
        name = slug(given or plain.split(".")[0] or plain)
        if name == TRANSCRIPTS or name.startswith(f"{TRANSCRIPTS}-"):
            self._problems.append(f"{section}: the name {name!r} is reserved for transcripts; give another")
        if name in self._taken:
            other = self._taken[name]
            self._problems.append(f"{section}: {path} and {other} would both be named {name!r}; give one a name:")
        self._taken[name] = path
        return name


def _find(path: str, root: Path, suffixes: Iterable[str], where: str, problems: list[str]) -> Found:
    try:
        place = locate(path, root)
        found = find_files(place, suffixes)
    except FileNotFoundError as error:
        problems.append(f"{where}: {error} (looked in the working directory and in {root})")
        return Found()
    except OSError as error:
        problems.append(f"{where}: cannot be read ({error.strerror}: {error.filename})")
        return Found()
    found = _without_results(_without_caches(found), place)
    if not found.files:
        made = f" beside what runs have made in {RESULTS}/" if found.ignored["(results)"] else ""
        problems.append(f"{where}: holds no file with one of the suffixes {', '.join(suffixes)}{made}")
    return found


def _without_results(found: Found, place: Path) -> Found:
    """Leave out what runs have made that a search has come by: it would go in again. Named itself, it is wanted."""
    if not RESULTS.is_dir() or _is_made(place):
        return found
    made = {folder: _is_made(folder) for folder in {Path(file.path).parent for file in found.files}}
    files = [file for file in found.files if not made[Path(file.path).parent]]
    return Found(files, found.ignored + Counter({"(results)": len(found.files) - len(files)}))


def _is_made(place: Path) -> bool:
    """Tell whether a place is among what runs have made; links are followed, also one that leads to itself."""
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(RESULTS))


def _without_caches(found: Found) -> Found:
    """Leave out what ``datasets`` writes beside a dataset on disk that is mapped: it holds the rows a second time."""
    files = [file for file in found.files if not _is_cache(Path(file.path))]
    return Found(files, found.ignored + Counter({"arrow": len(found.files) - len(files)}))


def _is_cache(file: Path) -> bool:
    return file.name.startswith("cache-") and file.suffix == ".arrow" and (file.parent / "state.json").is_file()


def _count_ignored(ignored: dict[str, dict[str, int]], source: str, found: Found) -> None:
    if found.ignored:
        ignored[source] = dict(sorted(found.ignored.items()))


def _shards(source: str, files: list[InputFile], limits: ShardLimits) -> Iterator[tuple[str, list[InputFile]]]:
    buckets = split(files, Limits(limits.files, limits.megabytes << 20))
    for number, inside in buckets.items():
        yield f"{source}-{number:04d}", inside


def _text_shards(
    source: str, settings: TextSource, files: list[InputFile], limits: ShardLimits
) -> Iterator[tuple[str, TextShard]]:
    """Give every large file shards of its own; the others share buckets."""
    largest = limits.megabytes << 20
    small: list[InputFile] = []
    named: set[str] = set()
    for file in files:
        ratio = COMPRESSED.get(file.name.rsplit(".", 1)[-1].lower(), 1)
        if settings.format == "txt" or file.size * ratio <= largest:
            small.append(file)
            continue
        parts = math.ceil(file.size / largest) if ratio == 1 else power_of_two(file.size * ratio / largest)
        # Two files may have one name: composed, and with its letters apart.
        tag = _tag(file.path if file.name in named else file.name)
        named.add(file.name)
        name = f"{source}-{slug(Path(file.name).name.split('.')[0])}-{tag}"
        for part in range(parts):
            stream = name if ratio > 1 else None
            yield f"{name}-{part:04d}", TextShard(source, [file], part, parts, stream)
    for shard, inside in _shards(source, small, limits):
        yield shard, TextShard(source, inside)


def _tag(name: str) -> str:
    """Return hex digits that keep two files with one slug apart."""
    return f"{stable_hash(name):016x}"


MOST_TWINS = 4


def _with_twins(recordings: dict[str, RecordingShard]) -> dict[str, RecordingShard]:
    """Name for every shard the files of lower shards that may hold the same bytes as one of its own.

    Equal size and equal samples make a candidate; the conversion compares the whole bytes and decides. A file that
    cannot be opened for them, whatever its permissions say, is as one that may not be read until a plan can open it.
    """
    order = sorted(recordings)
    sizes = Counter(file.size for what in recordings.values() for file in what.files if not file.problem)
    groups: dict[tuple[int, int], list[tuple[str, InputFile]]] = defaultdict(list)
    twins: dict[str, list[Twin]] = {shard: [] for shard in order}
    files = {shard: list(what.files) for shard, what in recordings.items()}
    for shard in order:
        for number, file in enumerate(files[shard]):
            if file.problem or file.size == 0 or sizes[file.size] < 2:
                continue
            try:
                group = groups[file.size, sketch(file)]
            except OSError as error:
                files[shard][number] = replace(file, problem=f"UNREADABLE: {error.strerror}", modified=None)
                continue
            twins[shard] += [Twin(other, lower) for lower, other in group[:MOST_TWINS] if lower != shard]
            group.append((shard, file))
    return {
        shard: RecordingShard(what.source, files[shard], list(dict.fromkeys(twins[shard])))
        for shard, what in recordings.items()
    }


def _plain(settings: Section) -> dict[str, Any]:
    """Return a section as data in the order in which plan.json has it: Snakemake compares parameters by their text."""
    return dict(sorted(settings.model_dump(mode="json").items()))


def _databases(
    config: RunConfig, root: Path, former: Plan | None, names: _Names, problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Return every database by name, with its settings, its state and the buckets of its documents."""
    databases: dict[str, dict[str, Any]] = {}
    for database in config.documents.databases:
        name = names.take(database.name, database.default_name, "documents.databases")
        try:
            databases[name] = _database(database, root, former.databases.get(name) if former else None)
            if config.documents.write_back != "off" and "documents" in config.embed.inputs:
                _rehearse(databases[name], config)
        except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:
            looked = f" (looked in the working directory and in {root})" if isinstance(error, FileNotFoundError) else ""
            problems.append(f"documents.databases: {database.path}: {error}{looked}")
    if config.documents.write_back == "in_place":
        places = Counter(
            Path(database["path"]).resolve() if database["path"] else database["settings"]["path"]
            for database in databases.values()
        )
        problems += [
            f"documents.databases: {place} is named {count} times; the version of one entry would hide that of the "
            "other, so write_back: in_place takes it once (layout: query may join tables)"
            for place, count in places.items()
            if count > 1
        ]
    return databases


def _database(settings: Database, root: Path, former: dict[str, Any] | None) -> dict[str, Any]:
    """Return a database's settings, state and the rows and digest of every bucket of documents.

    The path is empty where the database is no file but a server's.
    """
    from malgeul.embedding.documents import DIGESTS
    from malgeul.embedding.store import open_store

    path = None if settings.is_server else locate(settings.path, root)
    if path and (problem := _filled_in(path)):
        raise ValueError(problem)
    store = open_store(path or settings.path)
    state = store.state()
    known = {"path": str(path or ""), "settings": _plain(settings), "state": state, "digests": DIGESTS}
    if state and former and all(former.get(key) == value for key, value in known.items()):
        return former
    survey = store.survey(settings)
    buckets = survey.buckets(survey.count_buckets(settings.rows_per_shard))
    return {**known, "buckets": [list(bucket) for bucket in buckets]}


def _rehearse(database: dict[str, Any], config: RunConfig) -> None:
    """Raise what would keep a new version out of a database: its jobs come last, hours after the first ones.

    One that cannot be written is no problem where the version stands that was made of its documents as they are, with
    these settings.
    """
    from malgeul.embedding.store import open_store
    from malgeul.embedding.versions import Record

    store = open_store(database["path"] or database["settings"]["path"])
    try:
        store.rehearse(copied=config.documents.write_back == "copy")
    except OSError:
        settings = Database.model_validate(database["settings"])
        there = store.standing(Record(store.survey(settings).contents(), settings))
        settings_now = version_settings(config.documents, config.chunk, config.embed)
        if there is None or there.metadata.get("settings") != settings_now:
            raise
