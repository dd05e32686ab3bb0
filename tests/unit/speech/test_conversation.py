"""A row of conversation/ holds measured facts and evidence; every null has its reason; there is no verdict."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from malgeul.speech import praat
from malgeul.speech.conversation import (
    CONVERSATION,
    NOT_TOLD_APART,
    NOTHING_SAID,
    TOO_FEW_CYCLES,
    analyze_recording,
)
from malgeul.speech.lexicon import read_lexicons
from malgeul.speech.praat import LEAST_CYCLES
from unit.speech.conversations import (
    CALL,
    CALL_CHANNELS,
    CALL_ROW,
    CALL_TRANSCRIPT,
    MEMO,
    MEMO_ROW,
    MEMO_TRANSCRIPT,
    SILENCE_ROW,
    SILENCE_TRANSCRIPT,
    segment,
    transcript,
    write_channels,
)

RULES = read_lexicons(sorted((Path(__file__).parents[3] / "resources/lexicons").glob("*.yaml")))
ALL = [(CALL_TRANSCRIPT, CALL_ROW), (MEMO_TRANSCRIPT, MEMO_ROW), (SILENCE_TRANSCRIPT, SILENCE_ROW)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    write_channels(folder)
    return folder


def analyzed(folder, said, row):
    return analyze_recording(said, row, folder, RULES, [0.2, 0.5])


def nulls(value, path=""):
    """Yield the paths of the nulls of a row, as ``unmeasured`` names them."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from nulls(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from nulls(part, f"{path}[{number}]")


@pytest.mark.parametrize(("said", "row"), ALL, ids=["call", "memo", "silence"])
def test_every_null_has_its_reason_and_every_reason_its_null(folder, said, row):
    result = analyzed(folder, said, row)
    unmeasured = result.pop("unmeasured")
    assert all(entry["reason"] for entry in unmeasured)
    names = {path for path in nulls(result) if not path.endswith(".speaker")}
    assert {entry["field"] for entry in unmeasured} == names


@pytest.mark.parametrize(("said", "row"), ALL, ids=["call", "memo", "silence"])
def test_a_row_fits_its_schema_and_comes_back_as_it_was(folder, said, row):
    result = analyzed(folder, said, row)
    assert list(result) == CONVERSATION.names
    assert pa.Table.from_pylist([result], schema=CONVERSATION).to_pylist() == [result]


def test_a_channel_per_speaker_is_a_voice_per_channel(folder):
    result = analyzed(folder, CALL_TRANSCRIPT, CALL_ROW)
    officer, called = result["voices"]
    assert (officer["speaker"], called["speaker"]) == ("channel 0", "channel 1")
    assert officer["f0_median_hz"] == pytest.approx(110, rel=0.01)
    assert called["f0_median_hz"] == pytest.approx(220, rel=0.01)
    assert officer["talk_seconds"] == pytest.approx(6.1)
    assert (officer["turns"], called["turns"]) == (2, 1)
    assert called["response_latency_seconds"] == pytest.approx(0.5)
    assert (officer["interruptions"], called["interruptions"]) == (1, 0)
    assert officer["pauses"][0] == {"longer_than": 0.2, "count": 1, "seconds": pytest.approx(0.4)}
    assert officer["syllables"] == len("서울중앙지검김민수수사관입니다전화끊지마세요안전계좌로이체해주세요")
    assert 0 <= officer["f0_iqr_semitones"] < 0.1, "a synthetic voice is even"
    assert 0 <= officer["intensity_iqr_db"] < 1
    assert officer["syllables_per_second"] == pytest.approx(officer["syllables"] / 6.1, abs=0.001)
    assert result["interaction"] == {
        "talk_seconds": pytest.approx(7.1),
        "silence_seconds": pytest.approx(2.9),
        "turns": 3,
        "overlaps": 1,
        "overlap_seconds": pytest.approx(0.5),
    }


def test_a_silent_channel_is_a_voice_that_says_nothing(folder):
    said = {**CALL_TRANSCRIPT, "segments": CALL_TRANSCRIPT["segments"][:1]}
    _, called = analyzed(folder, said, CALL_ROW)["voices"]
    assert (called["talk_seconds"], called["utterances"], called["f0_median_hz"]) == (0, 0, None)


def test_speech_without_text_is_told_with_its_place(folder):
    row = {**CALL_ROW, "speech": {CALL_CHANNELS[0]: [(0.0, 3.4), (9.0, 9.4)], CALL_CHANNELS[1]: [(2.4, 4.2)]}}
    said = [*CALL_TRANSCRIPT["segments"], segment(9.2, 9.2, "네.", 0)]  # of no length: it covers nothing
    found = analyze_recording(transcript(CALL, CALL_CHANNELS, said), row, folder, RULES, [0.2])
    assert found["without_text"] == [
        {"channel": 0, "start_seconds": 2.0, "end_seconds": 3.4},
        {"channel": 0, "start_seconds": 9.0, "end_seconds": 9.4},
    ], "long parts of a span, and whole spans; no borders"
    assert found["trust"]["without_text_seconds"] == 1.8
    row = {**MEMO_ROW, "speech": {MEMO: [(0.0, 3.0)]}}
    assert analyzed(folder, MEMO_TRANSCRIPT, row)["without_text"] == [], "a segment of the only channel names none"


