"""conversation/<shard>.parquet: one row per recording with what was measured and found, and no verdict on anybody.

Every figure that could not be measured is null, and ``unmeasured`` says why. A recording with a channel per speaker has
a voice per channel, one with speaker labels a voice per label; otherwise voices are not told apart and the row has one
voice whose ``speaker`` is null. Turns, latencies and overlaps are then unknown, its pauses may be gaps between turns,
and its acoustics are those of everybody together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from malgeul.speech.acoustics import LEAST_VOICED_FRAMES, Voice, measure_voice
from malgeul.speech.classes import CLASS, likeliest
from malgeul.speech.interaction import (
    Interval,
    Turn,
    Utterance,
    count_syllables,
    intersect,
    is_interruption,
    latency_of,
    length,
    merge,
    overlaps_of,
    pauses_of,
    subtract,
    talk_of,
    transitions_of,
    turns_of,
)
from malgeul.speech.lexicon import Passage, Rule, find_spans, locate_segments
from malgeul.speech.praat import LEAST_CYCLES, PACKAGE, Cycles, is_installed, measure_cycles
from malgeul.speech.trust import trust_of


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct(list(fields.items()))


QUALITY = _struct(
    loudness_lufs=pa.float64(),
    peak_dbfs=pa.float64(),
    true_peak_dbtp=pa.float64(),
    clipping_share=pa.float64(),
    snr_db=pa.float64(),
    silence_ratio=pa.float64(),
    bandwidth_hz=pa.float64(),
    narrowband=pa.bool_(),
    channel_correlation=pa.float64(),
    level_correlation=pa.float64(),
    missing_seconds=pa.float64(),
    decoding_errors=pa.int32(),
)
"""Of the recording, as the conversion measured it."""

INTERACTION = _struct(
    talk_seconds=pa.float64(),
    silence_seconds=pa.float64(),
    turns=pa.int32(),
    overlaps=pa.int32(),
    overlap_seconds=pa.float64(),
)
"""Of all voices together: somebody talks, nobody does, and who talks when."""

VOICE = _struct(
    speaker=pa.string(),
    channel=pa.int32(),
    talk_seconds=pa.float64(),
    utterances=pa.int32(),
    turns=pa.int32(),
    response_latency_seconds=pa.float64(),  # median gap after another's turn
    interruptions=pa.int32(),  # turns that start while another talks and go on after they have stopped
    overlap_seconds=pa.float64(),
    pauses=pa.list_(_struct(longer_than=pa.float64(), count=pa.int32(), seconds=pa.float64())),
    syllables=pa.int32(),  # Hangul syllables of the transcript
    syllables_per_second=pa.float64(),  # of talk
    f0_median_hz=pa.float64(),
    f0_iqr_semitones=pa.float64(),
    voiced_share=pa.float64(),  # of the frames of talk
    intensity_median_dbfs=pa.float64(),  # over voiced frames
    intensity_iqr_db=pa.float64(),
    glottal_cycles=pa.int32(),  # compared for the next three, by Praat; see the module praat
    jitter=pa.float64(),  # local, as a share of the period
    shimmer=pa.float64(),  # local, as a share of the amplitude
    harmonicity_db=pa.float64(),  # harmonics to noise, of voiced frames
)
"""Of one voice."""

EVIDENCE = _struct(
    rule=pa.string(),
    category=pa.string(),
    start=pa.int32(),  # characters of the transcript's text
    end=pa.int32(),
    start_seconds=pa.float64(),  # of the segments that hold it
    end_seconds=pa.float64(),
    speaker=pa.string(),
    quote=pa.string(),
)
"""A span of the transcript that a lexicon's rule matches."""

