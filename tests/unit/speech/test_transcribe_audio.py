"""The rule transcribe_audio: a transcript per recording, whatever ends the job, and nothing transcribed twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

import transcribe_audio as script
from malgeul import ROOT
from malgeul.audio.voice import detect_speech
from malgeul.models import profiling
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Tally, Units
from malgeul.shards.stopping import Stopped
from malgeul.shards.tables import TableWriter
from malgeul.speech.settings import TranscribeSettings
from malgeul.speech.speakers import SPEAKERS
from malgeul.speech.whisper import Segment, Whisper
from malgeul.speech.windows import Window
from malgeul.speech.words import Word
from unit.speech.conversations import proofs, write_wav
from unit.spoken import RATE, spoken

SOUNDS = [np.concatenate(spoken("seen")[1][first : first + 3]) for first in range(0, 12, 3)]
"""Four recordings of three sentences each, of two windows or so."""
SILENCE = np.zeros(3 * RATE)
CUT = round(4.998 * RATE)
"""Somebody speaks to the end of a recording, which is at no hundredth of a second."""
WEIGHTS = "resources/models/whisper-ko-demo/model.safetensors"


@pytest.fixture
def results(tmp_path):
    """What the conversion made of four recordings, a call of two channels and a silent one."""
    results = tmp_path / "results"
    folder = results / "recordings/calls-0000"
    folder.mkdir(parents=True)
    rows = [row(folder, f"{number:016x}", [sound]) for number, sound in enumerate(SOUNDS)]
    rows.append(row(folder, "a" * 16, [SOUNDS[0][:CUT], SOUNDS[1][:CUT]]))
    rows.append(row(folder, "b" * 16, [SILENCE]))
    write_manifest(results, rows)
    return results


def row(folder, name, channels):
    stems = [name] if len(channels) == 1 else [f"{name}.{channel}" for channel in range(len(channels))]
    for stem, samples in zip(stems, channels, strict=True):
        write_wav(folder / f"{stem}.wav", samples)
    return {
        "id": name,
        "name": f"{name}.m4a",
        "channels": stems,
        "seconds": round(max(map(len, channels)) / RATE, 3),
        "speech": {
            stem: detect_speech([(samples * 32767).astype("<i2")], 0.5)
            for stem, samples in zip(stems, channels, strict=True)
        },
    }


def write_manifest(results, rows):
    folder = results / "recordings/calls-0000"
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ledger = Ledger("convert", "calls-0000", Units("recording", "channel"))
    ledger.given = Tally.of(file.stem for file in folder.glob("*.wav"))
    ledger.outputs = proofs(results, folder.iterdir())
    write_json(results / "ledger/convert/calls-0000.json", ledger.to_json())


def read_manifest(results):
    lines = (results / "recordings/calls-0000/manifest.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def run(results, hints=None, phrases=ROOT / "resources/known_phrases.txt", **settings):
    """Run the job; return the transcripts by recording and its ledger."""
    job = Job(
        inputs={
            "recordings": [results / "recordings/calls-0000"],
            "known_phrases": [phrases],
            "speakers": [results / "speakers/calls-0000.parquet"] if (results / "speakers").exists() else [],
            "ledger": [results / "ledger/convert/calls-0000.json"],
        },
        outputs={
            "transcripts": results / "transcripts/calls-0000",
            "ledger": results / "ledger/transcribe/calls-0000.json",
        },
        params={
            "settings": TranscribeSettings(**{"batch_windows": 2, **settings}).model_dump(),
            "handling": TranscribeSettings.HANDLING,
            "hints": hints or {},
        },
        units=Units("channel", "recording"),
        identity={"model": "demo", "digest": "0"},
    )
    try:
        job.run(script.transcribe_audio)
    finally:
        job.journal.close()
    return transcripts(results), job.ledger


def transcripts(results):
    files = sorted((results / "transcripts/calls-0000").glob("*.json"))
    return {file.stem: json.loads(file.read_text("utf-8")) for file in files}


@pytest.fixture
def batches(monkeypatch):
    """Every batch that the model is given, as numbers of its windows."""
    sizes = []
    transcribe = Whisper.transcribe

    def counted(self, batch):
        sizes.append(len(batch))
        return transcribe(self, batch)

    monkeypatch.setattr(Whisper, "transcribe", counted)
    return sizes


def test_every_recording_has_a_transcript_of_its_own_speech(results):
    found, ledger = run(results)
    assert list(found) == [f"{number:016x}" for number in range(4)] + ["a" * 16, "b" * 16]
    texts = spoken("seen")[0]
    for number in range(4):
        said = " ".join(texts[3 * number : 3 * number + 3])
        heard = found[f"{number:016x}"]["text"]
        assert len(set(said) & set(heard)) > 0.7 * len(set(said))
    assert found["b" * 16]["no_speech"] is True
    assert found["b" * 16]["segments"] == []
    assert ledger.imbalance() is None
    assert (ledger.used.n, ledger.given.n) == (7, 6)
    assert ledger.measured["batch_windows"] == 2


def test_channels_are_speakers_and_times_are_those_of_the_recording(results):
    found, _ = run(results)
    call = found["a" * 16]
    assert {segment["speaker"] for segment in call["segments"]} == {"0", "1"}
    rows = {row["id"]: row for row in read_manifest(results)}
    for name, transcript in found.items():
        for segment in transcript["segments"]:
            stem = rows[name]["channels"][segment["channel"] or 0]
            assert 0 <= segment["start"] <= segment["end"] <= rows[name]["seconds"]
            assert any(
                start - 0.5 <= segment["start"] and segment["end"] <= end + 0.5
                for start, end in [(rows[name]["speech"][stem][0][0], rows[name]["speech"][stem][-1][1])]
            )


@pytest.mark.parametrize("failing", range(1, 6))
def test_memory_that_runs_out_in_any_batch_changes_nothing(results, monkeypatch, failing):
    expected, _ = run(results)
    calls = 0
    transcribe = Whisper._transcribe

    def limited(self, batch):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise torch.OutOfMemoryError
        return transcribe(self, batch)

    monkeypatch.setattr(Whisper, "_transcribe", limited)
    found, ledger = run(results, language="ko", max_new_tokens=439)  # another setting: nothing is taken again
    assert calls >= failing
    assert {name: one["text"] for name, one in found.items()} == {name: one["text"] for name, one in expected.items()}
    assert not ledger.quarantined


def test_a_recording_that_does_not_fit_alone_is_quarantined_and_the_others_are_not(results, monkeypatch):
    transcribe, lengths = Whisper._transcribe, []

    def limited(self, batch):
        lengths.append(len(batch[0].sound))  # the longest window is heard first
        if any(len(heard.sound) == lengths[0] for heard in batch):
            raise torch.OutOfMemoryError
        return transcribe(self, batch)

    monkeypatch.setattr(Whisper, "_transcribe", limited)
    found, ledger = run(results)
    assert len(found) == 5
    assert {one["class"] for one in ledger.quarantined} == {"OUT_OF_MEMORY"}
    assert ledger.imbalance() is None


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_killed_job_goes_on_and_computes_at_most_one_batch_again(results, batches, monkeypatch, done):
    expected, _ = run(results, max_new_tokens=439, word_times=True)
    everything = len(batches)
    batches.clear()
    transcribe = Whisper.transcribe

    def dying(self, batch):
        if len(batches) == done + 1:
            raise KeyboardInterrupt
        return transcribe(self, batch)

    monkeypatch.setattr(Whisper, "transcribe", dying)
    with pytest.raises(KeyboardInterrupt):
        run(results, word_times=True)
    monkeypatch.setattr(Whisper, "transcribe", transcribe)
    found, _ = run(results, word_times=True)
    assert len(batches) <= everything + 1
    assert {name: one["segments"] for name, one in found.items()} == {
        name: one["segments"] for name, one in expected.items()
    }


def test_sigterm_finishes_the_batch_and_the_next_run_goes_on_there(results, batches, monkeypatch):
    expected, _ = run(results)
    everything = len(batches)
    shutil.rmtree(results / "kept")
    shutil.rmtree(results / "transcripts")
    batches.clear()
    transcribe = Whisper.transcribe

    def asked(self, batch):
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return transcribe(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Whisper, "transcribe", asked)
        with pytest.raises(Stopped):
            run(results)
    assert len(batches) == 3
    assert not (results / "transcripts").exists()
    found, _ = run(results)
    assert len(batches) == everything, "no batch twice"
    assert found == expected


def test_a_renamed_recording_is_not_transcribed_again_and_has_its_new_name(results, batches):
    first, _ = run(results)
    batches.clear()
    rows = read_manifest(results)
    rows[0]["name"] = "renamed.m4a"
    write_manifest(results, rows)
    found, ledger = run(results)
    assert batches == []
    assert ledger.reused == 7
    assert found[rows[0]["id"]] == {**first[rows[0]["id"]], "name": "renamed.m4a"}


def test_a_recording_that_another_shard_had_is_not_transcribed_again(results, batches):
    rows = read_manifest(results)
    first, _ = run(results)
    batches.clear()
    write_manifest(results, rows[:2])  # its shard is made again before the one to which the others have gone
    run(results)
    shutil.rmtree(results / "kept/transcribe/calls-0000")
    write_manifest(results, rows[2:])
    found, ledger = run(results)
    assert batches == []
    assert ledger.reused == 5
    assert found == {row["id"]: first[row["id"]] for row in rows[2:]}


@pytest.mark.parametrize("changed", [{"batch_windows": 3}, {"revision": "main"}])
def test_another_way_to_the_same_transcripts_decodes_nothing_again(results, batches, changed):
    first, before = run(results)
    batches.clear()
    found, after = run(results, **changed)
    assert (batches, after.reused, found) == ([], 7, first)
    assert after.key != before.key, "the shard was looked at again"
    assert after.content_key == before.content_key


def test_another_list_of_phrases_flags_anew_and_decodes_nothing_again(results, batches, tmp_path):
    first, _ = run(results)
    batches.clear()
    (tmp_path / "phrases.txt").write_text(first[f"{3:016x}"]["segments"][0]["text"], "utf-8")
    found, ledger = run(results, phrases=tmp_path / "phrases.txt", known_phrases=["phrases.txt"])
    assert (batches, ledger.reused) == ([], 7)
    flagged = found[f"{3:016x}"]["segments"][0]
    assert flagged["flags"] == ["known_phrase"]
    flagged["flags"] = []
    assert found == first, "but for that flag"
    assert run(results)[0] == first


def test_a_recording_that_was_renamed_after_a_kill_has_its_new_name(results, monkeypatch):
    monkeypatch.setattr(script, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(results)
    monkeypatch.undo()
    rows = read_manifest(results)
    rows[0]["name"] = "renamed.m4a"
    write_manifest(results, rows)
    assert run(results)[0][rows[0]["id"]]["name"] == "renamed.m4a"


def test_the_fastest_precision_is_chosen_by_measurement_and_kept_to(results):
    found, ledger = run(results, precision="fastest")
    seconds = {precision: trial["seconds"] for precision, trial in ledger.measured["trials"].items()}
    assert {"float32", "int8"} <= set(seconds)
    assert ledger.measured["precision"] == min(seconds, key=seconds.get)
    assert ledger.measured["tried_by"] == "calls-0000"
    assert len(found) == 6


@pytest.mark.parametrize("fastest", ["float32", "int8"])
def test_what_the_fastest_precision_heard_when_it_was_tried_is_not_decoded_again(
    results, batches, monkeypatch, fastest
):
    expected, _ = run(results, precision=fastest, batch_windows=5)
    everything = list(batches)
    assert everything[:2] == [1, 5], "a first window, by which the memory is planned, and batches"
    batches.clear()
    monkeypatch.setattr(script, "candidate_precisions", lambda device: ["float32", "int8"])

    def measured(job, device, candidates, measure):
        trials = measure()
        assert batches == [1, 5, 1, 5], "of each precision, as it is then decoded"
        return {one: {"seconds": float(one != fastest)} for one in trials}

    monkeypatch.setattr(script, "tried_once", measured)
    found, ledger = run(results, precision="fastest", batch_windows=5)
    assert batches == [1, 5, *everything]
    assert ledger.measured["precision"] == fastest
    assert found == expected


def test_another_setting_of_the_decoding_transcribes_again(results, batches):
    run(results)
    batches.clear()
    run(results, temperatures=[])
    assert sum(batches) > 1


def test_a_load_that_fails_once_is_tried_again(results, monkeypatch):
    init, tries = Whisper.__init__, []

    def failing(self, *arguments, **named):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("the driver is not ready")
        init(self, *arguments, **named)

    monkeypatch.setattr(Whisper, "__init__", failing)
    assert len(run(results)[0]) == 6
    assert len(tries) == 2


def test_a_load_that_fails_twice_fails_the_shard(results, monkeypatch):
    def failing(self, *_, **__):
        raise RuntimeError("the driver is not ready")

    monkeypatch.setattr(Whisper, "__init__", failing)
    with pytest.raises(RuntimeError, match="not ready"):
        run(results)


def test_words_have_times_inside_their_segments_where_they_are_asked_for(results):
    for transcript in run(results, word_times=True)[0].values():
        for segment in transcript["segments"]:
            assert " ".join(word["word"] for word in segment["words"]).split() == segment["text"].split()
            for word in segment["words"]:
                assert segment["start"] <= word["start"] <= word["end"] <= segment["end"]
                assert 0 < word["probability"] <= 1
    without, _ = run(results)
    assert all(segment["words"] is None for transcript in without.values() for segment in transcript["segments"])


def test_a_segment_over_a_pause_that_was_left_out_is_parted_where_its_words_have_times():
    window = Window("r", 0, "r", ((0.0, 3.0), (20.0, 25.0)))
    words = [Word(0.2, 1.0, "가", 0.9), Word(1.0, 2.8, "나", 0.9), Word(4.0, 8.0, "다", 0.9)]
    segment = Segment(0.2, 8.0, "가 나 다", -0.1, 0.1, 0.5, words=words)
    recording = {"id": "r", "name": "r.wav", "seconds": 30.0, "channels": ["r"]}

    def placed(said):
        transcript = script._transcript(recording, {"language": "ko"}, {window: [said]})["transcript"]
        assert transcript["text"] == "가 나 다"
        return [(s["start"], s["end"], s["text"], s["flags"]) for s in transcript["segments"]]

    assert placed(segment) == [(0.2, 2.8, "가 나", []), (20.4, 24.4, "다", [])]
    assert placed(replace(segment, words=None)) == [(20.0, 24.4, "가 나 다", ["across_pause"])]


def test_segments_and_words_of_one_channel_get_their_speakers_without_being_decoded_again(results, batches):
    before, _ = run(results, word_times=True)
    mono = next(t for t in before.values() if len(t["channels"]) == 1 and len(t["segments"][0]["words"]) > 1)
    segment = mono["segments"][0]
    border = segment["words"][-1]["start"]
    rows = [(0.0, border, "A"), (border, mono["duration"], "B")]
    (results / "speakers").mkdir()
    with TableWriter(results / "speakers/calls-0000.parquet", SPEAKERS) as table:
        for start, end, speaker in rows:
            table.write({"recording": mono["id"], "start": start, "end": end, "speaker": speaker})
    batches.clear()
    after, ledger = run(results, word_times=True)
    assert not batches
    assert ledger.reused == ledger.taken.n
    first = after[mono["id"]]["segments"][0]
    assert first["speaker"] == "A"
    assert [word["speaker"] for word in first["words"]] == ["A"] * (len(first["words"]) - 1) + ["B"]
    for name, transcript in after.items():
        if name != mono["id"]:
            assert [s["speaker"] for s in transcript["segments"]] == [s["speaker"] for s in before[name]["segments"]]
    assert (results / f"transcripts/calls-0000/{mono['id']}.txt").read_text("utf-8").startswith("A: ")


def test_a_profiled_job_gives_the_same_transcripts_and_does_not_start_again_for_a_profile(
    results, batches, monkeypatch
):
    monkeypatch.setattr(profiling, "MOST_SECONDS", 0.3)  # writing takes ten times as long
    plain, _ = run(results)
    shutil.rmtree(results / "kept")
    profiled, ledger = run(results, hints={"profile": True})
    assert profiled == plain
    facts = ledger.measured["profile"]
    assert facts["batches"] >= 1
    operators = json.loads((results / facts["folder"] / "operators.json").read_text("utf-8"))["operators"]
    assert any("scaled_dot_product" in row["name"] for row in operators[:10])
    assert ledger.measured["load"]["bytes"] == (ROOT / WEIGHTS).stat().st_size
    assert ledger.measured["load_seconds"] > 0
    batches.clear()
    _, again = run(results, hints={"profile": False})
    assert batches == []
    assert again.computed_nothing
