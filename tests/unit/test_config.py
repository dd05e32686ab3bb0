"""The config is typed, its errors say how to mend it, and its schema is generated."""

import json
import math
import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from malgeul.config import REFERENCE_MARK, ConfigError, RunConfig, check_keys, read_config, reference
from malgeul.shards.inputs import locate
from malgeul.text.profiles import rules_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_default_config_is_valid():
    raw = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    assert read_config(raw).run == "demo"


def test_the_schema_on_disk_is_the_models_own():
    stored = json.loads((ROOT / "config/schema.json").read_text(encoding="utf-8"))
    assert stored == RunConfig.model_json_schema(), (
        "config/schema.json is out of step; make it again: python -m malgeul.config (in scripts/)"
    )


def test_the_reference_lists_every_key_of_the_models():
    readme = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert readme.partition(REFERENCE_MARK)[2].strip() == reference().strip(), (
        "config/README.md is out of step; make it again: python -m malgeul.config (in scripts/)"
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"recordngs": {}}, "recordngs: unknown key; did you mean 'recordings'?"),
        ({"filter": {"profil": "x"}}, "filter.profil: unknown key; did you mean 'profile'?"),
        (
            {"filter": {"scorers": {"korean": {"kind": "language", "minimun": 0.5}}}},
            "filter.scorers.korean.language.minimun: unknown key; did you mean 'minimum'?",
        ),
        ({"text": {"sources": [{"path": "x", "format": "txt", "text_fild": "t"}]}}, "did you mean 'text_field'?"),
        ({"text": {"sources": [{"path": "x", "format": "csv"}]}}, "text.sources.0.format: Input should be 'jsonl'"),
        ({"select": {"max_entity_freq": 0}}, "select.max_entity_freq: Input should be greater than or equal to 1"),
        ({"select": {"min_distance": 3000}}, "no distance is at least 3000 and at most 2000 characters"),
        ({"documents": {"databases": [{"path": "x", "layout": "table"}]}}, "layout: table needs the key table"),
        (
            {"documents": {"databases": [{"path": "x", "query": "SELECT id, text FROM notes"}]}},
            "the key query is read with layout: query alone; the layout is law",
        ),
        ({"run": "../x"}, "run: String should match"),
        ({"run": date(2026, 7, 1)}, "run: Input should be a valid string (given: 2026-07-01); put it in quotes"),
        ({"recordings": {"paths": [{"path": "x", "nam": "y"}]}}, "nam: unknown key; did you mean 'name'?"),
        ({"transcribe": {"revision": 1234567}}, "valid string (given: 1234567); put it in quotes"),
        ({"filter": {"thresholds": {True: 3}}}, "valid string (given: True); put it in quotes"),
        # What is read with another key alone would be left aside in silence.
        ({"diarize": {"model": "x/y"}}, "diarize: Value error, the key model is read with a file alone"),
        ({"diarize": {"gpu": True}}, "the key gpu is read with a file alone"),
        ({"diarize": {"file": "x.py", "revision": "1a"}}, "the key revision is read with a model alone"),
        ({"classify": {"calls": {"model": "x", "adapter_revision": "1a"}}}, "adapter_revision is read with an adapter"),
        (
            {"classify": {"calls": {"model": "x", "question": "{text}?", "answers": {"good": "예", "bad": "예"}}}},
            "two labels have the answer '예'",
        ),
        ({"embed": {"inputs": ["text", "documents", "text"]}}, "embed.inputs: Value error, text is named twice"),
        ({"train": {"names": {"base": "x"}}}, "train.names: the key 'kind' is missing, which says what this is"),
        (
            {"train": {"names": {"kind": "coref", "base": "x", "seed": -1}}},
            "train.names.coref.seed: Input should be greater than or equal to 0",
        ),
        (
            {"train": {"names": {"kind": "coref", "base": "x", "also_on": {"test": "results/compat/dataset"}}}},
            "also_on: the name test stands for the test rows of this run",
        ),
        # An empty path would be the working directory: all that lies there would go in.
        ({"text": {"sources": [{"path": "", "format": "txt"}]}}, "text.sources.0.path: String should have at least 1"),
        ({"recordings": {"paths": [""]}}, "recordings.paths.0.constrained-str: String should have at least 1"),
        ({"diarize": {"file": ""}}, "diarize.file: String should have at least 1"),
        ({"embed": {"model": ""}}, "embed.model: String should have at least 1"),
        (
            {"filter": {"scorers": {"tests": {"kind": "overlap", "files": ["x"], "fields": []}}}},
            "filter.scorers.tests.overlap.fields: List should have at least 1 item",
        ),
        ({"filter": {"thresholds": {"too_short": math.nan}}}, "too_short: nothing is above or below"),
        (
            {"filter": {"scorers": {"korean": {"kind": "language", "minimum": math.nan}}}},
            "filter.scorers.korean.language.minimum: Input should be a finite number (given: nan)",
        ),
        (
            {"train": {"fraud": {"kind": "classifier", "base": "x", "files": ["x"], "epochs": math.inf}}},
            "train.fraud.classifier.epochs: Input should be a finite number (given: inf)",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_cure(raw, message):
    with pytest.raises(ConfigError) as error:
        read_config(raw)
    assert message in str(error.value)


def examples():
    """Return the configs that are shown to users: indented blocks that begin with a section."""
    pages = ("README.md", "README.ko.md", "config/README.md")
    texts = [(ROOT / page).read_text(encoding="utf-8").partition(REFERENCE_MARK)[0] for page in pages]
    blocks = [block for text in texts for block in re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)]
    return [block for block in blocks if block.strip().partition(":")[0] in RunConfig.model_fields]