TRUST = _struct(
    segments=pa.int32(),
    avg_logprob_mean=pa.float64(),
    avg_logprob_min=pa.float64(),
    no_speech_prob_mean=pa.float64(),
    no_speech_prob_max=pa.float64(),
    compression_ratio_mean=pa.float64(),
    compression_ratio_max=pa.float64(),
    flagged_segments=pa.int32(),
    flagged_seconds=pa.float64(),
    without_text_seconds=pa.float64(),  # of without_text
    flags=pa.list_(_struct(flag=pa.string(), segments=pa.int32())),
)
"""What the transcribing model says of its own text."""

WITHOUT_TEXT = _struct(channel=pa.int32(), start_seconds=pa.float64(), end_seconds=pa.float64())
"""Where the voice activity detector finds speech and the transcript has none: noise, or words that are not there."""

LEAST_WITHOUT_TEXT = 0.5
"""Seconds from which on a part of a span of speech counts as one without text: no border of them is exact."""

CONVERSATION = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("no_speech", pa.bool_(), nullable=False),
        pa.field("quality", QUALITY, nullable=False),
        pa.field("interaction", INTERACTION, nullable=False),
        pa.field("voices", pa.list_(VOICE), nullable=False),
        pa.field("evidence", pa.list_(EVIDENCE), nullable=False),
        pa.field("without_text", pa.list_(WITHOUT_TEXT), nullable=False),
        pa.field("classes", pa.list_(CLASS), nullable=False),  # none where the config names no classifier
        pa.field("trust", TRUST, nullable=False),
        pa.field("unmeasured", pa.list_(_struct(field=pa.string(), reason=pa.string())), nullable=False),
    ]
)
"""conversation/<shard>.parquet."""

NEEDS_PRAAT = f"needs the single glottal cycles that Praat finds: install {PACKAGE}"
TOO_FEW_CYCLES = f"Praat finds fewer than {LEAST_CYCLES} glottal cycles, or none that it can compare"
NOT_TOLD_APART = "the voices of the recording are not told apart"
NOTHING_SAID = "nothing is said"


