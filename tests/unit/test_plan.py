"""Shards are known at parse time and stay what they are when inputs are added (law 4)."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from malgeul.config import ConfigError, read_config
from malgeul.embedding.settings import version_settings
from malgeul.embedding.sqlite_store import SqliteStore
from malgeul.embedding.versions import Record
from malgeul.models.local import ModelFolder
from malgeul.plan import Plan, RecordingShard, make_plan, read_plan
from malgeul.shards.inputs import find_files, sketch
from malgeul.speech.settings import TranscribeSettings
from unit.embedding.versioning import a_version, batches


@pytest.fixture
def calls(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    for k in range(40):
        (folder / f"call{k:02d}.wav").write_bytes(b"x" * (100 + k))
    return folder


def config(recordings=None, sources=(), files=8):
    raw = {"text": {"sources": list(sources), "shard": {"files": files, "megabytes": 1}}}
    if recordings:
        raw["recordings"] = {"paths": [str(recordings)], "shard": {"files": files, "megabytes": 1}}
    return read_config(raw)


FRAUD = {"kind": "classifier", "base": "my/koelectra"}


def names(plan):
    return {shard: [file.name for file in what.files] for shard, what in plan.recordings.items()}


def test_an_added_recording_touches_its_shard_only(calls, tmp_path):
    before = names(make_plan(config(calls), tmp_path))
    (calls / "new.wav").write_bytes(b"new recording")
    after = names(make_plan(config(calls), tmp_path))
    same = [shard for shard in before if after.get(shard) == before[shard]]
    assert len(same) >= len(before) - 1
    assert sum(len(files) for files in after.values()) == 41


class CountedWalks(dict):
    """Shards that count how often somebody goes through all of them."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()


def test_what_is_told_of_every_shard_takes_as_many_walks_through_all_of_them_as_that_of_few():
    walks = []
    for n in (4, 40):
        recordings = CountedWalks({f"calls-{k:04d}": RecordingShard("calls", []) for k in range(n)})
        plan = Plan(recordings=recordings, embed_inputs=["transcripts"])
        assert len(plan.states) > n
        assert [plan.parents_of(stage, shard) for stage, shards in plan.shards_of().items() for shard in shards]
        walks.append(recordings.walks)
    assert walks[0] == walks[1]


def test_a_plan_survives_the_disk(calls, tmp_path):
    (calls / "twin.wav").write_bytes((calls / "call07.wav").read_bytes())
    sources = [{"path": str(tmp_path / f"{name}.txt"), "name": name, "format": "txt"} for name in ("z", "b")]
    for name in ("z", "b"):
        (tmp_path / f"{name}.txt").write_text("가")
    plan = make_plan(config(calls, sources), tmp_path)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json(), sort_keys=True)))
    assert again == plan
    assert again.shards_of() == plan.shards_of(), "a job on another machine sees the shards in the same order"


def test_models_in_folders_are_in_the_plan_with_how_their_weights_are_kept(calls, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "pytorch_model.bin").write_bytes(b"")
    named = config(calls).model_copy(update={"transcribe": TranscribeSettings(model=str(model))})
    plan = make_plan(named, tmp_path)
    files = [str(model / name) for name in ("config.json", "pytorch_model.bin")]
    assert plan.models[str(model)] == ModelFolder(files, pickled=True)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    (model / "model.safetensors").write_bytes(b"")
    assert not make_plan(named, tmp_path).models[str(model)].pickled
    hub = config(calls).model_copy(update={"transcribe": TranscribeSettings(model="openai/whisper-tiny")})
    assert "openai/whisper-tiny" not in make_plan(hub, tmp_path).models


def test_a_recording_with_the_bytes_of_one_in_a_lower_shard_names_it(calls, tmp_path):
    plan = make_plan(config(calls), tmp_path)
    first = plan.recordings[min(plan.recordings)].files[0]
    for k in range(40):  # until one falls into a higher shard
        (calls / f"copy{k}.wav").write_bytes(Path(first.path).read_bytes())
    plan = make_plan(config(calls), tmp_path)
    twins = {twin.file for what in plan.recordings.values() for twin in what.twins}
    assert twins
    assert all(twin.shard < shard for shard, what in plan.recordings.items() for twin in what.twins)


