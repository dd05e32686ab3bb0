"""Make the demo's recordings: Korean dialogues read by espeak-ng, in the formats found in the wild.

    python resources/demo/make_recordings.py [--out DIR] [--expected FILE]
                                             [--scale N] [--seed S] [--jobs J]

dialogues.yaml holds the dialogues and says what file each becomes. Every turn is synthesized on its
own, trimmed to where it sounds, and placed on a timeline; the start and end of each turn are
therefore known exactly. The mix is then encoded by ffmpeg. Beside the good files stand a silent
one, a duplicate and the faults that a converter must survive.

The expected file has one JSON line per file: what it is, what a converter should say about it, and
what is spoken when.

Round 0 is the bundled demo. Each further round of ``--scale`` makes the recordings again with other
voices, speeds, pauses and turns. A file depends on the seed, its own entry, the versions of
espeak-ng and ffmpeg and the type of CPU, never on the scale, on --jobs or on other files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import unicodedata
import wave
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent

Samples = NDArray[np.int16]
Row = dict[str, Any]

SYNTHESIS_RATE = 22_050
"""Rate of espeak-ng's output, and of all sound here until ffmpeg resamples it, in Hz."""

AUDIBLE = 200
"""A clip begins where its amplitude first exceeds this (-44 dBFS), and ends where it last does."""

ROOM_TONE = 12
"""Peak of the noise under the speech (-74 dBFS rms): a real line is never digitally silent."""

ENCODINGS: Mapping[str, tuple[str, ...]] = {
    "m4a": ("-c:a", "aac", "-f", "ipod"),
    "mp3": ("-c:a", "libmp3lame", "-f", "mp3"),
    "opus": ("-c:a", "libopus", "-f", "ogg"),
    "vorbis": ("-c:a", "libvorbis", "-q:a", "2", "-f", "ogg"),
    "flac": ("-c:a", "flac", "-f", "flac"),
    "wav": ("-c:a", "pcm_s16le", "-f", "wav"),
    "mulaw": ("-c:a", "pcm_mulaw", "-f", "wav"),
}

BIT_RATE_PER_CHANNEL = {"m4a": (16, 40), "mp3": (16, 32), "opus": (20, 20)}
"""In kbit/s: for telephone sound (up to 8 kHz), and for the rest."""

BIT_EXACT = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags", "+bitexact", "-threads", "1")
"""No dates, versions or random stream serials in a file."""


@dataclass(frozen=True)
class Voice:
    """One of espeak-ng's Korean voices: variant, speed in words per minute, pitch from 0 to 99."""

    variant: str
    speed: int
    pitch: int


@dataclass(frozen=True)
class Turn:
    """What one speaker says, starting ``overlap`` seconds before the previous turn has ended."""

    who: str
    say: str
    overlap: float = 0.0


@dataclass(frozen=True)
class Dialogue:
    """Speakers, in the order of their channels, and what they say in turn."""

    name: str
    voices: Mapping[str, Voice]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Recording:
    """A file to make.

    ``path`` is relative, with slashes, in NFC; ``rate`` is in Hz, ``silence`` in seconds; ``keep``
    is the share of its bytes that is left. dialogues.yaml explains the layouts.
    """

    path: str
    rate: int
    format: str
    dialogue: Dialogue | None = None
    silence: float = 0.0
    layout: str = "mono"
    decomposed: bool = False
    faststart: bool = False
    keep: float = 1.0
    fault: str | None = None

    @property
    def channels(self) -> int:
        """Number of channels in the file."""
        return 1 if self.layout == "mono" else 2

    @property
    def heard_rate(self) -> int:
        """Sample rate that a decoder reports, in Hz: Opus always decodes at 48 kHz (RFC 7845)."""
        return 48_000 if self.format == "opus" else self.rate

    def file(self, out: Path) -> Path:
        """Where the file lies under ``out``, its name decomposed if it has to be."""
        path = PurePosixPath(self.path)
        name = unicodedata.normalize("NFD", path.name) if self.decomposed else path.name
        return out / path.parent / name


