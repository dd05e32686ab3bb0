"""A recording becomes its channels and the facts about it; what could not be measured is null with a reason."""

from __future__ import annotations

import os

import pytest

from malgeul.audio import conversion
from malgeul.audio.conversion import convert_recording
from malgeul.audio.intake import take_in
from malgeul.audio.settings import ConvertSettings
from malgeul.shards.faults import ItemFault
from malgeul.shards.inputs import InputFile
from unit.audio.conftest import ffmpeg, noise


def converted(file, tmp_path, **settings):
    (recording,) = take_in([InputFile(file.name, file.stat().st_size, str(file))]).recordings
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    try:
        return recording.id, convert_recording(recording, folder, ConvertSettings(**settings))
    finally:
        assert not list(folder.glob("*.part")), "nothing half made is left"


def test_two_speakers_on_two_channels_become_two_files(tmp_path):
    name, result = converted(noise(tmp_path / "a.m4a", channels=2), tmp_path)
    assert [file.name for file in result.files] == [f"{name}.0.wav", f"{name}.1.wav"]
    assert result.facts["channels"] == [f"{name}.0", f"{name}.1"]
    assert abs(result.facts["measured"]["channel_correlation"]) < 0.1


def test_the_threshold_is_the_configs(tmp_path):
    _, result = converted(noise(tmp_path / "a.m4a", channels=2), tmp_path, channel_correlation=0)
    assert len(result.files) == 1


def test_the_facts_name_the_source_as_it_was(tmp_path):
    _, result = converted(noise(tmp_path / "a.mp3", rate=22_050), tmp_path)
    source = result.facts["source"]
    assert (source["codec"], source["sample_rate"], source["channels"]) == ("mp3", 22050, 1)
    assert source["seconds"] == pytest.approx(2, abs=0.05)
    assert result.facts["seconds"] == pytest.approx(2, abs=0.05)
    assert result.facts["partial"] is None


def test_loudness_is_that_of_ebu_tech_3341_and_is_measured_only(tmp_path):
    """Case 1: a stereo sine of 1 kHz at -23 dBFS on both channels is -23 LUFS."""
    sine = f"{10 ** (-23 / 20)}*sin(2*PI*1000*t)"
    file = tmp_path / "a.wav"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc={sine}|{sine}:d=20:s=48000", str(file))
    measured = converted(file, tmp_path)[1].facts["measured"]
    assert measured["loudness_lufs"] == pytest.approx(-23, abs=0.1)
    assert measured["peak_dbfs"] == pytest.approx(-23, abs=0.05), "no gain"


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_mulaw", "pcm_alaw"])
def test_a_call_that_was_cut_off_at_full_scale_is_seen_in_telephone_codecs(codec, tmp_path):
    """Of a tone that comes and goes twice as high as full scale, four tenths are cut off."""
    file = tmp_path / "a.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=2*sin(2*PI*210*t)*sin(2*PI*2*t):d=4:s=8000", "-c:a", codec, str(file))
    share = converted(file, tmp_path)[1].facts["measured"]["clipping_share"]
    assert 0.15 < share < 0.45


def test_every_null_has_a_reason_and_every_reason_a_null(tmp_path):
    silence = tmp_path / "silence.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=1", str(silence))
    for file in (silence, noise(tmp_path / "a.wav", channels=2), noise(tmp_path / "b.wav", rate=8000)):
        facts = converted(file, tmp_path)[1].facts
        nulls = {name for name, value in facts["measured"].items() if value is None}
        assert set(facts["unmeasured"]) == nulls, file.name
        assert all(facts["unmeasured"].values())


def test_telephone_recordings_are_narrowband_even_when_they_are_silent(tmp_path):
    silence = tmp_path / "silence.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:d=1", str(silence))
    assert converted(silence, tmp_path)[1].facts["measured"]["narrowband"] is True
    assert converted(noise(tmp_path / "a.wav", rate=8000), tmp_path)[1].facts["measured"]["narrowband"] is True
    assert converted(noise(tmp_path / "b.wav", rate=44100), tmp_path)[1].facts["measured"]["narrowband"] is False


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.opus"])
def test_a_telephone_call_that_was_saved_at_a_higher_rate_is_narrowband(tmp_path, name):
    call = noise(tmp_path / "call.wav", rate=8000)
    file = tmp_path / name
    ffmpeg("-i", str(call), "-ar", "48000", str(file))
    assert converted(file, tmp_path)[1].facts["measured"]["narrowband"] is True


def test_recordings_of_11025_hz_are_wider_than_a_telephone(tmp_path):
    file = noise(tmp_path / "a.wav", rate=11_025)
    assert converted(file, tmp_path)[1].facts["measured"]["narrowband"] is False


def test_a_salvaged_recording_says_what_is_missing(tmp_path, m4a):
    file = tmp_path / "a.m4a"
    file.write_bytes(m4a[: len(m4a) // 2])
    partial = converted(file, tmp_path)[1].facts["partial"]
    assert partial["missing_seconds"] == pytest.approx(partial["declared_seconds"] - partial["decoded_seconds"])
    assert partial["missing_seconds"] > 1


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_what_was_hashed(tmp_path, monkeypatch):
    file = noise(tmp_path / "a.wav")
    decode = conversion.decode

    def disturbed(*arguments):
        result = decode(*arguments)
        os.utime(file, (1, 1))
        return result

    monkeypatch.setattr(conversion, "decode", disturbed)
    with pytest.raises(ItemFault, match="changed while it was read") as caught:
        converted(file, tmp_path)
    assert caught.value.fault.to_json()["retryable"], "the next run may find it at rest"


def test_the_same_bytes_come_of_the_same_bytes(tmp_path):
    file = noise(tmp_path / "a.mp3", channels=2)
    first = converted(file, tmp_path)[1]
    content = [path.read_bytes() for path in first.files]
    second = converted(file.rename(tmp_path / "b.m4a"), tmp_path)[1]
    assert [path.read_bytes() for path in second.files] == content
    assert second.facts == first.facts