def test_of_two_sources_with_one_recording_the_shard_that_is_first_by_name_converts_it(tmp_path):
    for name in ("z", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "call.wav").write_bytes(b"x")
    plan = make_plan(read_config({"recordings": {"paths": [str(tmp_path / "z"), str(tmp_path / "a")]}}), tmp_path)
    assert [(shard, [twin.shard for twin in what.twins]) for shard, what in plan.recordings.items()] == [
        ("a-0000", []),
        ("z-0000", ["a-0000"]),
    ]


def test_a_recording_that_cannot_be_opened_for_comparison_stops_no_run(calls, tmp_path, monkeypatch):
    """It may have gone since it was listed, or a server may refuse what the permissions allow."""
    (calls / "copy.wav").write_bytes((calls / "call00.wav").read_bytes())

    def refusing(file):
        if file.name == "copy.wav":
            raise PermissionError(errno.EACCES, "Permission denied")
        return sketch(file)

    whole = make_plan(config(calls), tmp_path)
    monkeypatch.setattr("malgeul.plan.sketch", refusing)
    plan = make_plan(config(calls), tmp_path)
    problems = {file.name: file.problem for what in plan.recordings.values() for file in what.files if file.problem}
    assert problems == {"copy.wav": "UNREADABLE: Permission denied"}
    assert not any(twin.file.name == "copy.wav" for what in plan.recordings.values() for twin in what.twins)
    home = next(shard for shard, files in names(plan).items() if "copy.wav" in files)
    assert plan.states["convert", home] != whole.states["convert", home]


@pytest.mark.parametrize("path", ["calls", "calls/", "calls/*.wav", "calls/*/../**/*.wav", "calls/call00.wav"])
def test_a_source_is_called_as_its_folder_or_its_only_file(calls, tmp_path, monkeypatch, path):
    (calls / "more").mkdir()
    monkeypatch.chdir(tmp_path)
    (name,) = {what.source for what in make_plan(config(path), tmp_path).recordings.values()}
    assert name == ("call00" if path.endswith("call00.wav") else "calls")


def test_a_sketch_tells_files_of_one_size_apart(tmp_path):
    first, second = bytearray(100_000), bytearray(100_000)
    second[40_000:60_000] = b"y" * 20_000
    for name, content in (("a", first), ("b", second), ("c", first)):
        (tmp_path / name).write_bytes(content)
    a, b, c = find_files(tmp_path, None).files
    assert sketch(a) == sketch(c)
    assert sketch(a) != sketch(b)


def test_names_are_composed_and_raw_paths_kept(tmp_path):
    decomposed = unicodedata.normalize("NFD", "상담.wav")
    (tmp_path / decomposed).write_bytes(b"x")
    (file,) = find_files(tmp_path, ["wav"]).files
    assert file.name == "상담.wav"
    assert Path(file.path).name == decomposed