@dataclass(frozen=True)
class Placed:
    """A turn on the timeline: ``start`` in frames at SYNTHESIS_RATE, ``clip`` of that rate."""

    turn: Turn
    start: int
    clip: Samples

    @property
    def end(self) -> int:
        """First frame after the clip."""
        return self.start + len(self.clip)


@dataclass(frozen=True)
class Tools:
    """The programs used, as absolute paths."""

    espeak: str
    ffmpeg: str


def find_tools() -> Tools:
    """Find espeak-ng on the PATH, and imageio-ffmpeg's ffmpeg or else the PATH's.

    Raises:
        SystemExit: one of them is missing; the message says how to get it.
    """
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        raise SystemExit("espeak-ng was not found: apt install espeak-ng or brew install espeak-ng")
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return Tools(espeak, str(get_ffmpeg_exe()))
    except (ImportError, RuntimeError):
        ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SystemExit("ffmpeg was not found: pip install imageio-ffmpeg, or apt install ffmpeg")
    return Tools(espeak, ffmpeg)


def seeded(seed: int, *names: object) -> random.Random:
    """A random stream for these names alone, so that adding a recording changes no other."""
    return random.Random("/".join(map(str, (seed, *names))))


# What to make


def read_dialogues(source: Mapping[str, Any]) -> dict[str, Dialogue]:
    """The dialogues of dialogues.yaml by name.

    Raises:
        KeyError: a dialogue names a voice that is not in ``voices``.
    """
    voices = {name: Voice(**voice) for name, voice in source["voices"].items()}
    return {
        name: Dialogue(
            name,
            {role: voices[voice] for role, voice in entry["speakers"].items()},
            tuple(Turn(**turn) for turn in entry["turns"]),
        )
        for name, entry in source["dialogues"].items()
    }


def read_recordings(
    source: Mapping[str, Any],
    dialogues: Mapping[str, Dialogue],
) -> list[Recording]:
    """The recordings of dialogues.yaml; a format that is not given is that of the suffix."""
    recordings = []
    for given in source["recordings"]:
        entry = {"format": PurePosixPath(given["path"]).suffix[1:], **given}
        if "dialogue" in entry:
            entry["dialogue"] = dialogues[entry["dialogue"]]
        recordings.append(Recording(**entry))
    return recordings


def in_round(path: str, number: int) -> str:
    """The path of a recording in a round: from round 1 on, its stem ends in the round's number."""
    plain = PurePosixPath(path)
    return path if number == 0 else str(plain.with_stem(f"{plain.stem}_{number:04d}"))


def vary_dialogue(dialogue: Dialogue, voices: Sequence[Voice], rng: random.Random) -> Dialogue:
    """The dialogue with other voices and speeds, another start, and at least half of its turns."""
    actors = rng.sample(voices, len(dialogue.voices))
    cast = {
        role: replace(
            voice,
            speed=round(voice.speed * rng.uniform(0.88, 1.12)),
            pitch=max(20, min(80, voice.pitch + rng.randint(-8, 8))),
        )
        for role, voice in zip(dialogue.voices, actors, strict=True)
    }
    first = rng.randrange(len(dialogue.turns))
    count = rng.randint((len(dialogue.turns) + 1) // 2, len(dialogue.turns))
    turns = (dialogue.turns[first:] + dialogue.turns[:first])[:count]
    return replace(dialogue, voices=cast, turns=turns)


def vary_recording(
    recording: Recording,
    number: int,
    voices: Sequence[Voice],
    seed: int,
) -> Recording:
    """The recording as it is made in round ``number``."""
    if number == 0:
        return recording
    path = in_round(recording.path, number)
    if recording.dialogue is None:
        # Silence has only its length to vary, and files with the same bytes are one recording.
        return replace(recording, path=path, silence=recording.silence + number / 1000)
    rng = seeded(seed, path, "variation")
    return replace(recording, path=path, dialogue=vary_dialogue(recording.dialogue, voices, rng))


# Sound


def synthesize(text: str, voice: Voice, espeak: str) -> Samples:
    """Read Korean text aloud: shape (frames,) at SYNTHESIS_RATE, trimmed, at half of full scale.

    Raises:
        RuntimeError: the text gave no sound.
        subprocess.CalledProcessError: espeak-ng failed.
    """
    with TemporaryDirectory() as folder:
        # To a file: on a pipe, espeak-ng cannot go back and write the length into the header.
        clip_file = Path(folder) / "clip.wav"
        reading = ["-v", f"ko+{voice.variant}", "-s", str(voice.speed), "-p", str(voice.pitch)]
        command = [espeak, *reading, "-b", "1", "--stdin", "-w", str(clip_file)]
        subprocess.run(command, input=text.encode(), check=True)
        with wave.open(str(clip_file)) as clip:
            if clip.getframerate() != SYNTHESIS_RATE:
                raise RuntimeError(f"espeak-ng gave {clip.getframerate()} Hz, not {SYNTHESIS_RATE}")
            samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2")
    audible = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)
    if not len(audible):
        raise RuntimeError(f"espeak-ng gave no sound for {text!r} (voice {voice.variant})")
    # Half scale leaves room for two speakers at once.
    return samples[audible[0] : audible[-1] + 1] // np.int16(2)


