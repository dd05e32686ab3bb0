"""Measure a Whisper on spoken sentences: error rates, times of segments, and what it makes of silence.

    python resources/models/scripts/evaluate_whisper.py --model FOLDER_OR_ID --clips NAME=DIR[,DIR] ... --out FILE
        [--revision R] [--conversations N] [--first N] [--threads N]

The model is loaded and its sound is cut by the workflow's own code, so that what is measured is what a user gets. Any
hub id may be given (openai/whisper-small). The speech is espeak-ng's: no figure here tells of people's speech.
"""

import argparse
import difflib
import json
import os
import tempfile
import time
import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from making.measures import bare, character_error_rate
from making.speaking import RATE, Clips
from making.windows import Said, Sound, disturb, draw_window

from malgeul.audio.pcm import Samples
from malgeul.audio.settings import ConvertSettings
from malgeul.audio.voice import detect_speech
from malgeul.models.devices import claimed_device
from malgeul.models.loading import folder_of, identity
from malgeul.speech.whisper import Segment, Whisper, window_seconds
from malgeul.speech.windows import read_window, windows_of

CLOSE_SECONDS = 0.3
Heard = list[Segment]


def transcribe(whisper: Whisper, sounds: Sequence[Sound], longest: float, batch: int = 16) -> list[Heard]:
    """Return the segments of every sound, with times from its start."""
    windows, pieces = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, sound in enumerate(sounds):
            file = Path(folder) / f"{number}.wav"
            samples = write_pcm(file, sound)
            spoken = {file.stem: detect_speech([samples], ConvertSettings().speech_threshold)}
            recording = {"id": file.stem, "channels": [file.stem], "seconds": len(sound) / RATE, "speech": spoken}
            for window in windows_of(recording, Path(folder), longest):
                windows.append(window)
                pieces.append(whisper.hear(read_window(file, window)))
    heard: list[Heard] = [[] for _ in sounds]
    for first in range(0, len(windows), batch):
        for window, segments in zip(
            windows[first : first + batch], whisper.transcribe(pieces[first : first + batch]), strict=True
        ):
            if not isinstance(segments, list):
                raise MemoryError(str(segments))
            heard[int(window.recording)] += [
                replace(s, start=start, end=end) for s in segments for start, end, _ in [window.place(s.start, s.end)]
            ]
    return heard


def write_pcm(file: Path, sound: Sound) -> Samples:
    """Write a sound as the conversion does; returns its samples."""
    samples: Samples = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return samples


def rates(said: Sequence[str], heard: Sequence[Heard]) -> dict[str, float]:
    """Return the error rates of characters, with and without spaces and punctuation."""
    texts = [" ".join(segment.text for segment in segments) for segments in heard]
    return {
        "sentences": len(said),
        "cer": round(character_error_rate(said, texts), 4),
        "cer_with_spaces_and_punctuation": round(character_error_rate(said, texts, strip=False), 4),
    }


def close_times(said: Sequence[Sequence[Said]], heard: Sequence[Heard]) -> float:
    """Return the share of true starts and ends that a segment of about the same text has within CLOSE_SECONDS."""
    close = total = 0
    for true, found in zip(said, heard, strict=True):
        for one in true:
            total += 2
            near = max(found, key=lambda s: _likeness(s.text, one.text), default=None)
            if near is not None and _likeness(near.text, one.text) > 0.5:
                close += (abs(near.start - one.start) <= CLOSE_SECONDS) + (abs(near.end - one.end) <= CLOSE_SECONDS)
    return close / total


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, bare(a), bare(b), autojunk=False).ratio()


def main() -> None:
    """Read the arguments, measure, write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--revision")
    parser.add_argument("--clips", nargs="+", required=True, metavar="NAME=DIR[,DIR]")
    parser.add_argument("--conversations", type=int, default=100, help="windows of several speakers, for the times")
    parser.add_argument("--first", type=int, help="only so many sentences of each set")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    sets = {
        name: Clips([Path(one) for one in dirs.split(",")]) for name, dirs in (s.split("=", 1) for s in given.clips)
    }
    figures: dict[str, object] = {"model": identity(given.model, given.revision), "speech": "espeak-ng, synthetic"}
    with claimed_device() as device:
        folder = folder_of(given.model, given.revision)
        longest = window_seconds(folder)
        started = time.perf_counter()
        whisper = Whisper(folder, device, "ko", 200, given.threads)
        figures["load_seconds"] = round(time.perf_counter() - started, 2)
        for name, clips in sets.items():
            count = min(len(clips), given.first or len(clips))
            pause = np.zeros(RATE // 2, np.float32)
            sounds = [np.concatenate([pause, clips.sound(k), pause]) for k in range(count)]
            figures[name] = rates([clips[k].text for k in range(count)], transcribe(whisper, sounds, longest))
        first = next(iter(sets.values()))
        rng = np.random.default_rng(7)
        drawn = [draw_window(first, rng) for _ in range(given.conversations)]
        heard = transcribe(whisper, [disturb(sound, rng) for sound, _ in drawn], longest)
        figures["times_within_0.3_s"] = round(close_times([said for _, said in drawn], heard), 4)
        noise = [disturb(np.zeros(4 * RATE, np.float32), rng) for _ in range(20)]
        figures["texts_from_20_noises"] = sum(bool(segments) for segments in transcribe(whisper, noise, longest))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