@pytest.mark.parametrize("example", examples())
def test_every_example_of_a_config_is_valid(example):
    read_config(yaml.safe_load(example))


def test_off_needs_no_quotes():
    assert read_config(yaml.safe_load("documents: {write_back: off}")).documents.write_back == "off"


def test_an_infinite_threshold_turns_a_rule_off():
    read = read_config(yaml.safe_load("filter: {thresholds: {too_long: .inf, too_short: -.inf}}")).filter
    verdicts = [rule.rejects(value) for rule in rules_of(read.profile, read.thresholds)[:2] for value in (0, 10**9)]
    assert not any(verdicts)


def test_all_mistakes_are_listed_at_once():
    with pytest.raises(ConfigError) as error:
        read_config({"recordngs": {}, "run": ""})
    assert str(error.value).count("\n  - ") == 2


def test_a_key_that_is_there_twice_is_said_with_its_lines(tmp_path):
    twice, once = tmp_path / "twice.yaml", tmp_path / "once.yaml"
    twice.write_text("run: a\ntext: {sources: []}\nembed:\n  model: x\n  model: y\ntext: {shard: {files: 3}}\n")
    once.write_text("text: {sources: [{path: a}, {path: b}]}\n")
    with pytest.raises(ConfigError) as error:
        check_keys([once, twice])
    assert str(error.value).splitlines()[1:] == [
        f"  - {twice}, line 5: embed.model is there since line 4",
        f"  - {twice}, line 6: text is there since line 2",
    ]
    check_keys([once, ROOT / "config/config.yaml"])


def test_of_several_merges_each_counts_and_what_an_alias_repeats_is_said_once(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b\n")
    check_keys([file])
    file.write_text("a: &a {x: 1, x: 2}\nb: *a\nc: &c {d: *c}\n")
    with pytest.raises(ConfigError) as error:
        check_keys([file])
    assert str(error.value).splitlines()[1:] == [f"  - {file}, line 1: a.x is there since line 1"]


def test_a_key_with_nothing_behind_it_has_its_default_where_it_holds_more_than_a_value():
    assert read_config({"recordings": None, "train": None}) == RunConfig()
    assert read_config({"recordings": {"paths": None, "shard": None}, "filter": {"thresholds": None}}) == RunConfig()
    source = {"path": "x", "format": "txt", "id_field": None, "thresholds": None}
    assert read_config({"text": {"sources": [source]}}).text.sources[0].id_field is None
    with pytest.raises(ConfigError, match=r"run: Input should be a valid string \(given: None\)"):
        read_config({"run": None})


def test_a_null_that_is_given_turns_off_the_telling_apart_of_speakers_whatever_stands_beside_it():
    assert read_config({"diarize": {"file": None, "model": "x/y", "options": {"most": 2}}}).diarize.file is None


def test_a_path_is_found_in_the_working_directory_first_and_then_beside_the_snakefile(tmp_path, monkeypatch):
    root, here = tmp_path / "root", tmp_path / "here"
    for folder in (root, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    (root / "data").mkdir()
    assert locate("data", root) == root / "data"
    (here / "data").mkdir()
    assert locate("data", root) == Path("data")