def place_turns(
    turns: Sequence[Turn],
    clips: Sequence[Samples],
    rng: random.Random,
) -> list[Placed]:
    """Put the clips one after another, 0.25 to 0.9 s apart or overlapping as the turn says."""
    placed: list[Placed] = []
    for turn, clip in zip(turns, clips, strict=True):
        pause = rng.uniform(0.25, 0.9)
        if placed and turn.overlap:
            pause = -turn.overlap
        before = placed[-1].end if placed else 0
        placed.append(Placed(turn, before + round(pause * SYNTHESIS_RATE), clip))
    return placed


def mix(
    placed: Sequence[Placed],
    speakers: Sequence[str],
    layout: str,
    frames: int,
    tone_seed: int,
) -> Samples:
    """Mix the clips over room tone: shape (frames, channels) at SYNTHESIS_RATE.

    In the layout ``split``, a speaker's place in ``speakers`` is its channel.
    """
    tracks = len(speakers) if layout == "split" else 1
    noise = np.random.Generator(np.random.PCG64(tone_seed))
    sound = noise.integers(-ROOM_TONE, ROOM_TONE + 1, size=(frames, tracks), dtype=np.int32)
    for one in placed:
        track = speakers.index(one.turn.who) if layout == "split" else 0
        sound[one.start : one.end, track] += one.clip
    if layout == "dual":
        sound = np.repeat(sound, 2, axis=1)
    return np.clip(sound, -32_768, 32_767).astype(np.int16)


def perform(recording: Recording, seed: int, espeak: str) -> tuple[Samples, list[Placed]]:
    """The sound of a recording, (frames, channels) at SYNTHESIS_RATE, and its placed turns."""
    dialogue = recording.dialogue
    if dialogue is None:
        frames = round(recording.silence * SYNTHESIS_RATE)
        return np.zeros((frames, recording.channels), np.int16), []
    rng = seeded(seed, recording.path)
    clips = [synthesize(turn.say, dialogue.voices[turn.who], espeak) for turn in dialogue.turns]
    placed = place_turns(dialogue.turns, clips, rng)
    frames = max(one.end for one in placed) + round(rng.uniform(0.3, 0.6) * SYNTHESIS_RATE)
    speakers = list(dialogue.voices)
    return mix(placed, speakers, recording.layout, frames, rng.getrandbits(64)), placed


def spoken_turns(placed: Sequence[Placed], recording: Recording, until: float) -> list[Row]:
    """What is said when, in seconds, in the turns that end by ``until``; one cut off is left out.

    The channel is null where all speakers share one.
    """
    speakers = list(recording.dialogue.voices) if recording.dialogue else []
    return [
        {
            "speaker": one.turn.who,
            "channel": speakers.index(one.turn.who) if recording.layout == "split" else None,
            "start": round(one.start / SYNTHESIS_RATE, 3),
            "end": round(one.end / SYNTHESIS_RATE, 3),
            "text": one.turn.say,
        }
        for one in placed
        if one.end / SYNTHESIS_RATE <= until
    ]


