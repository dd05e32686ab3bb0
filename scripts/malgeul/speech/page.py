"""The page of a recording: what was said when, by whom, how sure that is, and what was measured. No verdict on anybody.

A page is one file that needs no network: it may be opened from disk. It reads well without its script, which plays the
recording at the segment that is clicked; the sound stays in its file, which the page finds as long as the results stay
together. Names and texts are somebody else's: all of them are escaped, and the page runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from malgeul.pages.recordings import entry_of
from malgeul.pages.rendering import templates
from malgeul.speech import facts
from malgeul.speech.conversation import passages_of, speakers_of, utterances_of
from malgeul.speech.interaction import Utterance
from malgeul.speech.lexicon import Passage
from malgeul.speech.timeline import COLUMNS, Voice, draw_rows, full_scale, row_seconds, voice_name
from malgeul.speech.waveform import envelope_of

TEMPLATES = Path(__file__).parent / "templates"
INDEX = "index.html"
"""The list of a shard's recordings, beside their pages."""

SEGMENTS_SHOWN = 6000
"""Segments of the transcript on a page (some ten hours of talk); how many there are is always said."""
SPANS_SHOWN = 1000
"""Lexicon spans in the table of a page."""
DOUBTS_SHOWN = 1000
"""Doubtful places in the table of a page."""
DOUBTFUL_WORD = 0.5
"""A word that the model gives a lower probability is underlined."""


def page_of(transcript: dict[str, Any], row: dict[str, Any], measured: dict[str, Any], folder: Path, shard: str) -> str:
    """Return the page of a recording.

    ``row`` is its row of the manifest, ``measured`` its row of the conversation, ``folder`` holds its channels.
    """
    utterances = utterances_of(transcript)
    voices = [Voice(speaker, channel) for speaker, channel in speakers_of(utterances, transcript).items()]
    partial = row["partial"]
    missing = round(partial["missing_seconds"] - partial["gap_seconds"], 3) if partial else 0.0  # at the end
    column_seconds = row_seconds(row["seconds"], missing) / COLUMNS
    envelopes = [envelope_of(folder / f"{stem}.wav", column_seconds) for stem in row["channels"]]
    reasons = {entry["field"]: entry["reason"] for entry in measured["unmeasured"]}
    pauses = [pauses["longer_than"] for voice in measured["voices"] for pauses in voice["pauses"]]
    least_pause = min(pauses, default=0.0)
    segments = transcript["segments"]
    doubts = _doubts(segments, utterances, measured["without_text"], len(row["channels"]) > 1)
    names, voice_facts = facts.shown_voices(measured, reasons)
    script = _script()
    return _templates().get_template("recording.html.j2").render(
        id=transcript["id"],
        name=row["name"],
        shard=shard,
        seconds=row["seconds"],
        missing=missing,
        partial=partial,
        given_up=not row["source"].get("read_to_end", True),
        no_speech=transcript["no_speech"],
        language=transcript["language"],
        model=transcript.get("model") or {},
        players=[
            {"name": f"channel {number}" if len(row["channels"]) > 1 else "", "sound": sound_of(shard, stem)}
            for number, stem in enumerate(row["channels"])
        ],
        voices=voices,
        rows=draw_rows(
            row["seconds"],
            missing,
            envelopes,
            voices,
            utterances,
            [segment["flags"] for segment in segments],
            measured["evidence"],
            least_pause,
            measured["without_text"],
        ),
        columns=COLUMNS,
        full_scale=full_scale(envelopes),
        least_pause=least_pause,
        segments=_lines(
            transcript, row["channels"], shard, passages_of(transcript, utterances), measured["evidence"], voices
        ),
        n_segments=len(segments),
        has_words=any(segment.get("words") for segment in segments),
        flags={flag: facts.FLAGS.get(flag, "") for segment in segments for flag in segment["flags"]},
        doubts=doubts[:DOUBTS_SHOWN],
        n_doubts=len(doubts),
        without_text=measured["without_text"],
        evidence=[{**span, "voice": voice_name(span["speaker"])} for span in measured["evidence"][:SPANS_SHOWN]],
        n_evidence=len(measured["evidence"]),
        classes=measured["classes"],
        source=facts.shown_source(row),
        groups=[
            ("Quality of the sound", "소리", facts.shown_facts(facts.QUALITY, measured["quality"], reasons, "quality")),
            (
                "Conversation",
                "대화",
                facts.shown_facts(facts.INTERACTION, measured["interaction"], reasons, "interaction"),
            ),
            (
                "Trust in the transcript",
                "받아쓴 글의 믿음",
                facts.shown_facts(facts.TRUST, measured["trust"], reasons, "trust"),
            ),
        ],
        voice_names=names,
        voice_facts=voice_facts,
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        doubtful_word=DOUBTFUL_WORD,
    )  # fmt: skip


