"""Every measured fact is shown, with its unit, or with the reason why there is none."""

from __future__ import annotations

import pytest

from malgeul.speech import conversation, facts
from malgeul.speech.facts import Fact, shown_facts, shown_source, shown_voices


@pytest.mark.parametrize(
    ("shown", "schema", "elsewhere"),
    [
        (facts.QUALITY, conversation.QUALITY, set()),
        (facts.INTERACTION, conversation.INTERACTION, set()),
        (facts.VOICE, conversation.VOICE, {"speaker", "channel", "pauses"}),
        (facts.TRUST, conversation.TRUST, {"flags"}),
    ],
    ids=["quality", "interaction", "voice", "trust"],
)
def test_no_field_of_a_row_is_forgotten(shown, schema, elsewhere):
    assert [fact.field for fact in shown] == [name for name in schema.names if name not in elsewhere]


def test_values_have_units_and_nulls_reasons():
    wanted = [Fact("a", "A", "dB"), Fact("b", "B", "%"), Fact("c", "C"), Fact("d", "D"), Fact("e", "E", "/s")]
    values = {"a": -23.45, "b": 0.0123, "c": True, "d": None, "e": 5.5}
    shown = shown_facts(wanted, values, {"quality.d": "one channel"}, "quality")
    assert [fact.value for fact in shown] == ["−23.4 dB", "1.23 %", "yes", "", "5.5/s"]
    assert [fact.missing for fact in shown] == ["", "", "", "one channel", ""]


def test_voices_stand_side_by_side_with_their_own_reasons():
    voice = dict.fromkeys((fact.field for fact in facts.VOICE), 1) | {
        "pauses": [{"longer_than": 0.5, "count": 3, "seconds": 2.5}, {"longer_than": 2.0, "count": 0, "seconds": 0.0}]
    }
    row = {"voices": [{**voice, "speaker": "0"}, {**voice, "speaker": "1", "jitter": None}]}
    names, shown = shown_voices(row, {"voices[1].jitter": "too short"})
    assert names == ["speaker 0", "speaker 1"]
    values = {fact.label: cells for fact, cells in shown}
    assert [cell.missing for cell in values["Jitter (local)"]] == ["", "too short"]
    assert [cell.value for cell in values["Pauses over 0.5 s"]] == ["3, 2.5 s"] * 2
    assert [cell.value for cell in values["Pauses over 2 s"]] == ["0", "0"]


def test_the_file_is_described_as_the_probe_saw_it():
    row = {
        "seconds": 8.824,
        "mix": "one channel",
        "aliases": ["b.m4a"],
        "source": {
            "codec": "aac", "container": "mov,mp4", "sample_rate": 44100, "channels": 1, "seconds": 11.57,
            "bytes": 48614, "audio_streams": 1, "tags": {"title": "<b>"},
        },
    }  # fmt: skip
    assert shown_source(row) == {
        "Container": "mov,mp4",
        "Codec": "aac",
        "Sampling rate": "44,100 Hz",
        "Channels": "1",
        "Length that the file states": "11.6 s",
        "Size": "48,614 bytes",
        "Audio streams": "1",
        "Decoded": "8.82 s",
        "Channels became": "one channel",
        "Same bytes as": "b.m4a",
        "Tag title": "<b>",
    }
