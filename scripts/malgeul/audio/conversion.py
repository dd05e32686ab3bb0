"""One recording from its file to its WAVs and the facts about it that the manifest holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from malgeul.audio.channels import Mix, choose_mix, write_mixed
from malgeul.audio.decoder import Decoded, Limits, decode
from malgeul.audio.intake import Recording
from malgeul.audio.levels import CLIPPED, FLOOR_DBFS, LARGEST, NARROWBAND_HZ, Meter, measure
from malgeul.audio.pcm import read_blocks, samples_of
from malgeul.audio.settings import ConvertSettings
from malgeul.audio.voice import Span, detect_speech
from malgeul.shards.faults import ItemFault
from malgeul.shards.files import sync_file
from malgeul.shards.sources import opened, stat_key


@dataclass(frozen=True)
class Conversion:
    """What came of a recording: its WAVs, and the facts that depend on its bytes and the settings alone."""

    files: list[Path]
    facts: dict[str, Any]


def convert_recording(recording: Recording, folder: Path, settings: ConvertSettings) -> Conversion:
    """Convert a recording to WAVs in ``folder``, named after its id and on disk when this returns.

    Raises ItemFault when the recording is at fault.
    """
    pcm = folder / f"{recording.id}.pcm.part"
    try:
        with opened(recording.file.path) as source:
            decoded = decode(source, pcm, Limits(settings.max_seconds, settings.timeout_seconds))
            if stat_key(source) != recording.content.stat:
                raise ItemFault("CHANGED", "the file changed while it was read", "reading it twice")
        meter = measure(read_blocks(pcm), LARGEST.get(decoded.listing.audio[0].codec, CLIPPED))
        mix = choose_mix(meter, decoded.listing.audio[0].channels, settings.channel_correlation)
        files = write_mixed(pcm, mix, folder / recording.id)
    finally:
        pcm.unlink(missing_ok=True)
    for file in files:
        sync_file(file)
    speech = {file.stem: _speech(file, settings.speech_threshold) for file in files}
    return Conversion(files, _facts(recording, decoded, meter, mix, speech))


def _speech(file: Path, threshold: float) -> list[Span]:
    return detect_speech((samples_of(block)[:, 0] for block in read_blocks(file)), threshold)


def _facts(
    recording: Recording, decoded: Decoded, meter: Meter, mix: Mix, speech: dict[str, list[Span]]
) -> dict[str, Any]:
    """Return what the manifest says of a recording besides its names."""
    listing, stream = decoded.listing, decoded.listing.audio[0]
    measured, unmeasured = _measures(decoded, meter, speech)
    spoken = sum(end - start for spans in speech.values() for start, end in spans)
    measured["speech_ratio"] = round(spoken / (len(speech) * decoded.seconds), 4)
    missing = decoded.missing_seconds
    return {
        "channels": list(speech),
        "seconds": round(decoded.seconds, 3),
        "mix": str(mix),
        "speech": speech,
        "source": {
            "bytes": recording.content.stat.size,
            "container": listing.container,
            "codec": stream.codec,
            "sample_rate": stream.sample_rate,
            "channels": stream.channels,
            "seconds": decoded.declared_seconds,
            "audio_streams": len(listing.audio),
            "decoding_errors": listing.errors,
            "read_to_end": not listing.stopped,
            "tags": listing.tags,
        },
        "partial": {
            "declared_seconds": round(decoded.declared_seconds or decoded.seconds, 3),
            "decoded_seconds": round(decoded.seconds - decoded.gap_seconds, 3),
            "missing_seconds": round(missing, 3),
            "gap_seconds": round(decoded.gap_seconds, 3),
        }
        if missing
        else None,
        "measured": measured,
        "unmeasured": unmeasured,
    }


def _measures(decoded: Decoded, meter: Meter, speech: dict[str, list[Span]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the measures of a recording, rounded to what they are good for, and why any of them is null."""
    bandwidth, correlation, snr = meter.bandwidth_hz, meter.correlation, meter.snr_db(chain(*speech.values()))
    narrowband = decoded.listing.audio[0].sample_rate <= 8000 or (bandwidth < NARROWBAND_HZ if bandwidth else None)
    measured: dict[str, Any] = {
        "loudness_lufs": _rounded(meter.loudness_lufs, 1),
        "peak_dbfs": _rounded(meter.peak_dbfs, 2),
        "true_peak_dbtp": _rounded(meter.true_peak_dbtp, 1),
        "clipping_share": _rounded(meter.clipping_share, 6),
        "silence_ratio": _rounded(meter.silence_ratio, 4),
        "snr_db": _rounded(snr, 1),
        "bandwidth_hz": _rounded(bandwidth, 0),
        "narrowband": narrowband,
        "channel_correlation": _rounded(correlation, 4),
        "level_correlation": _rounded(meter.level_correlation, 4),
        "channel_dbfs": [_rounded(level, 1) if math.isfinite(level) else None for level in meter.channel_dbfs],
    }
    silent = meter.silence_ratio == 1.0
    reasons = {
        "loudness_lufs": "quieter than the gate of EBU R128 (-70 LUFS), or shorter than its 400 ms",
        "peak_dbfs": "digital silence",
        "true_peak_dbtp": "digital silence",
        "silence_ratio": "shorter than a frame of 20 ms",
        "snr_db": "silence" if silent else f"a tenth of it is below {FLOOR_DBFS:g} dBFS: no noise floor to be seen",
        "bandwidth_hz": "silence",
        "narrowband": "silence",
        "channel_correlation": "one channel" if meter.channels == 1 else "a channel of digital silence",
        "level_correlation": "one channel" if meter.channels == 1 else "a channel whose level does not change",
    }
    return measured, {name: reasons[name] for name, value in measured.items() if value is None}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # no negative zero