def test_loops_end_pipes_and_dangling_links_are_listed_with_their_problem(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    found = find_files(tmp_path, ["wav"])
    assert [(file.name, (file.problem or "").split(":")[0]) for file in found.files] == [
        ("a.wav", ""),
        ("gone.wav", "NOT_A_FILE"),
        ("pipe.wav", "NOT_A_FILE"),
    ]
    assert found.ignored == {"txt": 1}


def test_a_folder_gives_lines_of_json_under_every_name_they_go_by(tmp_path):
    for name in ("a.jsonl", "b.ndjson.gz", "c.json.gz", "d.JSONL.ZST", "e.csv.gz"):
        (tmp_path / name).write_bytes(b"{}\n")
    plan = make_plan(config(None, [{"path": str(tmp_path), "name": "web", "format": "jsonl"}]), tmp_path)
    assert sorted(file.name[0] for what in plan.text.values() for file in what.files) == ["a", "b", "c", "d"]
    assert plan.ignored == {"web": {"gz": 1}}


@pytest.mark.parametrize("path", [".", "{0}", "../{0.name}", "*", "**/*.wav"])
def test_what_runs_have_made_does_not_go_in_again_unless_it_is_named(calls, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "results/demo/recordings/calls-0000/a.wav"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"x")
    plan = make_plan(config(path.format(tmp_path)), tmp_path)
    assert sum(map(len, names(plan).values())) == len(list(calls.iterdir()))
    assert sum(counts["(results)"] for counts in plan.ignored.values()) == 1
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (loop,) = make_plan(config("loop"), tmp_path).recordings.values()
    assert loop.files[0].fault.kind == "NOT_A_FILE"
    (only,) = make_plan(config("results/*/recordings"), tmp_path).recordings.values()
    assert Path(only.files[0].path) == made.relative_to(tmp_path)
    with pytest.raises(ConfigError, match=r"holds no file .* beside what runs have made in results/"):
        make_plan(config("resul*"), tmp_path)


def test_a_dataset_on_disk_that_was_mapped_is_read_once(tmp_path):
    from datasets import Dataset, load_from_disk

    Dataset.from_list([{"text": "말"}]).save_to_disk(str(tmp_path / "saved"))
    load_from_disk(str(tmp_path / "saved")).map(lambda row: {"length": len(row["text"])})
    plan = make_plan(config(None, [{"path": str(tmp_path / "saved"), "format": "arrow"}]), tmp_path)
    assert [file.name for what in plan.text.values() for file in what.files] == ["data-00000-of-00001.arrow"]
    assert plan.ignored == {"saved": {"arrow": 1, "json": 2}}


@pytest.mark.parametrize("suffix", ["zst", "GZ"])
def test_a_large_file_has_parts_and_a_compressed_one_a_stream(tmp_path, suffix):
    for name in ("big.jsonl", f"big.jsonl.{suffix}", "small.jsonl"):
        (tmp_path / name).touch()
    os.truncate(tmp_path / "big.jsonl", (3 << 20) - 5)
    os.truncate(tmp_path / f"big.jsonl.{suffix}", (1 << 20) + 1)
    plan = make_plan(config(None, [{"path": str(tmp_path), "name": "web", "format": "jsonl"}]), tmp_path)
    parts = [what.parts for what in plan.text.values() if what.files[0].name == "big.jsonl"]
    assert parts == [3, 3, 3]
    (stream,) = plan.streams.values()
    assert len(stream) == 8
    assert sum(what.parts == 1 for what in plan.text.values()) == 1
    assert len({plan.state_of("ingest", shard) for shard in stream}) == 1, "one job makes them all"
    assert len({plan.state_of("ingest", shard) for shard in plan.text}) == 3 + 1 + 1


def test_a_compressed_file_is_taken_to_be_as_large_as_what_is_in_it(tmp_path):
    (tmp_path / "a.jsonl.gz").touch()
    os.truncate(tmp_path / "a.jsonl.gz", 300_000)
    plan = make_plan(config(None, [{"path": str(tmp_path), "name": "web", "format": "jsonl"}]), tmp_path)
    assert [what.parts for what in plan.text.values()] == [2, 2], "1.5 MB in shards of one"


def test_a_text_is_one_document_however_large_its_file(tmp_path):
    (tmp_path / "big.txt").touch()
    os.truncate(tmp_path / "big.txt", 3 << 20)
    plan = make_plan(config(None, [{"path": str(tmp_path), "name": "web", "format": "txt"}]), tmp_path)
    assert [what.parts for what in plan.text.values()] == [1]


def test_two_large_files_whose_names_differ_in_composition_alone_are_both_in_the_plan(tmp_path):
    for form in ("NFC", "NFD"):
        file = tmp_path / unicodedata.normalize(form, "뉴스.jsonl")
        file.touch()
        os.truncate(file, (1 << 20) + 1)
    plan = make_plan(config(None, [{"path": str(tmp_path), "name": "web", "format": "jsonl"}]), tmp_path)
    files = {what.files[0].path for what in plan.text.values()}
    assert len(files) == 2
    assert len(plan.text) == 2 * 2


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["~nobody of that name/calls"], "~nobody of that name/calls does not exist"),
        (["*.wav"], "no file matches"),
        (["empty"], "holds no file with one of the suffixes"),
        (["calls", "other/calls"], "would both be named 'calls'; give one a name:"),
        (["transcripts"], "the name 'transcripts' is reserved for transcripts"),
        (["transcripts-0001"], "the name 'transcripts-0001' is reserved for transcripts"),
    ],
)
def test_a_wrong_input_is_said_before_any_job(calls, tmp_path, monkeypatch, paths, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "calls").mkdir(parents=True)
    (tmp_path / "other" / "calls" / "a.wav").write_bytes(b"x")
    with pytest.raises(ConfigError, match="The input is not as the config says") as error:
        make_plan(read_config({"recordings": {"paths": paths}}), tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [("none.sqlite", "none.sqlite does not exist (looked in the working directory and in "), ("folder", "is no file")],
)
def test_a_database_that_is_not_there_is_said_like_any_other_input(tmp_path, path, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError) as error:
        make_plan(read_config({"documents": {"databases": [{"path": path}]}}), tmp_path)
    assert message in str(error.value)
    assert "Errno" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transcribe": {"known_phrases": ["none.txt"]}}, "transcribe.known_phrases: none.txt does not exist"),
        ({"analyze": {"lexicons": ["none"]}}, "analyze.lexicons: none does not exist"),
        ({"diarize": {"file": "none.py"}}, "diarize.file: none.py does not exist"),
        ({"filter": {"scorers": {"mine": {"kind": "own", "file": "none.py"}}}}, "filter.scorers.mine.file: none.py"),
        (
            {"filter": {"scorers": {"tests": {"kind": "overlap", "files": ["none.jsonl"], "maximum": 0.3}}}},
            "filter.scorers.tests.files: none.jsonl",
        ),
        ({"train": {"fraud": {**FRAUD, "files": ["none.jsonl"]}}}, "train.fraud.files: none.jsonl does not exist"),
        # A folder or a glob, which inputs may be, is none of these.
        ({"transcribe": {"known_phrases": ["resources"]}}, "transcribe.known_phrases: resources is a folder"),
        ({"diarize": {"file": "resources"}}, "diarize.file: resources is a folder"),
        ({"train": {"fraud": {**FRAUD, "files": ["resources"]}}}, "train.fraud.files: resources is a folder"),
        ({"train": {"fraud": {**FRAUD, "files": ["resources/*"]}}}, "train.fraud.files: resources/* does not exist"),
        ({"analyze": {"lexicons": ["docs"]}}, "analyze.lexicons: docs holds no lexicon (.yaml)"),
        ({"analyze": {"lexicons": ["config/config.yaml"]}}, "config/config.yaml is no lexicon"),
        ({"analyze": {"lexicons": ["resources/lexicons"] * 2}}, "analyze.lexicons: the lexicons have two rules"),
        (
            {"train": {"names": {"kind": "coref", "base": "a/b", "also_on": {"compat": "docs"}}}},
            "train.names.also_on: docs is no merged dataset",
        ),
        # What can be no hub id is a path.
        ({"transcribe": {"model": "/none"}}, "transcribe.model: /none is neither a folder with files in it nor a hub"),
        ({"embed": {"model": "~/none"}}, "embed.model: ~/none is neither"),
        ({"tokenize": {"tokenizer": "resources/models/none"}}, "tokenize.tokenizer: resources/models/none is neither"),
        ({"classify": {"calls": {"model": "README.md"}}}, "classify.calls.model: README.md is neither"),
        (
            {"embed": {"model": "resources/models/embed-ko-demo", "revision": "abc"}},
            "embed.model: resources/models/embed-ko-demo is a folder, and has no revision abc",
        ),
    ],
)
def test_a_missing_file_that_is_read_beside_the_inputs_is_said_with_its_key(calls, tmp_path, settings, message):
    (tmp_path / "a.txt").write_text("가")
    inputs = {
        "recordings": {"paths": [str(calls)]},
        "text": {"sources": [{"path": f"{tmp_path}/a.txt", "format": "txt"}]},
    }
    with pytest.raises(ConfigError) as error:
        make_plan(read_config({**inputs, **settings}), tmp_path)
    assert message in str(error.value)
    make_plan(read_config({"documents": {"write_back": "off"}, **inputs}), tmp_path)