def analyze_recording(
    transcript: dict[str, Any],
    row: dict[str, Any],
    folder: Path,
    rules: Sequence[Rule],
    pause_seconds: Sequence[float],
    classified: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return a recording's row of :data:`CONVERSATION`.

    ``row`` is its row of the manifest, ``folder`` holds its channels; ``pause_seconds`` are the thresholds of pauses;
    ``classified`` are the rows of its passages in classes/.
    Raises ValueError for a transcript whose text does not hold its segments or whose times run backwards.
    """
    utterances = utterances_of(transcript)
    told_apart = any(utterance.speaker is not None for utterance in utterances) or len(row["channels"]) > 1
    # What no voice claims (a diarizer may miss it) is nobody's turn, and no voice of its own.
    turns = turns_of([one for one in utterances if one.speaker is not None or not told_apart])
    speakers = {
        speaker: channel
        for speaker, channel in speakers_of(utterances, transcript).items()
        if speaker is not None or not told_apart
    }
    voices = [
        _voice(speaker, channel, turns, folder / f"{row['channels'][channel]}.wav", told_apart, pause_seconds)
        for speaker, channel in speakers.items()
    ]
    without_text = _without_text(transcript, row)
    seconds_without_text = sum(place["end_seconds"] - place["start_seconds"] for place in without_text)
    result = {
        "id": transcript["id"],
        "name": row["name"],
        "seconds": row["seconds"],
        "language": transcript["language"],
        "no_speech": transcript["no_speech"],
        "quality": _quality(row),
        "interaction": _interaction(utterances, turns, list(speakers), row["seconds"], told_apart),
        "voices": voices,
        "evidence": [vars(span) for span in find_spans(transcript["text"], passages_of(transcript, utterances), rules)],
        "without_text": without_text,
        "classes": likeliest(transcript["text"], classified),
        "trust": {**trust_of(transcript["segments"]), "without_text_seconds": _round(seconds_without_text)},
    }
    return {**result, "unmeasured": _unmeasured(result, row["unmeasured"], told_apart)}


def utterances_of(transcript: dict[str, Any]) -> list[Utterance]:
    """Return a transcript's segments with their speakers: the labelled ones, else one per channel, if there are more.

    Raises ValueError for times that run backwards.
    """
    apart = len(transcript["channels"]) > 1
    utterances = []
    for segment in transcript["segments"]:
        if segment["end"] < segment["start"]:
            raise ValueError(f"transcript {transcript['id']}: a segment ends before it starts ({segment['start']} s)")
        speaker = segment["speaker"] or (_of_channel(segment["channel"]) if apart else None)
        utterances.append(Utterance(segment["start"], segment["end"], segment["text"], speaker))
    return utterances


def _of_channel(channel: int) -> str:
    return f"channel {channel}"


def speakers_of(utterances: Sequence[Utterance], transcript: dict[str, Any]) -> dict[str | None, int]:
    """Return the channel of every speaker, in order: the labelled ones, else one per channel, be they silent."""
    channels = {
        utterance.speaker: segment["channel"] or 0
        for utterance, segment in zip(utterances, transcript["segments"], strict=True)
    }
    if not any(segment["speaker"] for segment in transcript["segments"]):
        n = len(transcript["channels"])
        channels = {_of_channel(channel): channel for channel in range(n)} if n > 1 else {None: 0}
    return dict(sorted(channels.items(), key=lambda item: (item[1], item[0] or "")))


def passages_of(transcript: dict[str, Any], utterances: Sequence[Utterance]) -> list[Passage]:
    """Return where a transcript's segments lie in its text; raises ValueError when it does not hold them."""
    places = locate_segments(transcript["text"], [utterance.text for utterance in utterances])
    return [
        Passage(start, end, utterance.start, utterance.end, utterance.speaker)
        for (start, end), utterance in zip(places, utterances, strict=True)
    ]


def _without_text(transcript: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return where somebody speaks on a channel and no segment says what: whole spans, and long parts of others."""
    places = []
    for channel, stem in enumerate(row["channels"]):
        own = [one for one in transcript["segments"] if (one["channel"] or 0) == channel and one["start"] < one["end"]]
        spoken = [(start, end) for start, end in row["speech"][stem]]
        whole = set(spoken)
        for start, end in subtract(spoken, merge((segment["start"], segment["end"]) for segment in own)):
            if (start, end) in whole or end - start >= LEAST_WITHOUT_TEXT:
                places.append({"channel": channel, "start_seconds": round(start, 3), "end_seconds": round(end, 3)})
    return sorted(places, key=lambda place: (place["start_seconds"], place["channel"]))


def _quality(row: dict[str, Any]) -> dict[str, Any]:
    measured = {name: row["measured"][name] for name in QUALITY.names if name in row["measured"]}
    missing = row["partial"]["missing_seconds"] if row["partial"] else 0.0
    return {**measured, "missing_seconds": missing, "decoding_errors": row["source"]["decoding_errors"]}


def _interaction(
    utterances: Sequence[Utterance],
    turns: Sequence[Turn],
    speakers: Sequence[str | None],
    seconds: float,
    told_apart: bool,
) -> dict[str, Any]:
    spoken = [utterance for turn in turns for utterance in turn.utterances]
    talk = length(talk_of(utterances))
    overlaps = overlaps_of([utterance for utterance in spoken if utterance.speaker == speaker] for speaker in speakers)
    return {
        "talk_seconds": _round(talk),
        "silence_seconds": _round(max(seconds - talk, 0.0)),
        "turns": len(turns) if told_apart else None,
        "overlaps": len(overlaps) if told_apart else None,
        "overlap_seconds": _round(length(overlaps)) if told_apart else None,
    }


def _voice(
    speaker: str | None, channel: int, turns: Sequence[Turn], wav: Path, told_apart: bool, thresholds: Sequence[float]
) -> dict[str, Any]:
    own_turns = [turn for turn in turns if turn.speaker == speaker]
    own = [utterance for turn in own_turns for utterance in turn.utterances]
    talk = talk_of(own)
    others = talk_of(utterance for turn in turns if turn.speaker != speaker for utterance in turn.utterances)
    syllables = sum(count_syllables(utterance.text) for utterance in own)
    return {
        "speaker": speaker,
        "channel": channel,
        "talk_seconds": _round(length(talk)),
        "utterances": len(own),
        **_exchange(speaker, turns, talk, others, told_apart),
        "pauses": [
            {**vars(pauses), "seconds": _round(pauses.seconds)} for pauses in pauses_of(own_turns, others, thresholds)
        ],
        "syllables": syllables,
        "syllables_per_second": _round(syllables / length(talk)) if length(talk) else None,
        **_acoustics(measure_voice(wav, talk)),
        **_cycles(measure_cycles(wav, talk)),
    }


def _exchange(
    speaker: str | None, turns: Sequence[Turn], talk: list[Interval], others: list[Interval], told_apart: bool
) -> dict[str, Any]:
    """Return what a voice does in relation to the others."""
    if not told_apart:
        return dict.fromkeys(("turns", "response_latency_seconds", "interruptions", "overlap_seconds"))
    own = [transition for transition in transitions_of(turns) if transition.speaker == speaker]
    return {
        "turns": sum(turn.speaker == speaker for turn in turns),
        "response_latency_seconds": _round(latency_of(own)),
        "interruptions": sum(map(is_interruption, own)),
        "overlap_seconds": _round(length(intersect(talk, others))),
    }


def _acoustics(voice: Voice) -> dict[str, Any]:
    known = voice.measurable
    return {
        "f0_median_hz": _round(float(np.median(voice.f0)), 1) if known else None,
        "f0_iqr_semitones": _round(voice.f0_iqr_semitones, 2) if known else None,
        "voiced_share": _round(len(voice.f0) / voice.frames, 4) if voice.frames else None,
        "intensity_median_dbfs": _round(float(np.median(voice.intensity)), 1) if known else None,
        "intensity_iqr_db": _round(voice.intensity_iqr_db, 1) if known else None,
    }


def _cycles(cycles: Cycles | None) -> dict[str, Any]:
    known = cycles or Cycles()
    return {
        "glottal_cycles": cycles.count if cycles else None,
        "jitter": _round(known.jitter, 5),
        "shimmer": _round(known.shimmer, 5),
        "harmonicity_db": _round(known.harmonicity_db, 2),
    }


def _unmeasured(result: dict[str, Any], of_recording: dict[str, str], told_apart: bool) -> list[dict[str, str]]:
    """Say of every null in a row why it is one."""
    reasons = {f"quality.{name}": of_recording[name] for name, value in result["quality"].items() if value is None}
    reasons |= {f"interaction.{name}": NOT_TOLD_APART for name, value in result["interaction"].items() if value is None}
    for number, voice in enumerate(result["voices"]):
        for name, value in voice.items():
            if value is None and name != "speaker":
                reasons[f"voices[{number}].{name}"] = _why(name, voice, told_apart)
    for name, value in result["trust"].items():
        if value is None:
            reasons[f"trust.{name}"] = "the model gives none" if result["trust"]["segments"] else NOTHING_SAID
    return [{"field": field, "reason": reason} for field, reason in reasons.items()]


def _why(name: str, voice: dict[str, Any], told_apart: bool) -> str:
    if name in _cycles(None) and not is_installed():
        return NEEDS_PRAAT
    if name in {"turns", "interruptions", "overlap_seconds", "response_latency_seconds"} and not told_apart:
        return NOT_TOLD_APART
    if not voice["utterances"]:
        return NOTHING_SAID
    if name in _cycles(None):
        return TOO_FEW_CYCLES
    if name == "response_latency_seconds":
        return "no turn of the voice follows another speaker's without overlap"
    if name == "syllables_per_second":
        return "its utterances have no length"
    return f"fewer than {LEAST_VOICED_FRAMES} voiced frames where the transcript has it speak"


def _round(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
