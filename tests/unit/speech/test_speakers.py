"""Who speaks when is what the user's program says, checked; a segment is whose it mostly is."""

import json

import numpy as np
import pytest

import diarize_audio as script
from malgeul.audio.pcm import RATE
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.ledger import Ledger, Tally, Units
from malgeul.shards.tables import read_rows
from malgeul.speech.settings import DiarizeSettings
from malgeul.speech.speakers import Stretch, load_diarizer, name_speakers
from unit.speech.conversations import proofs, write_wav

BY_PITCH = """
import numpy as np


def load(border=150.0, frame=1600):
    \"\"\"Tell two voices apart by whether their pitch is over a border, every tenth of a second.\"\"\"

    def pitch(samples):
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 16 * len(samples)))
        return np.argmax(spectrum) * 16_000 / (16 * len(samples))

    def diarize(samples):
        found = []
        for start in range(0, len(samples) - frame + 1, frame):
            part = samples[start : start + frame]
            if np.abs(part).max() > 0.05:
                found.append((start / 16_000, (start + frame) / 16_000, "high" if pitch(part) > border else "low"))
        return found

    return diarize
"""


@pytest.fixture
def program(tmp_path):
    def write(source):
        file = tmp_path / "diarizer.py"
        file.write_text(source, encoding="utf-8")
        return file

    return write


def tone(hertz, seconds):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE).astype(np.float32)


def test_what_a_program_finds_is_sorted_and_kept_within_the_recording(program):
    file = program("def load():\n    return lambda samples: [(1.5, 9, 'b'), (-0.1, 0.5, 'a'), (3, 4, 'c')]")
    assert load_diarizer(file, {})(tone(100, 2)) == [Stretch(0.0, 0.5, "a"), Stretch(1.5, 2.0, "b")]


@pytest.mark.parametrize(
    ("found", "error"), [("[(0, 1)]", TypeError), ("[(0, 'x', 'a')]", TypeError), ("[(1, 0.5, 'a')]", ValueError)]
)
def test_what_is_no_stretch_is_said_with_the_file(program, found, error):
    file = program(f"def load():\n    return lambda samples: {found}")
    with pytest.raises(error, match=r"diarizer\.py gave"):
        load_diarizer(file, {})(tone(100, 2))


def test_a_file_that_is_no_program_is_said(program):
    with pytest.raises(TypeError, match="no function load"):
        load_diarizer(program("x = 1"), {})


def test_a_segment_is_whose_it_mostly_is_and_nobodys_where_nobody_speaks():
    segments = [
        {"start": 0.0, "end": 2.0, "words": [{"start": 0.0, "end": 0.5}, {"start": 0.5, "end": 2.0}]},
        {"start": 5.0, "end": 6.0, "words": None},
        {"start": 7.0, "end": 8.0, "words": [{"start": 7.0, "end": 8.0}, {"start": 40.0, "end": 41.0}]},
    ]
    stretches = [Stretch(0.0, 0.6, "A"), Stretch(0.6, 1.0, "B"), Stretch(1.5, 2.0, "B")]
    name_speakers(segments, [*stretches, Stretch(7.0, 8.0, "A"), Stretch(39.0, 42.0, "B")])
    assert [segment["speaker"] for segment in segments] == ["B", None, "A"]
    assert [word["speaker"] for word in segments[2]["words"]] == ["A", "B"], "also over a pause"
    assert [word["speaker"] for word in segments[0]["words"]] == ["A", "B"]


@pytest.fixture
def results(tmp_path):
    """A shard with a mono recording of two voices, a silent one, and a call with two channels."""
    folder = tmp_path / "results/recordings/calls-0000"
    folder.mkdir(parents=True)
    sounds = {
        "mono": np.concatenate([tone(110, 1), np.zeros(RATE // 2, np.float32), tone(220, 1)]),
        "silent": np.zeros(RATE, np.float32),
        "call.0": tone(110, 1),
        "call.1": tone(220, 1),
    }
    for stem, sound in sounds.items():
        write_wav(folder / f"{stem}.wav", sound)
    rows = [
        {"id": "call", "channels": ["call.0", "call.1"], "seconds": 1.0, "speech": {"call.0": [[0, 1]], "call.1": []}},
        {"id": "mono", "channels": ["mono"], "seconds": 2.5, "speech": {"mono": [[0, 2.5]]}},
        {"id": "silent", "channels": ["silent"], "seconds": 1.0, "speech": {"silent": []}},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    ledger = Ledger("convert", "calls-0000", Units("recording", "channel"), given=Tally.of(sounds))
    ledger.outputs = proofs(tmp_path / "results", folder.iterdir())
    write_json(tmp_path / "results/ledger/convert/calls-0000.json", ledger.to_json())
    return tmp_path / "results"


def run(results, file, model=None, **options):
    settings = DiarizeSettings(file=str(file), model=model and str(model), options=options).model_dump()
    job = Job(
        inputs={
            "recordings": [results / "recordings/calls-0000"],
            "program": [file],
            "ledger": [results / "ledger/convert/calls-0000.json"],
        },
        outputs={
            "speakers": results / "speakers/calls-0000.parquet",
            "ledger": results / "ledger/diarize/calls-0000.json",
        },
        params={"settings": settings, "handling": DiarizeSettings.HANDLING},
        units=Units("channel", "recording"),
        identity=script._identity({"settings": settings}),
    )
    try:
        job.run(script.diarize_audio)
    finally:
        job.journal.close()
    return list(read_rows(results / "speakers/calls-0000.parquet")), job.ledger


def test_two_voices_of_one_channel_are_told_apart_and_channels_are_left_alone(results, program):
    rows, ledger = run(results, program(BY_PITCH))
    assert {row["recording"] for row in rows} == {"mono"}
    assert all((row["speaker"] == "low") == (row["end"] <= 1.001) for row in rows)
    assert len(rows) == 20
    assert (ledger.taken.n, ledger.given.n, ledger.imbalance()) == (4, 3, None)


def test_only_a_changed_program_or_option_is_asked_again(results, program):
    first, _ = run(results, program(BY_PITCH))
    broken = "def load(**options):\n    raise AssertionError('asked again')"
    (results / "speakers/calls-0000.parquet").unlink()
    assert run(results, program(BY_PITCH))[0] == first
    with pytest.raises(AssertionError, match="asked again"):
        run(results, program(broken))
    other, _ = run(results, program(BY_PITCH), border=300.0)
    assert {row["speaker"] for row in other} == {"low"}


def test_a_program_gets_the_folder_of_its_model_and_is_asked_again_when_that_changes(results, program, tmp_path):
    def of(border):
        (tmp_path / "model/inner").mkdir(parents=True, exist_ok=True)
        (tmp_path / "model/inner/border.txt").write_text(border, encoding="utf-8")
        return tmp_path / "model"

    reading = BY_PITCH.replace(
        "load(border=150.0, frame=1600):",
        "load(model, frame=1600):\n    border = float(open(model + '/inner/border.txt').read())",
    )
    assert {row["speaker"] for row in run(results, program(reading), of("150"))[0]} == {"low", "high"}
    assert {row["speaker"] for row in run(results, program(reading), of("300"))[0]} == {"low"}


def test_a_model_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match="the model is named twice"):
        DiarizeSettings(file="x.py", model="a/b", options={"model": "a/b"})