def index_of(rows: Iterable[dict[str, Any]], shard: str) -> str:
    """Return the list of a shard's recordings, by name, with links to their pages."""
    ordered = sorted(rows, key=lambda row: (row["name"], row["id"]))
    entries = [entry_of(row, f"{row['id']}.html") for row in ordered]
    return _templates().get_template("recordings.html.j2").render(shard=shard, recordings=entries)


def sound_of(shard: str, stem: str) -> str:
    """Return where a channel's file is, seen from a page of its shard."""
    return f"../../recordings/{shard}/{stem}.wav"


def _lines(
    transcript: dict[str, Any],
    channels: Sequence[str],
    shard: str,
    passages: Sequence[Passage],
    evidence: Sequence[dict[str, Any]],
    voices: Sequence[Voice],
) -> list[dict[str, Any]]:
    """Return the segments of a transcript as they are shown: with pieces of text, and where to hear them."""
    lines = []
    colours = {voice.speaker: number for number, voice in enumerate(voices)} if len(voices) > 1 else {}
    spans = sorted(enumerate(evidence, 1), key=lambda item: item[1]["start"])
    shown = list(zip(transcript["segments"], passages, strict=True))[:SEGMENTS_SHOWN]
    first = 0
    for segment, passage in shown:
        while first < len(spans) and spans[first][1]["end"] <= passage.start:
            first += 1
        near = []
        for number, span in spans[first:]:
            if span["start"] >= passage.end:
                break
            if span["end"] > passage.start:
                near.append((number, span["start"] - passage.start, span["end"] - passage.start))
        stem = channels[segment["channel"] or 0]
        lines.append(
            {
                **segment,
                "voice": voice_name(passage.speaker) if passage.speaker is not None else "",
                "colour": colours.get(passage.speaker),
                "sound": f"{sound_of(shard, stem)}#t={segment['start']},{segment['end']}",
                "pieces": pieces_of(transcript["text"][passage.start : passage.end], near, segment.get("words") or []),
            }
        )
    return lines


def _doubts(
    segments: Sequence[dict[str, Any]],
    utterances: Sequence[Utterance],
    without_text: Sequence[dict[str, Any]],
    apart: bool,
) -> list[dict[str, Any]]:
    """Return what a listener should check, in order: flagged segments with their numbers, and speech without text."""
    flagged = [
        {
            "start": segment["start"],
            "end": segment["end"],
            "what": segment["flags"],
            "text": segment["text"],
            "number": number,
            "voice": voice_name(utterance.speaker) if utterance.speaker is not None else "–",
        }
        for number, (segment, utterance) in enumerate(zip(segments, utterances, strict=True), 1)
        if segment["flags"]
    ]
    wordless = [
        {
            "start": place["start_seconds"],
            "end": place["end_seconds"],
            "what": ["speech without text"],
            "text": "",
            "number": None,
            "voice": f"channel {place['channel']}" if apart else "–",
        }
        for place in without_text
    ]
    return sorted([*flagged, *wordless], key=lambda doubt: (doubt["start"], doubt["end"]))


def pieces_of(
    text: str, spans: Sequence[tuple[int, int, int]], words: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Cut a segment's text where a lexicon span or a word begins or ends.

    ``spans`` are (number, start, end) in characters of the text. A piece has its text, the numbers of the spans that
    hold it, those that end with it, and its word if its time is known.
    """
    places = _places_of(text, words)
    inner = {place for _, start, end in spans for place in (start, end)} | {p for s, e, _ in places for p in (s, e)}
    cuts = sorted({0, len(text)} | {place for place in inner if 0 < place < len(text)})
    return [
        {
            "text": text[start:end],
            "spans": [number for number, first, last in spans if first < end and start < last],
            "ends": [number for number, _, last in spans if start < last <= end],
            "word": next((word for first, last, word in places if first <= start and end <= last), None),
        }
        for start, end in pairwise(cuts)
    ]


def _places_of(text: str, words: Sequence[dict[str, Any]]) -> list[tuple[int, int, dict[str, Any]]]:
    """Return where words lie in a text that holds them in this order; what is not found is left out."""
    places = []
    position = 0
    for word in words:
        spelled = word["word"].strip()
        start = text.find(spelled, position)
        if spelled and start >= 0:
            position = start + len(spelled)
            places.append((start, position, word))
    return places


@cache
def _templates() -> Environment:
    return templates(TEMPLATES)


@cache
def _script() -> str:
    return (TEMPLATES / "recording.js").read_text(encoding="utf-8")
