"""What is shown of the facts that were measured: what they are called, in which unit, and why one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from malgeul.pages.quantities import duration, megabytes, number
from malgeul.speech.timeline import voice_name


@dataclass(frozen=True)
class Fact:
    """A measured fact: its field in the row, what a reader calls it, its unit, and what it is if that needs saying."""

    field: str
    label: str
    unit: str = ""
    note: str = ""


QUALITY = (
    Fact("loudness_lufs", "Loudness", "LUFS", "integrated, EBU R128"),
    Fact("peak_dbfs", "Highest sample", "dBFS"),
    Fact("true_peak_dbtp", "True peak, between samples", "dBTP"),
    Fact("clipping_share", "Samples at full scale", "%"),
    Fact("snr_db", "Loud speech over quiet frames", "dB", "95th less 10th percentile of frame levels"),
    Fact("silence_ratio", "Silent frames", "%", "20 ms below -50 dBFS"),
    Fact("bandwidth_hz", "Bandwidth", "Hz"),
    Fact("narrowband", "Narrow band, as a telephone"),
    Fact("channel_correlation", "Correlation of the channels"),
    Fact("level_correlation", "Correlation of their levels", "", "high for two microphones of one room"),
    Fact("missing_seconds", "Missing", "s"),
    Fact("decoding_errors", "Complaints of the decoder"),
)
INTERACTION = (
    Fact("talk_seconds", "Somebody talks", "s"),
    Fact("silence_seconds", "Nobody talks", "s"),
    Fact("turns", "Turns"),
    Fact("overlaps", "Overlaps"),
    Fact("overlap_seconds", "Overlaps together", "s"),
)
VOICE = (
    Fact("talk_seconds", "Talks", "s"),
    Fact("utterances", "Segments"),
    Fact("turns", "Turns"),
    Fact("response_latency_seconds", "Response latency", "s", "median gap after another's turn"),
    Fact("interruptions", "Interruptions", "", "turns that start in another's and outlast it"),
    Fact("overlap_seconds", "Talks while others do", "s"),
    Fact("syllables", "Hangul syllables"),
    Fact("syllables_per_second", "Syllables", "/s", "of talk"),
    Fact("f0_median_hz", "F0, median", "Hz"),
    Fact("f0_iqr_semitones", "F0, interquartile range", "semitones"),
    Fact("voiced_share", "Voiced frames", "%", "of talk"),
    Fact("intensity_median_dbfs", "Intensity, median", "dBFS", "of voiced frames"),
    Fact("intensity_iqr_db", "Intensity, interquartile range", "dB"),
    Fact("glottal_cycles", "Glottal cycles compared", "", "by Praat; the next three are of them"),
    Fact("jitter", "Jitter (local)", "%", "running speech: norms of sustained vowels do not apply"),
    Fact("shimmer", "Shimmer (local)", "%", "as above"),
    Fact("harmonicity_db", "Harmonics to noise", "dB", "as above"),
)
TRUST = (
    Fact("segments", "Segments"),
    Fact("avg_logprob_mean", "Log probability, mean"),
    Fact("avg_logprob_min", "Log probability, lowest"),
    Fact("no_speech_prob_mean", "No-speech probability, mean", "%"),
    Fact("no_speech_prob_max", "No-speech probability, highest", "%"),
    Fact("compression_ratio_mean", "Compression ratio, mean"),
    Fact("compression_ratio_max", "Compression ratio, highest"),
    Fact("flagged_segments", "Doubtful segments"),
    Fact("flagged_seconds", "Doubtful segments together", "s"),
    Fact("without_text_seconds", "Speech without text", "s", "where the voice activity detector finds it"),
)

FLAGS = {
    "across_pause": "reaches over a pause that was cut out of what the model heard",
    "broken": "holds bytes that are no character",
    "fast": "more letters a second than anybody says",
    "known_phrase": "what the model is known to say where nobody speaks",
    "looping": "says the same many times in a row",
    "no_speech": "the model itself holds that nobody speaks",
    "repetitive": "repeats itself, as measured by how well it compresses",
    "unfinished": "goes on where the model could not go on listening",
    "unlikely": "the model holds its own text to be unlikely",
}
"""What a doubt about a segment means."""

SOURCE = {
    "container": "Container",
    "codec": "Codec",
    "sample_rate": "Sampling rate",
    "channels": "Channels",
    "seconds": "Length that the file states",
    "bytes": "Size",
    "audio_streams": "Audio streams",
}
"""What the probe says of the source file, and what a reader calls it."""


@dataclass(frozen=True)
class Shown:
    """A fact as it is shown: a value with its unit, or a dash and the reason why there is none."""

    label: str
    value: str
    note: str = ""
    missing: str = ""


def shown_facts(facts: Sequence[Fact], values: Mapping[str, Any], reasons: Mapping[str, str], path: str) -> list[Shown]:
    """Return facts as they are shown; ``reasons`` tells by path (``path`` and the field) why one was not measured."""
    return [
        Shown(fact.label, _value(values[fact.field], fact.unit), fact.note, reasons.get(f"{path}.{fact.field}", ""))
        for fact in facts
    ]


def shown_source(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of a recording's file, by what a reader calls it; ``row`` is of the manifest."""
    source = row["source"]
    found = {label: _source_value(name, source.get(name)) for name, label in SOURCE.items()}
    shown = {label: value for label, value in found.items() if value}
    shown["Decoded"] = duration(row["seconds"])
    if row["mix"]:
        shown["Channels became"] = row["mix"]
    if row["aliases"]:
        shown["Same bytes as"] = ", ".join(row["aliases"])
    tags = source.get("tags") or {}
    return shown | {f"Tag {name}": str(value) for name, value in sorted(tags.items())}


def shown_voices(
    row: Mapping[str, Any], reasons: Mapping[str, str]
) -> tuple[list[str], list[tuple[Fact, list[Shown]]]]:
    """Return what the voices of a row are called, and every fact of a voice with its values, voice after voice."""
    voices = row["voices"]
    columns = [
        [*shown_facts(VOICE, voice, reasons, f"voices[{number}]"), *_pauses(voice)]
        for number, voice in enumerate(voices)
    ]
    facts = [*VOICE, *(Fact("pauses", shown.label) for shown in (_pauses(voices[0]) if voices else []))]
    return [voice_name(voice["speaker"]) for voice in voices], [
        (fact, [column[number] for column in columns]) for number, fact in enumerate(facts)
    ]


def _pauses(voice: Mapping[str, Any]) -> list[Shown]:
    return [
        Shown(
            f"Pauses over {number(pauses['longer_than'])} s",
            f"{pauses['count']:,}" + (f", {number(pauses['seconds'])} s" if pauses["count"] else ""),
        )
        for pauses in voice["pauses"]
    ]


def _value(value: Any, unit: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "%":
        return f"{_digits(100 * value)} %"
    return f"{_digits(value)} {unit}".rstrip().replace(" /s", "/s")


def _digits(value: float) -> str:
    return number(value).replace("-", "−")


def _source_value(name: str, value: Any) -> str:
    if value is None:
        return ""
    match name:
        case "sample_rate":
            return f"{value:,} Hz"
        case "seconds":
            return duration(value)
        case "bytes":
            return megabytes(value / 1e6) if value >= 1e6 else f"{value:,} bytes"
    return f"{value:,}" if isinstance(value, int) else str(value)