def test_what_is_read_beside_the_inputs_and_may_not_be_is_said_and_a_merged_dataset_is_taken(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    for name in ("a.txt", "labels.jsonl", "dataset/dataset_dict.json"):
        (tmp_path / name).write_text("가")
    names = {"kind": "coref", "base": "a/b", "also_on": {"compat": f"{tmp_path}/dataset"}}
    trainings = {"names": names, "fraud": {**FRAUD, "files": [f"{tmp_path}/labels.jsonl"]}}
    text = {"sources": [{"path": f"{tmp_path}/a.txt", "format": "txt"}]}
    make_plan(read_config({"text": text, "train": trainings}), tmp_path)
    monkeypatch.setattr("malgeul.plan.os.access", lambda path, _: Path(path).name != "labels.jsonl")
    with pytest.raises(ConfigError, match=r"train\.fraud\.files: \S*labels\.jsonl may not be read"):
        make_plan(read_config({"text": text, "train": trainings}), tmp_path)


def test_a_training_on_files_of_its_own_needs_no_other_input(tmp_path):
    (tmp_path / "labels.jsonl").write_text("가")
    plan = make_plan(read_config({"train": {"fraud": {**FRAUD, "files": [f"{tmp_path}/labels.jsonl"]}}}), tmp_path)
    assert plan.shards_of() == {"train": ["fraud"], "evaluate": ["fraud"]}


@pytest.mark.parametrize(
    "named",
    [
        lambda odd: {"transcribe": {"known_phrases": [f"{odd}/a.txt"]}},
        lambda odd: {"analyze": {"lexicons": [odd]}},
        lambda odd: {"embed": {"model": odd}},
        lambda odd: {"train": {"fraud": {**FRAUD, "files": [f"{odd}/a.txt"]}}},
    ],
)
def test_an_input_that_snakemake_would_take_for_a_pattern_is_said_with_its_key(calls, tmp_path, named):
    odd = tmp_path / "data {v2}"
    odd.mkdir()
    for name in ("a.txt", "a.yaml"):
        (odd / name).write_text("가")
    settings = named(str(odd))
    with pytest.raises(ConfigError, match=r"Snakemake would fill in \{v2\} in the name of an input") as error:
        make_plan(read_config({"recordings": {"paths": [str(calls)]}, **settings}), tmp_path)
    assert f"  - {next(iter(settings))}." in str(error.value)


def test_of_a_folder_of_lexicons_the_lexicons_alone_are_looked_at(calls, tmp_path):
    (tmp_path / "lexicons/drafts {v2}").mkdir(parents=True)
    (tmp_path / "lexicons/drafts {v2}/a.yaml").write_text("none")
    (tmp_path / "lexicons/{v2}.txt").write_text("none")
    lexicon = Path("resources/lexicons/threat.yaml")
    (tmp_path / "lexicons/threat.yaml").write_bytes(lexicon.read_bytes())
    named = {"recordings": {"paths": [str(calls)]}, "analyze": {"lexicons": [str(tmp_path / "lexicons")]}}
    make_plan(read_config(named), tmp_path)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (lambda closed: {"train": {"fraud": {**FRAUD, "files": [f"{closed}/a"]}}}, "train.fraud.files: {}/a cannot be"),
        (lambda closed: {"analyze": {"lexicons": [closed]}}, "analyze.lexicons: [Errno 13] Permission denied: '{}/a.y"),
    ],
)
def test_what_lies_in_a_folder_that_may_not_be_entered_is_said(calls, tmp_path, monkeypatch, named, told):
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.yaml").write_text("none")

    def refusing(of_path):
        def look(path, *args, **more):
            if path.parent == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return of_path(path, *args, **more)

        return look

    for name in ("exists", "read_text"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    with pytest.raises(ConfigError) as error:
        make_plan(read_config({"recordings": {"paths": [str(calls)]}, **named(str(closed))}), tmp_path)
    assert told.format(closed) in str(error.value)


def test_a_config_without_any_input_is_said(tmp_path):
    with pytest.raises(ConfigError, match="names no input"):
        make_plan(read_config({}), tmp_path)


def test_every_stage_but_the_first_ones_has_parents_that_the_plan_holds(calls, tmp_path):
    (tmp_path / "a.txt").write_text("가")
    plan = make_plan(config(calls, [{"path": str(tmp_path / "a.txt"), "format": "txt"}]), tmp_path)
    stages = plan.shards_of()
    for stage, shards in stages.items():
        for shard in shards:
            parents = plan.parents_of(stage, shard)
            assert all(parent in stages[above] for above, parent in parents)
            assert parents or stage in {"convert", "ingest", "export"}


def test_a_stage_has_the_shards_that_the_config_asks_of_it(calls, notes, tmp_path):
    for name in ("a.txt", "labels.jsonl"):
        (tmp_path / name).write_text("가")
    inputs = {
        "recordings": {"paths": [{"path": str(calls), "name": "talks"}], "shard": {"files": 100}},
        "text": {"sources": [{"path": f"{tmp_path}/a.txt", "name": "web", "format": "txt"}]},
        "documents": {"databases": [of_table(notes, name) for name in ("b", "a")]},
    }
    talks, web, said = ["talks-0000"], ["web-0000"], ["transcripts-talks-0000"]
    documents = [f"{name}-{number:04d}" for name in ("a", "b") for number in range(4)]
    asked = [
        ({"diarize": {"file": f"{tmp_path}/a.txt"}}, {"diarize": talks}),
        ({"classify": {"calls": {"model": "a/b"}}}, {"classify": talks}),
        ({"filter": {"scorers": {"korean": {"kind": "language"}}}}, {"score": web}),
        (
            {"train": {"fraud": {**FRAUD, "files": [f"{tmp_path}/labels.jsonl"]}}},
            {"train": ["fraud"], "evaluate": ["fraud"]},
        ),
        ({"documents": {**inputs["documents"], "write_back": "copy"}}, {"write_back": ["a", "b"]}),
    ]
    inputs["documents"]["write_back"] = "off"
    always = {
        **dict.fromkeys(("convert", "transcribe", "analyze"), talks),
        **{stage: [*web, *said] for stage in ("ingest", "screen", "filter", "select", "tokenize")},
        **{stage: ["all"] for stage in ("dedup", "cap", "merge")},
        "export": documents,
    }
    embedded = {"chunk": [*documents, *web, *said], "embed": [*documents, *web, *said], "index": ["all"]}
    every = {"embed": {"inputs": ["transcripts", "text", "documents"]}}
    for more, shards in asked:
        plan = make_plan(read_config({**inputs, **every, **more}), tmp_path)
        assert plan.shards_of() == {**always, **embedded, **shards}
    none = make_plan(read_config({**inputs, **more, "embed": {"inputs": []}}), tmp_path)
    assert none.shards_of() == always, "without new vectors there is no version to write"
    assert "dedup" not in make_plan(config(calls), tmp_path).shards_of(), "transcripts are not compared"
    assert plan.parents_of("chunk", "a-0000") == [("export", "a-0000")]
    assert plan.parents_of("chunk", "web-0000") == [("filter", "web-0000")]


# States


def test_the_state_of_a_shard_changes_with_its_files_and_those_of_no_other(calls, tmp_path, monkeypatch):
    def changed(before):
        states = make_plan(config(calls), tmp_path).states
        return {
            shard for (stage, shard), state in states.items() if stage == "convert" and before[stage, shard] != state
        }

    plan = make_plan(config(calls), tmp_path)
    [shard, *_] = plan.recordings
    file = Path(plan.recordings[shard].files[0].path)
    stat = file.stat()
    assert changed(plan.states) == set()
    os.utime(file, ns=(1, 1))
    assert changed(plan.states) == {shard}
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert changed(plan.states) == set()
    with monkeypatch.context() as patched:  # root may read everything
        patched.setattr(os, "access", lambda path, _: Path(path) != file)
        locked = make_plan(config(calls), tmp_path)
        assert changed(plan.states) == {shard}
    assert changed(locked.states) == {shard}, "it may be read now, though neither its size nor its time has changed"
    file.unlink()
    assert changed(plan.states) == {shard}


def test_a_shard_with_a_copy_has_another_state_when_the_recording_in_a_lower_one_changes(calls, tmp_path):
    for k in range(40):
        (calls / f"copy{k}.wav").write_bytes((calls / "call00.wav").read_bytes())
    plan = make_plan(config(calls), tmp_path)
    home, twins = next((shard, what.twins) for shard, what in plan.recordings.items() if what.twins)
    os.utime(twins[0].file.path, ns=(1, 1))
    states = make_plan(config(calls), tmp_path).states
    assert states["convert", home] != plan.states["convert", home]


def test_a_table_over_all_shards_has_another_state_when_one_of_them_is_gone(calls, tmp_path):
    plan = make_plan(config(calls), tmp_path)
    [shard, *_] = plan.recordings
    again = Plan.from_json(json.loads(json.dumps(plan.to_json(), sort_keys=True)))
    assert again.states == plan.states, "as a job on another machine reads it"
    for file in plan.recordings[shard].files:
        Path(file.path).unlink()
    states = make_plan(config(calls), tmp_path).states
    changed = {key for key, state in states.items() if plan.states[key] != state}
    assert {("merge", "all"), ("cap", "all"), ("index", "all")} <= changed


# Databases


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (id TEXT, text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?, ?)", [(f"n{k}", f"글 {k}") for k in range(20)])
    connection.close()
    return path


def of_table(path, name=None):
    return {"path": str(path), "name": name, "layout": "table", "table": "notes", "rows_per_shard": 5}


def of_database(path):
    return read_config({"documents": {"databases": [of_table(path)]}})


@pytest.mark.parametrize("name", ["law {2026}.sqlite", "law <new>.sqlite"])
def test_a_database_whose_name_snakemake_would_fill_in_is_told_before_any_job(notes, tmp_path, name):
    with pytest.raises(ConfigError, match=r"Snakemake would fill in (\{2026\}|<new>) in the name"):
        make_plan(of_database(notes.rename(tmp_path / name)), tmp_path)


def test_rows_of_a_database_that_nobody_touched_are_not_read_again(notes, tmp_path, monkeypatch):
    plan = make_plan(of_database(notes), tmp_path)
    assert sum(shard.rows for shard in plan.documents.values()) == 20
    with monkeypatch.context() as patched:
        patched.setattr("malgeul.embedding.sqlite_store.survey", lambda *_: pytest.fail("read again"))
        assert make_plan(of_database(notes), tmp_path, plan) == plan
    monkeypatch.setattr("malgeul.embedding.documents.DIGESTS", 99)
    assert make_plan(of_database(notes), tmp_path, plan).documents == plan.documents, "read again, with the same result"


def test_a_changed_row_changes_the_shard_it_is_in(notes, tmp_path):
    plan = make_plan(of_database(notes), tmp_path)
    with sqlite3.connect(notes) as connection:
        connection.execute("UPDATE notes SET text = '고침' WHERE id = 'n3'")
    connection.close()
    changed = make_plan(of_database(notes), tmp_path, plan)
    assert changed.documents.keys() == plan.documents.keys()
    assert sum(changed.documents[name] != shard for name, shard in plan.documents.items()) == 1
    assert sum(changed.states["export", name] != plan.states["export", name] for name in plan.documents) == 1


def test_a_locked_database_is_named_with_its_holder_before_any_job(notes, tmp_path, monkeypatch):
    monkeypatch.setattr("malgeul.embedding.database.PATIENCE", 0.2)
    code = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE')"
    command = [sys.executable, "-c", f"{code}; print('locked', flush=True); time.sleep(60)", str(notes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match=rf"notes.sqlite stayed locked .* by process {holder.pid}"):
            make_plan(of_database(notes), tmp_path)
        holder.kill()


def test_a_server_has_no_file_to_copy():
    with pytest.raises(ConfigError, match=r"service=law is no file that could be copied: set write_back: in_place"):
        read_config({"documents": {"databases": [{"path": "service=law"}]}})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/law.v2.sqlite", "law.v2"),
        ("postgresql://user@host:5432/lawdb?sslmode=require", "lawdb"),
        ("postgresql:///?host=/run/postgresql", "postgres"),
        ("service=law", "law"),
    ],
)
def test_a_database_has_a_name_where_none_is_given(path, name):
    raw = {"databases": [{"path": path}], "write_back": "off"}
    (database,) = read_config({"documents": raw}).documents.databases
    assert database.default_name == name


