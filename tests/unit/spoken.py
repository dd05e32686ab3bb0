"""Speech with known words: sentences of the bundled Whisper's evaluation, from tests/data/speech."""

import json
import subprocess
from functools import cache

import imageio_ffmpeg
import numpy as np

from malgeul import ROOT

DATA = ROOT / "tests/data"
RATE = 16_000
PAUSE = np.zeros(RATE // 2, np.float32)


@cache
def spoken(name):
    """Return the sentences of a set and their sounds, with half a second of silence before and after each."""
    file = DATA / "speech" / f"{name}.opus"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(file), "-ar", str(RATE), "-f", "s16le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
    clips = [json.loads(line) for line in file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    sounds = [np.concatenate([PAUSE, samples[c["start"] : c["start"] + c["frames"]], PAUSE]) for c in clips]
    return [clip["text"] for clip in clips], sounds
