"""The page of a recording: one file that needs no network, shows its evidence, and escapes everything foreign."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from malgeul.speech import page
from malgeul.speech.conversation import analyze_recording
from malgeul.speech.lexicon import read_lexicons
from malgeul.speech.page import index_of, page_of, pieces_of
from unit.parsing import Page
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
HOSTILE = "\"'><script>alert(1)</script>\u202egpj.m4a"
WORDS = [
    {"start": 5.4, "end": 5.9, "word": " 안전", "probability": 0.98},
    {"start": 5.9, "end": 6.4, "word": " 계좌로", "probability": 0.31},
    {"start": 6.4, "end": 7.0, "word": " 이체해", "probability": None},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    write_channels(folder)
    return folder


def drawn(folder, said, row) -> tuple[str, Page]:
    measured = analyze_recording(said, row, folder, RULES, [0.2, 0.5])
    source = page_of(said, row, measured, folder, "calls-0000")
    parsed = Page(source)
    assert parsed.open == [], "every element is closed"
    return source, parsed


@pytest.fixture(scope="module")
def call(folder) -> tuple[str, Page]:
    return drawn(folder, CALL_TRANSCRIPT, CALL_ROW)


def classes(parsed, tag):
    return [attributes.get("class") or "" for attributes in parsed.all(tag)]


def test_the_transcript_is_in_order_with_times_speakers_and_trust(call):
    _, parsed = call
    said = parsed.text[parsed.text.index("Transcript 받아쓴 글") :]
    places = [said.index(part) for part in ("0:00.0–0:02.0 channel 0 서울", "0:02.5–0:04.0 channel 1 네?", "0:03.5")]
    assert places == sorted(places)
    assert "−0.25 · 1.0 %" in said


def test_what_lexicons_found_is_listed_marked_in_the_text_and_over_the_waveform(call):
    source, parsed = call
    assert "demand.safe_account" in parsed.text
    assert re.search(r"<mark>안전 계좌로</mark>|<mark>안전 계좌</mark>", source)
    assert {"#e1", "#e2", "#e3", "#e4"} <= {attributes.get("href") for attributes in parsed.all("a")}
    assert {"e1", "e2", "e3", "e4"} <= {attributes.get("id") for attributes in parsed.all("tr")}
    assert classes(parsed, "rect").count("span") == 3, "two rules found something in one segment"
    assert any("S1" in words for words in parsed.words)


def test_every_channel_has_a_player_and_every_segment_leads_to_its_sound(call):
    _, parsed = call
    sounds = [f"../../recordings/calls-0000/{stem}.wav" for stem in CALL_CHANNELS]
    assert [attributes["src"] for attributes in parsed.all("audio")] == sounds
    links = [attributes["href"] for attributes in parsed.all("a") if attributes.get("class") == "when"]
    assert links == [f"{sounds[c]}#t={t}" for c, t in ((0, "0.0,2.0"), (1, "2.5,4.0"), (0, "3.5,5.0"), (0, "5.4,8.0"))]


def test_the_timeline_can_be_read_without_seeing_it(call):
    _, parsed = call
    [row] = [attributes for attributes in parsed.all("svg") if attributes.get("class") == "row"]
    ids = {attributes.get("id") for tag in ("title", "desc") for attributes in parsed.all(tag)}
    assert row["role"] == "img"
    assert set(row["aria-labelledby"].split()) <= ids
    assert "4 segments, 4 lexicon spans" in parsed.text
    assert "overlap 0.50 s, channel 0 interrupts" in parsed.text


def test_the_page_needs_no_network_and_runs_its_own_script_alone(call):
    source, parsed = call
    assert not {tag for tag, _ in parsed.tags} & {"link", "img", "iframe", "object", "form", "base", "embed"}
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "src"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "../../recordings/calls-0000/", "../../report.html", "index.html")), target
    [script] = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; media-src 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert set(re.findall(r"url\(([^)]*)\)", source)) == {"#hatch"}
    assert "@import" not in source


def test_hostile_names_and_texts_are_shown_and_do_nothing(folder, call):
    segments = [segment(0.0, 2.0, f"검찰입니다 {HOSTILE}", flags=[HOSTILE], words=[{**WORDS[0], "word": HOSTILE}])]
    said = transcript(MEMO, [MEMO], [{**segments[0], "speaker": HOSTILE}, segment(3, 4, "네", speaker="나")])
    said |= {"language": HOSTILE, "model": {HOSTILE: HOSTILE}}
    row = {**MEMO_ROW, "name": HOSTILE, "aliases": [HOSTILE], "mix": HOSTILE}
    row["source"] = {"decoding_errors": 0, "codec": HOSTILE, "tags": {HOSTILE: HOSTILE}}
    source, parsed = drawn(folder, said, row)
    assert len(parsed.all("script")) == 1
    assert "alert(1)" in parsed.text
    assert "\u202e" not in source, "a name cannot turn the direction of the text around it"
    assert "\\u202egpj" in parsed.text
    assert {tag for tag, _ in parsed.tags} <= {tag for tag, _ in call[1].tags} | {"b", "strong"}
    known = {name for _, attributes in call[1].tags for name in attributes} | {"title"}
    assert {name for _, attributes in parsed.tags for name in attributes} <= known, "no value breaks out of its quotes"


PARTIAL = {"declared_seconds": 12.5, "decoded_seconds": 10.0, "missing_seconds": 2.5, "gap_seconds": 0.0}


@pytest.mark.parametrize(
    ("said", "row", "words"),
    [
        (SILENCE_TRANSCRIPT, SILENCE_ROW, "Nobody speaks."),
        ({**SILENCE_TRANSCRIPT, "no_speech": False}, SILENCE_ROW, "No text."),
        (
            MEMO_TRANSCRIPT,
            {
                **MEMO_ROW,
                "partial": PARTIAL,
            },
            "It should last 12.5 s, of which 10 s could be decoded; 2.50 s are missing",
        ),
        (
            MEMO_TRANSCRIPT,
            {
                **MEMO_ROW,
                "partial": {**PARTIAL, "declared_seconds": 10.0, "decoded_seconds": 7.5, "gap_seconds": 2.5},
            },
            "2.50 s of them in gaps, which are silent here",
        ),
    ],
    ids=["silent", "without text", "salvaged", "gaps"],
)
def test_what_is_not_there_is_said(folder, said, row, words):
    _, parsed = drawn(folder, said, row)
    assert words in parsed.text
    assert len(parsed.all("audio")) == 1
    at_end = row["partial"] and row["partial"]["missing_seconds"] > row["partial"]["gap_seconds"]
    assert ("missing" in classes(parsed, "rect")) == bool(at_end)


def test_a_file_that_was_not_read_to_its_end_is_told(folder):
    given_up = {**MEMO_ROW, "source": {**MEMO_ROW["source"], "read_to_end": False}}
    _, parsed = drawn(folder, MEMO_TRANSCRIPT, given_up)
    assert "The file was not read to its end." in parsed.text
    assert "not read to its end" not in drawn(folder, MEMO_TRANSCRIPT, MEMO_ROW)[1].text


def test_every_null_is_a_dash_with_its_reason(folder):
    measured = analyze_recording(MEMO_TRANSCRIPT, MEMO_ROW, folder, RULES, [0.2])
    parsed = Page(page_of(MEMO_TRANSCRIPT, MEMO_ROW, measured, folder, "calls-0000"))
    for entry in measured["unmeasured"]:
        assert f"– {entry['reason']}" in parsed.text, entry


def test_doubts_are_named_and_explained(folder):
    said = transcript(MEMO, [MEMO], [segment(0.0, 3.0, "시청해주셔서 감사합니다", flags=["known_phrase"])])
    _, parsed = drawn(folder, said, MEMO_ROW)
    assert "! known_phrase" in parsed.text, "over the timeline, in words"
    assert "known_phrase : what the model is known to say where nobody speaks" in parsed.text
    assert "bar doubtful" in classes(parsed, "rect")
    assert "flag warn" in classes(parsed, "span")


def test_every_doubt_is_listed_with_its_time_and_where_to_hear_it(folder):
    segments = [segment(0.0, 3.0, "네", flags=["fast"]), segment(4.0, 6.0, "안녕하세요")]
    row = {**MEMO_ROW, "speech": {MEMO: [(0.0, 6.0), (7.5, 8.5)]}}
    _, parsed = drawn(folder, transcript(MEMO, [MEMO], segments), row)
    listed = parsed.text.partition("Speaker 0:")[2].partition("Transcript")[0]
    wordless = "speech without text – –"
    expected = f"0:00.0–0:03.0 fast 네 – 0:03.0–0:04.0 {wordless} 0:07.5–0:08.5 {wordless}"
    assert f"0:{listed}".split() == expected.split()
    heard = [a["data-at"] for a in parsed.all("a") if a.get("href") == "#timeline" and "data-at" in a]
    assert heard == ["0.0", "3.0", "7.5"]
    assert classes(parsed, "rect").count("without-text") == 3, "in the key and over the waveform"


def test_words_have_their_times_and_those_the_model_doubts_are_underlined(folder):
    segments = [*CALL_TRANSCRIPT["segments"][:3], {**CALL_TRANSCRIPT["segments"][3], "words": WORDS}]
    _, parsed = drawn(folder, transcript(CALL, CALL_CHANNELS, segments), CALL_ROW)
    titles = {a["title"]: a.get("class") for a in parsed.all("span") if a.get("title")}
    assert titles == {"0:05.4, 98 %": None, "0:05.9, 31 %": "unsure", "0:06.4": None}
    assert "안전 계좌로 이체해 주세요." in re.sub(r"S\d", "", parsed.text).replace("  ", " ").replace(" 로", "로")


def test_text_is_cut_where_a_span_or_a_word_begins_or_ends():
    text = "안전 계좌로 이체해 주세요."
    pieces = pieces_of(text, [(3, 0, 5), (4, 3, 9)], WORDS)
    assert "".join(piece["text"] for piece in pieces) == text
    of_span = {n: "".join(p["text"] for p in pieces if n in p["spans"]) for n in (3, 4)}
    assert of_span == {3: text[0:5], 4: text[3:9]}
    assert [(p["text"], p["ends"]) for p in pieces if p["ends"]] == [("계좌", [3]), ("이체", [4])]
    assert [p["text"] for p in pieces if p["word"] is WORDS[2]] == ["이체", "해"]
    assert pieces_of("", [], []) == []


def test_a_span_from_the_segment_before_ends_in_this_one():
    assert [(p["text"], p["spans"], p["ends"]) for p in pieces_of("계좌로", [(1, -3, 2)], [])] == [
        ("계좌", [1], [1]),
        ("로", [], []),
    ]


def test_words_that_the_text_does_not_hold_are_left_out():
    words = [{**WORDS[0], "word": "없는"}, WORDS[1]]
    assert [(p["text"], p["word"]) for p in pieces_of("안전 계좌로", [], words)] == [
        ("안전 ", None),
        ("계좌로", WORDS[1]),
    ]


def test_long_transcripts_are_cut_and_say_how_much_is_left(folder, monkeypatch):
    monkeypatch.setattr(page, "SEGMENTS_SHOWN", 3)
    monkeypatch.setattr(page, "SPANS_SHOWN", 1)
    _, parsed = drawn(folder, CALL_TRANSCRIPT, CALL_ROW)
    assert "… and 1 more segment in transcripts/calls-0000/" in parsed.text
    assert "… and 3 more in conversation/calls-0000.parquet" in parsed.text
    assert len([a for a in parsed.all("li") if a.get("id")]) == 3


def test_the_same_recording_gives_the_same_page(folder, call):
    assert drawn(folder, CALL_TRANSCRIPT, CALL_ROW)[0] == call[0]


def test_the_script_holds_nothing_that_ends_it():
    assert "</" not in (page.TEMPLATES / "recording.js").read_text(encoding="utf-8")


def test_the_list_of_a_shard_names_and_links_its_recordings(folder):
    rows = [
        {**analyze_recording(said, row, folder, RULES, [0.2]), "name": name}
        for said, row, name in ((CALL_TRANSCRIPT, CALL_ROW, HOSTILE), (MEMO_TRANSCRIPT, MEMO_ROW, "가.m4a"))
    ]
    parsed = Page(index_of(rows, "calls-0000"))
    assert parsed.open == []
    assert [a["href"] for a in parsed.all("a")] == ["../../report.html", f"{CALL}.html", f"{MEMO}.html"]
    assert "\\u202egpj.m4a 10 s 2 4 0 4" in parsed.text
    assert "가.m4a 10 s – 1 0 0" in parsed.text
    assert "No recording of this shard" in Page(index_of([], "calls-0000")).text
