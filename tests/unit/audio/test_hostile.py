"""No file stops the conversion, none is lost, none makes it read another one or do anything else."""

from __future__ import annotations

import json
import wave
from dataclasses import asdict

import convert_audio as script
from malgeul.audio.settings import ConvertSettings, RecordingsInput
from malgeul.shards.inputs import find_files
from malgeul.shards.job import Job
from malgeul.shards.ledger import Units
from unit.audio import hostile


def test_every_hostile_file_ends_where_it_belongs(tmp_path):
    folder = tmp_path / "hostile"
    expected = hostile.make(folder)
    assert len(expected) >= 40
    before = {file for file in tmp_path.rglob("*") if "loop" not in file.parts}
    found = find_files(folder, RecordingsInput().formats).files
    results = tmp_path / "results"
    job = Job(
        inputs={},
        outputs={
            "recordings": results / "recordings/calls-0000",
            "ledger": results / "ledger/convert/calls-0000.json",
        },
        params={
            "settings": ConvertSettings(timeout_seconds=60).model_dump(mode="json"),
            "files": [asdict(file) for file in found],
            "twins": [],
        },
        units=Units("recording", "channel"),
        threads=2,
    )
    job.run(script.convert_audio)
    ledger = job.ledger
    assert ledger.imbalance() is None
    faults = {fault["item"]: fault["class"] for fault in ledger.quarantined}
    rows = [
        json.loads(line) for line in (results / "recordings/calls-0000/manifest.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(rows) == ledger.used.n
    assert ledger.used.n + len(faults) + sum(ledger.rejected.values()) == len(found)

    def outcome(file):
        return faults.get(str(file), hostile.USED)

    wrong = {file.name: outcome(file) for file, allowed in expected.items() if outcome(file) not in allowed}
    assert wrong == {}
    secret = next(row for row in rows if row["name"] == "secret.wav")
    assert secret["aliases"] == [], "nothing else has its sound"
    lengths = {row["name"]: row["seconds"] for row in rows}
    assert lengths["ten hours declared.wav"] < 2
    for row in rows:
        for stem in row["channels"]:
            with wave.open(str(results / f"recordings/calls-0000/{stem}.wav")) as audio:
                assert audio.getframerate() == 16_000
    after = {file for file in tmp_path.rglob("*") if "loop" not in file.parts and results not in file.parents}
    assert after - {results} == before, "no file was made beside the results"
