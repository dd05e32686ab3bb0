"""A call and a memo as the stages before leave them: channels, manifest rows and transcripts."""

from __future__ import annotations

import wave

import numpy as np

from malgeul.shards.files import StatKey, sha256_of

RATE = 16_000
CALL, MEMO, SILENCE = "ca11" * 4, "3e30" * 4, "51e7" * 4


def voice(hertz, talk, seconds):
    time = np.arange(seconds * RATE) / RATE
    sound = sum(np.sin(2 * np.pi * k * hertz * time) / k**2 for k in range(1, 10))
    heard = sum(((time >= start) & (time < end)).astype(float) for start, end in talk)
    return 0.2 * sound * heard


def write_wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())


def proofs(results, files):
    """Return what the ledger of the stage that wrote them states of files."""
    return {
        str(file.relative_to(results)): {
            "size": (stat := StatKey.of(file)).size,
            "mtime_ns": stat.mtime_ns,
            "inode": stat.inode,
            "sha256": sha256_of(file),
        }
        for file in files
    }


def segment(start, end, text, channel=0, **more):
    return {
        "start": start,
        "end": end,
        "text": text,
        "channel": channel,
        "speaker": None,
        "avg_logprob": -0.25,
        "no_speech_prob": 0.01,
        "compression_ratio": 1.1,
        "flags": [],
        **more,
    }


def transcript(recording, channels, segments, seconds=10.0):
    return {
        "id": recording,
        "name": f"{recording}.m4a",
        "duration": seconds,
        "language": "ko",
        "model": {"id": "test"},
        "channels": channels,
        "text": " ".join(said["text"] for said in segments),
        "segments": segments,
        "no_speech": not segments,
    }


def manifest_row(recording, channels, **more):
    return {
        "id": recording,
        "name": f"{recording}.m4a",
        "aliases": [],
        "channels": channels,
        "seconds": 10.0,
        "speech": {channel: [] for channel in channels},
        "mix": "",
        "partial": None,
        "source": {"decoding_errors": 0},
        "measured": {
            "loudness_lufs": -23.0,
            "peak_dbfs": -3.0,
            "true_peak_dbtp": -2.6,
            "clipping_share": 0.0,
            "silence_ratio": 0.2,
            "snr_db": None,
            "bandwidth_hz": 3900.0,
            "narrowband": True,
            "channel_correlation": 0.01,
            "level_correlation": -0.2,
            "channel_dbfs": [-25.0],
        },
        "unmeasured": {"snr_db": "pauses of digital silence"},
        **more,
    }


CALL_CHANNELS = [f"{CALL}.0", f"{CALL}.1"]
CALL_ROW = manifest_row(CALL, CALL_CHANNELS)
CALL_TRANSCRIPT = transcript(
    CALL,
    CALL_CHANNELS,
    [
        segment(0.0, 2.0, "서울중앙지검 김민수 수사관입니다.", 0),
        segment(2.5, 4.0, "네? 누구시라고요?", 1),
        segment(3.5, 5.0, "전화 끊지 마세요.", 0),
        segment(5.4, 8.0, "안전 계좌로 이체해 주세요.", 0),
    ],
)
MEMO_ROW = manifest_row(
    MEMO, [MEMO], measured={**CALL_ROW["measured"], "channel_correlation": None, "level_correlation": None}
)
MEMO_ROW["unmeasured"] = {
    **MEMO_ROW["unmeasured"],
    "channel_correlation": "one channel",
    "level_correlation": "one channel",
}
MEMO_TRANSCRIPT = transcript(MEMO, [MEMO], [segment(0.0, 3.0, "오늘 회의를 시작하겠습니다.", None)])
SILENCE_ROW = manifest_row(SILENCE, [SILENCE])
SILENCE_TRANSCRIPT = transcript(SILENCE, [SILENCE], [])


def write_channels(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / f"{CALL}.0.wav", voice(110, [(0, 2), (3.5, 5), (5.4, 8)], 10))
    write_wav(folder / f"{CALL}.1.wav", voice(220, [(2.5, 4)], 10))
    write_wav(folder / f"{MEMO}.wav", voice(160, [(0, 3)], 10))
    write_wav(folder / f"{SILENCE}.wav", np.zeros(10 * RATE))
