"""The rule convert_audio: every file accounted for once, whatever happens, and nothing done twice."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict

import pytest

import convert_audio as script
from malgeul.audio.settings import ConvertSettings
from malgeul.config import read_config
from malgeul.plan import make_plan
from malgeul.report.audit import audit
from malgeul.shards.faults import ItemFault
from malgeul.shards.files import files_under, remove
from malgeul.shards.inputs import InputFile, Twin, find_files
from malgeul.shards.job import Job
from malgeul.shards.ledger import Tally, Units, read_ledger
from malgeul.shards.sources import read_content
from malgeul.shards.verify import find_stale
from unit.audio.conftest import noise


@pytest.fixture
def calls(tmp_path, m4a):
    """Recordings of every kind: whole, broken, twice."""
    folder = tmp_path / "calls"
    folder.mkdir()
    noise(folder / "two.mp3", channels=2)
    noise(folder / "one.wav", seed=7)
    shutil.copy(folder / "one.wav", folder / "z copy.wav")
    (folder / "cut.m4a").write_bytes(m4a[: len(m4a) // 2])
    (folder / "text.m4a").write_text("이것은 글이다.", encoding="utf-8")
    shutil.copy(folder / "text.m4a", folder / "text again.m4a")
    (folder / "empty.m4a").touch()
    return folder


def job_of(tmp_path, calls, *, threads=1, twins=(), run="run", **settings) -> Job:
    results = tmp_path / "results" / run
    return Job(
        inputs={},
        outputs={
            "recordings": results / "recordings" / "calls-0000",
            "ledger": results / "ledger" / "convert" / "calls-0000.json",
        },
        params={
            "settings": ConvertSettings(**settings).model_dump(mode="json"),
            "files": [asdict(file) for file in find_files(calls, None).files],
            "twins": list(twins),
            "handling": ConvertSettings.HANDLING,
            "code": "c0de",
        },
        units=Units("recording", "channel"),
        threads=threads,
        relevant=script.RELEVANT,
    )


def run(tmp_path, calls, **options):
    job = job_of(tmp_path, calls, **options)
    job.run(script.convert_audio)
    return json.loads(job.outputs["ledger"].read_text("utf-8")), job.outputs["recordings"]


def contents(folder):
    return {file.name: file.read_bytes() for file in files_under(folder)}


@pytest.fixture
def conversions(monkeypatch):
    """The names of the files that are really converted."""
    done = []
    convert = script.convert_recording

    def counted(recording, *arguments):
        done.append(recording.file.name)
        return convert(recording, *arguments)

    monkeypatch.setattr(script, "convert_recording", counted)
    return done


def test_every_file_is_used_rejected_or_quarantined_exactly_once(tmp_path, calls):
    ledger, folder = run(tmp_path, calls)
    assert ledger["ids"]["in"] == Tally.of(map(str, calls.iterdir())).to_json()
    assert (ledger["in"], ledger["used"], ledger["rejected"]) == (7, 3, {"duplicate": 1})
    assert sorted((fault["item"].rsplit("/")[-1], fault["class"]) for fault in ledger["quarantined"]) == [
        ("empty.m4a", "EMPTY"),
        ("text again.m4a", "NOT_AUDIO"),
        ("text.m4a", "NOT_AUDIO"),
    ]
    stems = [file.stem for file in folder.glob("*.wav")]
    assert len(stems) == 4
    assert ledger["ids"]["out"] == Tally.of(stems).to_json()


def test_the_ledger_keeps_aliases_and_what_was_salvaged(tmp_path, calls):
    ledger, folder = run(tmp_path, calls)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    (one,) = [row for row in rows if row["name"] == "one.wav"]
    assert one["aliases"] == ["z copy.wav"]
    notes = {note["what"]: note for note in ledger["notes"]}
    assert notes["duplicate"]["item"] == str(calls / "z copy.wav")
    assert (notes["duplicate"]["duplicate_of"], notes["duplicate"]["alias"]) == (one["id"], "z copy.wav")
    assert notes["partial"]["item"] == str(calls / "cut.m4a")
    assert notes["partial"]["missing_seconds"] > 1


def test_a_recording_that_ffmpeg_gives_up_is_told_although_it_ends_well(tmp_path):
    """Two recordings one after the other in an Ogg, the second one in stereo."""
    folder = tmp_path / "calls"
    folder.mkdir()
    parts = [noise(tmp_path / f"{channels}.ogg", channels=channels).read_bytes() for channels in (1, 2)]
    (folder / "a.ogg").write_bytes(b"".join(parts))
    (folder / "b.ogg").write_bytes(parts[0])
    ledger, _ = run(tmp_path, folder)
    (note,) = [note for note in ledger["notes"] if note["what"] == "not_read_to_its_end"]
    assert (note["item"], note["decoded_seconds"]) == (str(folder / "a.ogg"), pytest.approx(2, abs=0.05))


def test_the_manifest_and_the_items_name_the_files_there_are(tmp_path, calls):
    ledger, folder = run(tmp_path, calls)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    channels = {channel for row in rows for channel in row["channels"]}
    assert channels == {file.stem for file in folder.glob("*.wav")}
    assert {name for names in ledger["items"].values() for name in names} == {
        f"recordings/calls-0000/{channel}.wav" for channel in channels
    }


def test_what_a_lower_shard_has_is_rejected_here(tmp_path, calls):
    twin = tmp_path / "elsewhere.wav"
    shutil.copy(calls / "one.wav", twin)
    ledger, folder = run(tmp_path, calls, twins=[asdict(Twin(InputFile(twin.name, 0, str(twin)), "other-0000"))])
    assert ledger["rejected"] == {"duplicate": 2}
    assert {note["shard"] for note in ledger["notes"] if note["what"] == "duplicate"} == {"other-0000"}
    assert len(list(folder.glob("*.wav"))) == 3


def test_one_thread_and_four_give_the_same_bytes(tmp_path, calls):
    one, four = run(tmp_path, calls, run="one"), run(tmp_path, calls, run="four", threads=4)
    assert contents(one[1]) == contents(four[1])
    for name in ("quarantined", "notes", "items", "ids", "measured"):
        assert one[0][name] == four[0][name]


def test_a_job_that_ends_in_the_middle_resumes_where_it_was(tmp_path, calls, monkeypatch, conversions):
    counted = script.convert_recording

    def failing(recording, *arguments):
        if len(conversions) == 2:
            raise MemoryError
        return counted(recording, *arguments)

    monkeypatch.setattr(script, "convert_recording", failing)
    with pytest.raises(MemoryError):
        run(tmp_path, calls)
    monkeypatch.setattr(script, "convert_recording", counted)
    ledger, folder = run(tmp_path, calls)
    assert len(conversions) == len(set(conversions)) == 4, "three good ones and a broken one, each once"
    assert contents(folder) == contents(run(tmp_path, calls, run="undisturbed")[1])
    assert ledger["used"] == 3
    assert not (tmp_path / "results/run/journal/convert/calls-0000").exists()


def test_a_fault_that_may_pass_is_tried_again_by_the_next_attempt(tmp_path, calls, monkeypatch, conversions):
    counted = script.convert_recording

    def slow(recording, *arguments):
        counted(recording, *arguments)
        raise ItemFault("TIMEOUT", "slow")

    monkeypatch.setattr(script, "convert_recording", slow)
    job = job_of(tmp_path, calls)
    job.staged("recordings")
    script.convert_audio(job)
    assert len(job.journal) == 1, "the text alone, which stays a text"
    monkeypatch.setattr(script, "convert_recording", counted)
    assert run(tmp_path, calls)[0]["used"] == 3


def test_one_more_file_is_the_only_one_that_is_converted(tmp_path, calls, conversions):
    _, folder = run(tmp_path, calls)
    before = contents(folder)
    conversions.clear()
    noise(calls / "new.wav", seed=9)
    remove(folder)
    ledger, folder = run(tmp_path, calls)
    # Recordings that cannot be converted are tried again: nothing of them is kept.
    assert set(conversions) == {"new.wav", "text again.m4a"}
    assert (ledger["in"], ledger["used"], ledger["reused"]) == (8, 4, 3)
    after = contents(folder)
    assert {name: after[name] for name in before if name.endswith(".wav")} == {
        name: content for name, content in before.items() if name.endswith(".wav")
    }


def test_a_renamed_file_is_not_converted_again_and_has_its_new_name(tmp_path, calls, conversions):
    run(tmp_path, calls)
    conversions.clear()
    (calls / "two.mp3").rename(calls / "renamed.mp3")
    _, folder = run(tmp_path, calls)
    assert "renamed.mp3" not in conversions
    assert '"name": "renamed.mp3"' in (folder / "manifest.jsonl").read_text("utf-8")


def test_a_recording_that_is_touched_keeps_the_shard_and_one_that_is_altered_does_not(tmp_path, calls):
    before = job_of(tmp_path, calls)
    os.utime(calls / "one.wav", ns=(1, 1))
    assert job_of(tmp_path, calls).key == before.key
    assert job_of(tmp_path, calls).params["files"] != before.params["files"], "by which Snakemake starts the job"
    noise(calls / "one.wav", seed=8)
    assert job_of(tmp_path, calls).key != before.key


def test_another_setting_converts_again(tmp_path, calls, conversions):
    run(tmp_path, calls)
    conversions.clear()
    ledger, folder = run(tmp_path, calls, channel_correlation=0)
    assert ledger["reused"] == 0
    assert len(conversions) == 4
    assert not list(folder.glob("*.1.wav"))


def test_another_timeout_converts_only_what_an_earlier_one_ended(tmp_path, calls, conversions, monkeypatch):
    counted = script.convert_recording

    def slow(recording, *arguments):
        if recording.file.name == "two.mp3":
            raise ItemFault("TIMEOUT", "slow")
        return counted(recording, *arguments)

    monkeypatch.setattr(script, "convert_recording", slow)
    ledger, _ = run(tmp_path, calls)
    assert "TIMEOUT" in {fault["class"] for fault in ledger["quarantined"]}
    monkeypatch.setattr(script, "convert_recording", counted)
    conversions.clear()
    ledger, _ = run(tmp_path, calls, timeout_seconds=3600)
    assert set(conversions) == {"two.mp3", "text again.m4a"}
    assert (ledger["used"], ledger["reused"]) == (3, 2)


def test_a_file_that_vanishes_is_quarantined_and_does_not_stop_the_shard(tmp_path, calls):
    job = job_of(tmp_path, calls)
    (calls / "two.mp3").unlink()
    job.run(script.convert_audio)
    ledger = json.loads(job.outputs["ledger"].read_text("utf-8"))
    assert {"two.mp3": "VANISHED"}.items() <= {
        fault["item"].rsplit("/")[-1]: fault["class"] for fault in ledger["quarantined"]
    }.items()
    assert ledger["used"] == 2


def test_a_shard_without_a_good_recording_is_empty_and_accounted_for(tmp_path, calls):
    for file in calls.iterdir():
        if file.name != "empty.m4a":
            file.unlink()
    ledger, folder = run(tmp_path, calls)
    assert (ledger["in"], ledger["out"]) == (1, 0)
    assert contents(folder) == {"manifest.jsonl": b""}


def test_every_file_is_hashed_once_and_one_that_changes_before_it_is_decoded_is_found_out(tmp_path, calls, monkeypatch):
    from malgeul.shards import sources

    read: list[str] = []
    hashing, converting = sources.read_content, script.convert_recording

    def hashed(path):
        read.append(path)
        return hashing(path)

    def changing(recording, *arguments):
        if recording.file.name == "two.mp3":
            os.utime(recording.file.path, ns=(1, 1))
        return converting(recording, *arguments)

    monkeypatch.setattr(sources, "read_content", hashed)
    monkeypatch.setattr(script, "convert_recording", changing)
    job = job_of(tmp_path, calls)
    job.params["state"] = "as planned"
    job.run(script.convert_audio)
    ledger = read_ledger(job.outputs["ledger"])
    assert sorted(read) == sorted(map(str, calls.iterdir()))
    assert {"two.mp3": "CHANGED"}.items() <= {
        fault["item"].rsplit("/")[-1]: fault["class"] for fault in ledger.quarantined
    }.items()
    assert ledger.state == ""


# Two shards with the same bytes, of which one file goes


class TwoShards:
    """Shards of two folders that have one recording both: the file in the lower shard stands for the other one."""

    def __init__(self, folder):
        self.folder, self.results = folder, folder / "results" / "run"
        self.lower, self.higher = self.plan().recordings
        self.original, _ = self.plan().recordings[self.lower].files
        self.id = read_content(self.original.path).id

    def plan(self):
        paths = [str(self.folder / name) for name in ("april", "may")]
        return make_plan(read_config({"recordings": {"paths": paths}}), self.folder)

    def convert(self, plan, shard):
        what = plan.recordings[shard]
        job = Job(
            inputs={},
            outputs={
                "recordings": self.results / "recordings" / shard,
                "ledger": self.results / "ledger" / "convert" / f"{shard}.json",
            },
            params={
                "settings": ConvertSettings().model_dump(mode="json"),
                "files": [asdict(file) for file in what.files],
                "twins": [asdict(twin) for twin in what.twins],
                "state": plan.state_of("convert", shard),
            },
            units=Units("recording", "channel"),
            relevant=script.RELEVANT,
        )
        job.run(script.convert_audio)

    def broken(self, plan):
        ledgers = {
            ("convert", shard): read_ledger(self.results / "ledger" / "convert" / f"{shard}.json")
            for shard in plan.recordings
        }
        return audit(plan, ledgers, size_of=lambda name: (self.results / name).stat().st_size)["broken"]

    def homes(self):
        """Return the shards that have the recording."""
        return [file.parent.name for file in self.results.glob(f"recordings/*/{self.id}.wav")]

    def mend(self):
        """Do what the next run does, and return the shards that it makes again."""
        plan = self.plan()
        stale = [shard for _, shard in find_stale(self.results, plan.states)]
        for shard in stale:
            self.convert(plan, shard)
        assert self.broken(plan) == []
        assert find_stale(self.results, plan.states) == []
        return stale


@pytest.fixture
def two_shards(tmp_path):
    for folder in ("april", "may"):
        (tmp_path / folder).mkdir()
    noise(tmp_path / "april/a.wav", seed=7)
    noise(tmp_path / "april/b.wav", seed=8, seconds=1)
    shutil.copy(tmp_path / "april/a.wav", tmp_path / "may/copy of a.wav")
    return TwoShards(tmp_path)


@pytest.mark.parametrize("back", [False, True])
def test_a_copy_whose_original_goes_before_it_is_converted_is_told_and_mended(two_shards, tmp_path, back):
    shards = two_shards
    plan = shards.plan()
    shards.convert(plan, shards.higher)
    away = tmp_path / "away"
    shutil.move(shards.original.path, away)
    shards.convert(plan, shards.lower)
    (broken,) = shards.broken(plan)
    assert (broken["stage"], broken["shard"]) == ("convert", shards.higher)
    assert "was left out as a copy" in broken["what"]
    assert shards.homes() == []
    if back:  # as it was: size and time are those of the plan
        shutil.move(away, shards.original.path)
    assert shards.mend() == ([shards.lower] if back else [shards.lower, shards.higher])
    assert shards.homes() == [shards.lower if back else shards.higher]


def test_an_original_that_is_back_is_the_recording_again(two_shards, tmp_path):
    """Else the copy in the higher shard would stay a recording, beside the one that is back."""
    shards = two_shards
    plan = shards.plan()
    away = tmp_path / "away"
    shutil.move(shards.original.path, away)
    for shard in (shards.lower, shards.higher):
        shards.convert(plan, shard)
    assert shards.homes() == [shards.higher]
    shutil.move(away, shards.original.path)
    assert shards.mend() == [shards.lower, shards.higher]
    assert shards.homes() == [shards.lower]