# Files


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and rename it if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hashed, since a long Korean name may leave no room for a suffix.
    beside = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
    try:
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def run_ffmpeg(ffmpeg: str, arguments: Sequence[str], sound: bytes | None = None) -> bytes:
    """Run ffmpeg quietly on ``sound`` (raw, on its stdin) and return its stdout.

    Raises:
        RuntimeError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        [ffmpeg, "-hide_banner", "-loglevel", "error", "-y", *arguments],
        input=sound or b"",
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def encode(sound: Samples, recording: Recording, target: Path, ffmpeg: str) -> None:
    """Write ``sound`` to ``target`` in the recording's format; cut off what it does not keep."""
    channels = str(recording.channels)
    raw = ["-f", "s16le", "-ar", str(SYNTHESIS_RATE), "-ac", channels, "-i", "pipe:0"]
    coding = list(ENCODINGS[recording.format])
    if recording.format in BIT_RATE_PER_CHANNEL:
        telephone, other = BIT_RATE_PER_CHANNEL[recording.format]
        kilobits = telephone if recording.rate <= 8_000 else other
        coding += ["-b:a", f"{kilobits * recording.channels}k"]
    if recording.faststart:
        coding += ["-movflags", "+faststart"]
    arguments = [*raw, *BIT_EXACT, "-ar", str(recording.rate), *coding, f"file:{target}"]
    run_ffmpeg(ffmpeg, arguments, sound.tobytes())
    if recording.keep < 1:
        os.truncate(target, int(target.stat().st_size * recording.keep))


def decodable_seconds(path: Path, rate: int, ffmpeg: str) -> float:
    """How much of a damaged recording a decoder gives back, in seconds."""
    mono = ["-map", "0:a:0", "-ac", "1", "-ar", str(rate), "-f", "s16le", "pipe:1"]
    return len(run_ffmpeg(ffmpeg, ["-nostdin", "-i", f"file:{path}", *mono])) / 2 / rate


def describe(path: str, file: Path, verdict: str, fault: str | None = None, **facts: object) -> Row:
    """One line of the expected file; ``facts`` is what can be known of the sound, else null."""
    decomposed = file.name != unicodedata.normalize("NFC", file.name)
    return {
        "path": path,
        **({"raw_path_nfd": True} if decomposed else {}),
        "id": hashlib.sha256(file.read_bytes()).hexdigest()[:16],
        "verdict": verdict,
        "class": fault,
        "duplicate_of": None,
        "language": None,
        "dialogue": None,
        "sample_rate": None,
        "channels": None,
        "separate_channels": None,
        "duration_s": None,
        "silence": None,
        "spoken": [],
        **facts,
    }


def make_recording(recording: Recording, out: Path, seed: int, tools: Tools) -> Row:
    """Make one recording under ``out`` and describe it."""
    sound, placed = perform(recording, seed, tools.espeak)
    file = recording.file(out)
    with written_whole(file) as beside:
        encode(sound, recording, beside, tools.ffmpeg)
    if recording.fault == "TRUNCATED":
        # Without its index the file tells a decoder nothing, not even its rate.
        return describe(recording.path, file, "quarantined", recording.fault)
    declared = duration = len(sound) / SYNTHESIS_RATE
    loss: Row = {}
    if recording.fault == "PARTIAL":
        duration = decodable_seconds(file, recording.rate, tools.ffmpeg)
        loss = {"declared_s": round(declared, 3), "missing_s": round(declared - duration, 3)}
    return describe(
        recording.path,
        file,
        "partial" if recording.fault == "PARTIAL" else "ok",
        recording.fault,
        language="ko" if recording.dialogue else None,
        dialogue=recording.dialogue.name if recording.dialogue else None,
        sample_rate=recording.heard_rate,
        channels=recording.channels,
        separate_channels=recording.layout == "split",
        duration_s=round(duration, 3),
        silence=recording.dialogue is None,
        spoken=spoken_turns(placed, recording, duration),
        **loss,
    )