@pytest.mark.parametrize(
    "other", ["{0}/notes.sqlite", "{0}/../{0.name}/notes.sqlite", "{0}/link.sqlite", "notes.sqlite"]
)
def test_a_database_that_is_written_to_is_named_once(tmp_path, other):
    file = tmp_path / "notes.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER, text TEXT)")
        connection.execute("CREATE TABLE laws (id INTEGER, text TEXT)")
    connection.close()
    (tmp_path / "link.sqlite").symlink_to(file)
    entries = [
        {"name": table, "path": path, "layout": "table", "table": table}
        for table, path in (("notes", str(file)), ("laws", other.format(tmp_path)))
    ]
    given = {"documents": {"databases": entries, "write_back": "in_place"}}
    with pytest.raises(ConfigError, match=r"notes\.sqlite is named 2 times"):
        make_plan(read_config(given), tmp_path)
    given["documents"]["write_back"] = "copy"
    assert len(make_plan(read_config(given), tmp_path).databases) == 2


@pytest.mark.parametrize("way", ["copy", "in_place"])
def test_tables_that_no_version_fits_into_are_told_before_any_job(notes, tmp_path, way):
    with sqlite3.connect(notes) as connection:
        connection.execute("CREATE TABLE text_chunks (id INTEGER PRIMARY KEY, lawyer TEXT NOT NULL)")
    connection.close()
    config = of_database(notes)
    with pytest.raises(
        ConfigError, match=r"notes\.sqlite: versions cannot be written: .*text_chunks\.lawyer must have"
    ):
        make_plan(with_write_back(config, way), tmp_path)
    make_plan(with_write_back(config, "off"), tmp_path)