def test_evidence_quotes_the_text_and_names_rule_time_and_speaker(folder):
    evidence = analyzed(folder, CALL_TRANSCRIPT, CALL_ROW)["evidence"]
    assert [(span["rule"], span["speaker"], span["start_seconds"]) for span in evidence] == [
        ("impersonation.prosecution", "channel 0", 0.0),
        ("coercion.stay_on_line", "channel 0", 3.5),
        ("demand.safe_account", "channel 0", 5.4),
        ("demand.transfer", "channel 0", 5.4),
    ]
    for span in evidence:
        assert CALL_TRANSCRIPT["text"][span["start"] : span["end"]] == span["quote"]


def test_voices_that_are_not_told_apart_have_no_turns(folder):
    result = analyzed(folder, MEMO_TRANSCRIPT, MEMO_ROW)
    (voice,) = result["voices"]
    assert (voice["speaker"], voice["turns"], voice["interruptions"]) == (None, None, None)
    assert result["interaction"]["turns"] is None
    assert voice["f0_median_hz"] == pytest.approx(160, rel=0.01)


def test_a_null_has_the_reason_that_is_its_own(folder):
    def reasons(said, row):
        return {entry["field"]: entry["reason"] for entry in analyzed(folder, said, row)["unmeasured"]}

    assert reasons(MEMO_TRANSCRIPT, MEMO_ROW)["voices[0].turns"] == NOT_TOLD_APART
    assert "without overlap" in reasons(CALL_TRANSCRIPT, CALL_ROW)["voices[0].response_latency_seconds"]
    silent = {**CALL_TRANSCRIPT, "segments": CALL_TRANSCRIPT["segments"][:1]}
    assert reasons(silent, CALL_ROW)["voices[1].response_latency_seconds"] == NOTHING_SAID
    brief = transcript(MEMO, [MEMO], [segment(1, 1, "네.")])
    assert reasons(brief, MEMO_ROW)["voices[0].syllables_per_second"] == "its utterances have no length"
    assert "voiced frames" in reasons(brief, MEMO_ROW)["voices[0].f0_median_hz"]


def test_speaker_labels_tell_voices_of_one_channel_apart(folder):
    segments = [segment(0, 1, "네.", None, speaker="B"), segment(1.5, 3, "그래요.", None, speaker="A")]
    result = analyzed(folder, transcript(MEMO, [MEMO], segments), MEMO_ROW)
    assert [(voice["speaker"], voice["channel"], voice["turns"]) for voice in result["voices"]] == [
        ("A", 0, 1),
        ("B", 0, 1),
    ]
    segments += [segment(2, 4, "아니요.", None, speaker="C"), segment(5, 6, "네.", None, speaker="B")]
    assert analyzed(folder, transcript(MEMO, [MEMO], segments), MEMO_ROW)["interaction"]["overlaps"] == 1


def test_glottal_cycles_are_measured_where_praat_finds_enough(folder):
    pytest.importorskip("parselmouth")
    officer, called = analyzed(folder, CALL_TRANSCRIPT, CALL_ROW)["voices"]
    assert officer["glottal_cycles"] == pytest.approx(6.1 * 110, rel=0.05)
    assert 0 <= officer["jitter"] < 0.005, "a synthetic voice is even"
    assert 0 <= officer["shimmer"] < 0.01
    assert called["harmonicity_db"] > 20
    brief = transcript(MEMO, [MEMO], [segment(0.0, 0.3, "네.")])
    for said, row, reason in ((brief, MEMO_ROW, TOO_FEW_CYCLES), (SILENCE_TRANSCRIPT, SILENCE_ROW, NOTHING_SAID)):
        result = analyzed(folder, said, row)
        assert result["voices"][0]["glottal_cycles"] < LEAST_CYCLES
        assert {"field": "voices[0].jitter", "reason": reason} in result["unmeasured"]


def test_without_praat_jitter_shimmer_and_harmonicity_are_null_and_say_what_to_install(folder, monkeypatch):
    monkeypatch.setattr(praat, "parselmouth", None)
    for said, row in ALL:
        result = analyzed(folder, said, row)
        reasons = {entry["field"]: entry["reason"] for entry in result["unmeasured"]}
        for number, voice in enumerate(result["voices"]):
            for name in ("glottal_cycles", "jitter", "shimmer", "harmonicity_db"):
                assert voice[name] is None
                assert "praat-parselmouth" in reasons[f"voices[{number}].{name}"]


def test_a_salvaged_recording_says_how_much_is_missing(folder):
    row = {**MEMO_ROW, "partial": {"missing_seconds": 2.5}}
    assert analyzed(folder, MEMO_TRANSCRIPT, row)["quality"]["missing_seconds"] == 2.5
    assert analyzed(folder, MEMO_TRANSCRIPT, MEMO_ROW)["quality"]["missing_seconds"] == 0


def test_a_transcript_whose_times_run_backwards_is_refused(folder):
    with pytest.raises(ValueError, match="ends before it starts"):
        analyzed(folder, transcript(MEMO, [MEMO], [segment(2, 1, "네")]), MEMO_ROW)


def test_what_no_voice_claims_is_nobodys_turn(folder):
    said = [
        segment(0.0, 1.0, "하나", speaker="A"),
        segment(1.2, 2.0, "둘", speaker=None),
        segment(2.2, 3.0, "셋", speaker="A"),
    ]
    found = analyzed(folder, transcript(MEMO, [MEMO], said), MEMO_ROW)
    assert [voice["speaker"] for voice in found["voices"]] == ["A"]
    assert found["interaction"]["turns"] == 1
    assert found["interaction"]["talk_seconds"] == pytest.approx(2.6, abs=0.01)
    assert found["voices"][0]["response_latency_seconds"] is None
