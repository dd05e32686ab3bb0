"""Sentences read aloud by espeak-ng in many voices and sent through the codecs that recordings come in."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from make_recordings import SYNTHESIS_RATE, Samples, Voice, run_ffmpeg, synthesize

RATE = 16_000

USUAL_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m7", "m8")
OTHER_VARIANTS = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Mario", "Mike", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed",
    "edward", "john", "linda", "max", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "steph",
    "travis", "victor", "zac", "grandma", "grandpa",
)  # fmt: skip
UNSEEN_VARIANTS = ("m6", "Michael", "michel", "shelby", "sandro", "marcelo", "gustave", "kaukovalta")
"""Voices that only the evaluation hears."""

CODECS: Mapping[str, tuple[int, tuple[str, ...], str]] = {
    "mulaw": (8_000, ("-c:a", "pcm_mulaw"), "wav"),
    "amr": (8_000, ("-c:a", "libopencore_amrnb", "-b:a", "12.2k"), "amr"),
    "amr_low": (8_000, ("-c:a", "libopencore_amrnb", "-b:a", "7.4k"), "amr"),
    "opus_narrow": (8_000, ("-c:a", "libopus", "-b:a", "16k"), "ogg"),
    "opus": (48_000, ("-c:a", "libopus", "-b:a", "20k"), "ogg"),
    "mp3_narrow": (8_000, ("-c:a", "libmp3lame", "-b:a", "16k"), "mp3"),
    "mp3": (44_100, ("-c:a", "libmp3lame", "-b:a", "32k"), "mp3"),
    "aac": (44_100, ("-c:a", "aac", "-b:a", "40k"), "m4a"),
    "aac_narrow": (8_000, ("-c:a", "aac", "-b:a", "16k"), "m4a"),
}
"""Sample rate in Hz, ffmpeg's encoder and container of each codec; "none" is the sound as it was synthesized."""

NARROW = ("amr", "amr_low", "opus_narrow")
"""What half of the hardest evaluation passes: 8 kHz AMR or Opus."""

GAP_SECONDS = 0.2
"""Between two clips on their way through a codec."""


@dataclass(frozen=True)
class Clip:
    """A sentence in a file of clips: ``frames`` samples at 16 kHz from ``start``."""

    text: str
    variant: str
    codec: str
    start: int
    frames: int


def draw_variant(rng: random.Random) -> str:
    """Return an espeak-ng voice variant of nobody's: each of its settings drawn from the range that its own ones span.

    docs/voices.md of espeak-ng says what they mean; formants are in percent of the language's frequency, height, width.
    """

    def drawn(low: float, high: float) -> int:
        return round(rng.uniform(low, high))

    shift = rng.uniform(0.85, 1.15)  # a larger or smaller head moves all of them
    ranges = [(90, 110), (45, 115), (70, 140), (70, 135), *[(60, 125)] * 5]
    lines = [
        f"formant {number} {round(shift * drawn(*low_high))} {drawn(60, 160)} {drawn(60, 170)}"
        for number, low_high in enumerate(ranges)
    ]
    base = drawn(60, 200)
    lines += [f"pitch {base} {round(base * rng.uniform(1.2, 1.9))}", f"voicing {drawn(35, 165)}"]
    lines += [f"consonants {drawn(50, 180)} {drawn(40, 180)}", f"roughness {drawn(0, 5)}", f"flutter {drawn(0, 6)}"]
    if rng.random() < 0.5:
        lines.append(
            f"tone {drawn(100, 500)} {drawn(130, 255)} {drawn(600, 1500)} {drawn(60, 180)} 3000 {drawn(30, 130)}"
        )
    if rng.random() < 0.2:
        lines.append(
            f"breath 0 {drawn(0, 8)} {drawn(0, 8)} {drawn(0, 8)} {drawn(0, 8)} 0 {drawn(0, 15)} {drawn(0, 40)}"
        )
    if rng.random() < 0.2:
        lines.append(f"echo {drawn(40, 140)} {drawn(5, 20)}")
    return "\n".join(["language variant", "name drawn", *lines]) + "\n"


@contextmanager
def with_variants(variants: Mapping[str, str], espeak: str) -> Iterator[None]:
    """Let espeak-ng know more variants, by name, for as long as the context lasts."""
    told = subprocess.run([espeak, "--version"], capture_output=True, text=True, check=True).stdout
    own = Path(told.split("Data at:")[1].strip())
    with TemporaryDirectory() as folder:
        for kept in own.iterdir():
            if kept.name != "voices":
                (Path(folder) / kept.name).symlink_to(kept)
        both = Path(folder) / "voices" / "!v"
        shutil.copytree(own / "voices" / "!v", both)
        for name, text in variants.items():
            (both / name).write_text(text, encoding="utf-8")
        before = os.environ.get("ESPEAK_DATA_PATH")
        os.environ["ESPEAK_DATA_PATH"] = folder
        try:
            yield
        finally:
            del os.environ["ESPEAK_DATA_PATH"]
            if before is not None:
                os.environ["ESPEAK_DATA_PATH"] = before