def test_a_database_that_cannot_be_written_is_told_unless_its_version_is_of_the_same_documents_and_settings(
    notes, tmp_path, monkeypatch
):
    config = with_write_back(of_database(notes), "in_place")
    settings = config.documents.databases[0]
    store = SqliteStore(notes)
    record = Record(store.survey(settings).contents(), settings)
    monkeypatch.setattr("malgeul.embedding.sqlite_store.os.access", lambda *_, **__: False)
    with pytest.raises(ConfigError, match=r"notes\.sqlite: no version can be written into it: .* is not writable"):
        make_plan(config, tmp_path)
    with monkeypatch.context() as writable:
        writable.setattr("malgeul.embedding.sqlite_store.os.access", lambda *_, **__: True)
        made_with = version_settings(config.documents, config.chunk, config.embed)
        version = replace(a_version(), metadata={"settings": made_with})
        store.write(version, batches(), record)
    make_plan(config, tmp_path)
    for section, key, value, fits in (
        ("embed", "model", "some/other", False),
        ("embed", "query_prompt", "query: ", True),
        ("chunk", "max_chars", 700, False),
        ("documents", "min_chars", 51, False),
    ):
        other = config.model_copy(update={section: getattr(config, section).model_copy(update={key: value})})
        if fits:
            make_plan(other, tmp_path)
            continue
        with pytest.raises(ConfigError, match="is not writable"):
            make_plan(other, tmp_path)
    with sqlite3.connect(notes) as connection:
        connection.execute("INSERT INTO notes SELECT max(id) + 1, '새 글' FROM notes")
    connection.close()
    with pytest.raises(ConfigError, match="is not writable"):
        make_plan(config, tmp_path)


def with_write_back(config, way):
    return config.model_copy(update={"documents": config.documents.model_copy(update={"write_back": way})})


@pytest.mark.parametrize(
    "content",
    [
        b'{"recordings": {"calls-0001": {"source": "calls", "files": [], "twins": [{"path": "a", "shard": "b"}]}}}',
        b'{"recordings": {}, "text": {}, "documents": {}, "whole": 1}',
        b'{"recordings": {}, "name": "\xb0\xa1"}',
        b'{"recordings"',
    ],
)
def test_the_plan_of_another_version_is_told_as_one(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"plan\.json is no plan of this version .*; run the workflow again"):
        read_plan(tmp_path / "plan.json")
