"""recordings/<shard>/manifest.jsonl: a line per recording, so that no later stage looks at a source file again.

id
    The recording's id.
name, aliases
    Of its file, relative to its source, composed (NFC); and of other files of the shard with the same bytes.
channels
    Stems of its WAVs: one, or two where every speaker has a channel.
seconds
    Of its WAVs: decoded, and silence where the source has gaps.
mix
    How the channels of the source became those of the WAVs.
speech
    Of every channel, by stem: [start, end) in seconds of what is spoken there, by Silero's network.
source
    bytes, container, codec, sample_rate, channels, seconds (declared by the container; null where it states none),
    audio_streams (the first is taken), decoding_errors (complaints of the decoder), read_to_end (false where the
    decoder gave up before the end of the file; how much is missing is known only where it is partial), tags (of the
    container and the first stream, as they stand there: title, artist, creation_time).
partial
    null, or declared_seconds (of the WAVs, where its source states none), decoded_seconds and missing_seconds of a
    recording that was salvaged; of the missing ones gap_seconds are not at its end.
measured
    On the 16 kHz PCM before channels are mixed, and never applied to it: loudness_lufs (EBU R128, integrated),
    peak_dbfs (sample peak), true_peak_dbtp (between samples, ITU-R BS.1770), clipping_share (of samples at full scale),
    silence_ratio (20 ms frames below -50 dBFS), snr_db (95th percentile of the levels of frames that are spoken, of all
    where nobody speaks, less the 10th of all), bandwidth_hz (-50 dB), narrowband, channel_correlation (of samples),
    level_correlation (of the RMS of 20 ms frames), channel_dbfs (RMS); speech_ratio (share of what is spoken in all
    channels).
unmeasured
    For every null in measured, why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from malgeul.audio.intake import Recording

MANIFEST = "manifest.jsonl"
_NAMES = ("id", "name", "aliases")


def row_of(recording: Recording, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a recording's row."""
    aliases = [alias.shown for alias in recording.aliases]
    return {"id": recording.id, "name": recording.file.shown, "aliases": aliases, **facts}


def write_manifest(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows in the order of their ids."""
    ordered = sorted(rows, key=lambda row: row["id"])
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in ordered]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_facts(path: Path | None) -> dict[str, dict[str, Any]]:
    """Return the facts of every recording of a manifest by id, without its names; none where there is no manifest."""
    if path is None:
        return {}
    with path.open(encoding="utf-8", newline="\n") as lines:  # a tag may hold what splitlines takes for a line's end
        rows = [json.loads(line) for line in lines]
    return {row["id"]: {key: value for key, value in row.items() if key not in _NAMES} for row in rows}