def copy_recording(original: Row, source: Path, path: str, out: Path) -> Row:
    """Copy a recording that was made to ``path`` and describe the copy."""
    with written_whole(out / path) as beside:
        shutil.copyfile(source, beside)
    copy = original | {"path": path, "verdict": "duplicate", "duplicate_of": original["path"]}
    copy.pop("raw_path_nfd", None)
    return copy


def make_not_recording(entry: Mapping[str, str], out: Path, tools: Tools) -> Row:
    """Make a file that has a recording's name and no sound in it, and describe it.

    Raises:
        ValueError: the entry's kind is unknown.
    """
    file = out / entry["path"]
    with written_whole(file) as beside:
        match entry["kind"]:
            case "empty":
                beside.touch()
            case "text":
                memo = "이 파일은 녹음이 아니라 메모입니다. 이름만 바꿨습니다.\n"
                beside.write_text(memo * 8, "utf-8")
            case "playlist":
                beside.write_text(f"ffconcat version 1.0\nfile '{entry['target']}'\n", "utf-8")
            case "video":
                picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=2"]
                coding = ["-c:v", "mpeg4", "-f", "mp4"]
                run_ffmpeg(tools.ffmpeg, [*picture, *BIT_EXACT, *coding, f"file:{beside}"])
            case kind:
                raise ValueError(f"{entry['path']}: unknown kind {kind!r}")
    return describe(entry["path"], file, "quarantined", entry["fault"])


def make_all(
    source: Mapping[str, Any],
    out: Path,
    scale: int,
    seed: int,
    jobs: int,
    tools: Tools,
) -> list[Row]:
    """Make the files of all rounds, ``jobs`` at a time, and describe them sorted by path."""
    voices = [Voice(**voice) for voice in source["voices"].values()]
    recordings = read_recordings(source, read_dialogues(source))
    plan = {
        one.path: one
        for number in range(scale)
        for one in (vary_recording(recording, number, voices, seed) for recording in recordings)
    }
    # espeak-ng and ffmpeg do the work, so threads are enough.
    with ThreadPoolExecutor(jobs) as pool:
        made = pool.map(lambda one: make_recording(one, out, seed, tools), plan.values())
        rows = {row["path"]: row for row in made}
    for number in range(scale):
        for entry in source["duplicates"]:
            original, path = (in_round(entry[key], number) for key in ("of", "path"))
            rows[path] = copy_recording(rows[original], plan[original].file(out), path, out)
    for entry in source["not_recordings"]:
        rows[entry["path"]] = make_not_recording(entry, out, tools)
    return [rows[path] for path in sorted(rows)]


def parse_arguments() -> argparse.Namespace:
    """The command line, with ``out`` and ``expected`` filled in."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    option = parser.add_argument
    option("--out", type=Path, default=HERE / "recordings", help="folder for the recordings")
    option("--expected", type=Path, help="default: expected/recordings.jsonl beside --out")
    option("--scale", type=int, default=1, metavar="N", help="make N times as many (default: 1)")
    option("--seed", type=int, default=0, metavar="S", help="of all that is drawn (default: 0)")
    option("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="how many at a time")
    arguments = parser.parse_args()
    if arguments.scale < 1 or arguments.jobs < 1:
        parser.error("--scale and --jobs must be at least 1")
    beside_out = arguments.out.resolve().parent / "expected" / "recordings.jsonl"
    arguments.expected = arguments.expected or beside_out
    return arguments


def main() -> None:
    """Make the recordings and the expected file, and say how much there is."""
    given = parse_arguments()
    source = yaml.safe_load((HERE / "dialogues.yaml").read_text("utf-8"))
    rows = make_all(source, given.out, given.scale, given.seed, given.jobs, find_tools())
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    with written_whole(given.expected) as beside:
        beside.write_text("".join(lines), "utf-8")
    seconds = sum(row["duration_s"] or 0 for row in rows)
    print(f"{len(rows)} files, {seconds:.0f} s of sound, in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