def draw_voice(rng: random.Random, variants: Sequence[str]) -> Voice:
    """Return a voice of one of the variants with a speed and a pitch that people would have."""
    return Voice(rng.choice(variants), rng.randint(150, 214), rng.randint(24, 78))


def speak(
    texts: Sequence[str], voices: Sequence[Voice], codec: str, espeak: str, ffmpeg: str
) -> tuple[Samples, list[Clip]]:
    """Return the texts spoken by the voices and sent through one codec: samples at 16 kHz and where each text lies.

    Raises:
        RuntimeError: a text gave no sound, or ffmpeg failed (its message says how).
    """
    with ThreadPoolExecutor(2) as pool:  # espeak-ng does the work
        sounds = list(pool.map(lambda text, voice: synthesize(text, voice, espeak), texts, voices))
    gap = np.zeros(round(GAP_SECONDS * SYNTHESIS_RATE), np.int16)
    starts, pieces, at = [], [gap], len(gap)
    for sound in sounds:
        starts.append(at)
        pieces += [sound, gap]
        at += len(sound) + len(gap)
    whole = np.concatenate(pieces)
    clean = _resampled(whole, ffmpeg)
    coded = clean if codec == "none" else _aligned(_through(whole, codec, ffmpeg), clean)
    clips = [
        Clip(
            text, voice.variant, codec, round(start * RATE / SYNTHESIS_RATE), round(len(sound) * RATE / SYNTHESIS_RATE)
        )
        for text, voice, start, sound in zip(texts, voices, starts, sounds, strict=True)
    ]
    return coded, clips


def _resampled(sound: Samples, ffmpeg: str) -> Samples:
    given = ["-f", "s16le", "-ar", str(SYNTHESIS_RATE), "-ac", "1", "-i", "pipe:0"]
    raw = run_ffmpeg(ffmpeg, [*given, "-ar", str(RATE), "-f", "s16le", "pipe:1"], sound.tobytes())
    return np.frombuffer(raw, "<i2")


def _through(sound: Samples, codec: str, ffmpeg: str) -> Samples:
    rate, coding, suffix = CODECS[codec]
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"coded.{suffix}"
        given = ["-f", "s16le", "-ar", str(SYNTHESIS_RATE), "-ac", "1", "-i", "pipe:0"]
        run_ffmpeg(ffmpeg, [*given, "-ar", str(rate), *coding, str(file)], sound.tobytes())
        return np.frombuffer(run_ffmpeg(ffmpeg, ["-i", str(file), "-ar", str(RATE), "-f", "s16le", "pipe:1"]), "<i2")


def _aligned(coded: Samples, clean: Samples, seconds: float = 20.0, reach: float = 0.2) -> Samples:
    """Return the coded sound moved back by its codec's delay, as long as the clean one: times stay true."""
    count = min(len(coded), len(clean), round(seconds * RATE))
    size = 2 * count
    spectrum = np.fft.rfft(coded[:count].astype(np.float32), size) * np.conj(
        np.fft.rfft(clean[:count].astype(np.float32), size)
    )
    likeness = np.fft.irfft(spectrum)
    lags = np.arange(-round(reach * RATE), round(reach * RATE))
    delay = int(lags[np.argmax(np.abs(likeness[lags]))])
    moved = coded[delay:] if delay >= 0 else np.concatenate([np.zeros(-delay, np.int16), coded])
    return np.pad(moved[: len(clean)], (0, max(0, len(clean) - len(moved))))


def encoders_of(ffmpeg: str) -> str:
    """Return ffmpeg's list of encoders."""
    return subprocess.run([ffmpeg, "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout


def write_clips(samples: Samples, clips: Sequence[Clip], folder: Path) -> None:
    """Write clips as samples.npy (int16, 16 kHz) and clips.jsonl into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "samples.npy", samples)
    lines = (json.dumps(asdict(clip), ensure_ascii=False) + "\n" for clip in clips)
    (folder / "clips.jsonl").write_text("".join(lines), encoding="utf-8")


class Clips:
    """All the clips of some folders, mapped from disk."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._samples = [np.load(folder / "samples.npy", mmap_mode="r") for folder in folders]
        self._clips = [
            (part, Clip(**json.loads(line)))
            for part, folder in enumerate(folders)
            for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()
        ]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Clip:
        return self._clips[index][1]

    def __iter__(self) -> Iterator[Clip]:
        return (clip for _part, clip in self._clips)

    def sound(self, index: int) -> npt.NDArray[np.float32]:
        """Return the samples of a clip, in -1..1."""
        part, clip = self._clips[index]
        samples = self._samples[part][clip.start : clip.start + clip.frames]
        return np.asarray(samples, np.float32) / np.float32(32768)
