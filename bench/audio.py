"""The audio wing beside its peers, on recordings made of the bundled speech, in one run on one machine.

    python bench/audio.py [--minutes N] [--files N] [--windows N] [--runs N] [--only NAME ...]

The speech is espeak-ng's: error rates say that two sides hear the same, not how well anybody hears people. Every side
of a comparison runs in a process of its own, the sides in turn, run after run; models are loaded and have heard one
batch before the clock starts. Rows whose peer is not installed (bench/requirements.txt) are left out and named.
bench/audio.md holds a table.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sides import CORES, Result, clock, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "resources/models/scripts")]

MODEL = ROOT / "resources/models/whisper-ko-demo"
BATCH = 16

# What is worked on


def make_recordings(folder: Path, files: int, minutes: float) -> None:
    """Write recordings as a telephone makes them: stereo AAC of 44.1 kHz, each of other sentences in a row."""
    import imageio_ffmpeg
    import numpy as np

    from unit.spoken import RATE, spoken

    sounds = spoken("seen")[1]
    for number in range(files):
        rng = np.random.default_rng(number)
        parts: list[Any] = []
        while sum(map(len, parts)) < minutes * 60 * RATE:
            parts.append(sounds[rng.integers(len(sounds))])
        raw = (np.concatenate(parts) * 32767).astype("<i2").tobytes()
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            "-f",
            "s16le",
            "-ar",
            str(RATE),
            "-ac",
            "1",
            "-i",
            "-",
        ]
        command += ["-ar", "44100", "-ac", "2", "-b:a", "96k", str(folder / f"call {number}.m4a")]
        subprocess.run(command, input=raw, check=True)


def recordings(folder: Path) -> list[Path]:
    """Return what make_recordings wrote."""
    return sorted(folder.glob("*.m4a"))


# Converting


def convert_malgeul(folder: Path) -> Result:
    """The stage itself: hashed, decoded, measured, speech marked, on disk with manifest and ledger."""
    import torch  # noqa: F401 (a model's library is loaded before the clock starts)

    from convert_audio import convert_audio
    from malgeul.audio.settings import ConvertSettings
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Units

    files = recordings(folder)
    with tempfile.TemporaryDirectory() as name:
        results = Path(name) / "results/bench"
        job = Job(
            inputs={"recordings": files, "twins": []},
            outputs={
                "recordings": results / "recordings/calls-0000",
                "ledger": results / "ledger/convert/calls-0000.json",
            },
            params={
                "settings": ConvertSettings().model_dump(mode="json"),
                "files": [{"path": str(file), "name": file.name, "problem": None} for file in files],
                "twins": [],
            },
            units=Units("recording", "channel"),
            threads=CORES,
        )
        result: Result = {}
        with clock(result):
            job.run(convert_audio)
        result["audio_seconds"] = job.ledger.measured["audio_seconds"]
    result["peak_mb"] = peak_mb()
    return result


def decode_malgeul(folder: Path) -> Result:
    """Decoding alone, as the stage does it: nothing is measured of the sound but its loudness."""
    from malgeul.audio.decoder import Limits, decode

    def one(file: Path) -> float:
        with file.open("rb", buffering=0) as source:
            return decode(source, file.with_suffix(".pcm"), Limits(86_400, 3_600)).seconds

    result: Result = {}
    with ThreadPoolExecutor(CORES) as pool, clock(result):
        result["audio_seconds"] = sum(pool.map(one, recordings(folder)))
    return result


def convert_ffmpeg(folder: Path) -> Result:
    """The physical limit: as many single-threaded ffmpeg processes as there are cores, doing nothing else."""
    import imageio_ffmpeg

    from malgeul.audio.pcm import seconds_of

    def one(file: Path) -> float:
        out = file.with_suffix(".wav")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-threads", "1", "-i", str(file)]
        command += ["-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", str(out)]
        subprocess.run(command, check=True)
        return seconds_of(out)

    result: Result = {}
    with ThreadPoolExecutor(CORES) as pool, clock(result):
        result["audio_seconds"] = sum(pool.map(one, recordings(folder)))
    return result


def convert_pydub(folder: Path) -> Result:
    """Pydub's own way: the whole recording in memory, resampled by it, in a process a core."""
    from multiprocessing import get_context

    result: Result = {}
    with get_context("spawn").Pool(CORES, _find_ffmpeg) as pool:
        pool.map(len, [""] * CORES)
        with clock(result):
            result["audio_seconds"] = sum(pool.map(_by_pydub, recordings(folder), chunksize=1))
        result["process_mb"] = max(pool.map(_own_mb, range(CORES), chunksize=1))
    return result


def _find_ffmpeg() -> None:
    import imageio_ffmpeg
    from pydub import AudioSegment

    AudioSegment.converter = imageio_ffmpeg.get_ffmpeg_exe()


def _by_pydub(file: Path) -> float:
    sound = _read(file).set_frame_rate(16_000).set_channels(1)
    sound.export(str(file.with_suffix(".pydub.wav")), format="wav")
    return float(sound.duration_seconds)


def _read(file: Path) -> Any:
    """Read as pydub does, by ffmpeg into a WAV in memory; its own from_file also wants ffprobe, which no wheel has."""
    import io

    from pydub import AudioSegment

    command = [AudioSegment.converter, "-v", "error", "-i", str(file), "-f", "wav", "-"]
    return AudioSegment.from_wav(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout))


def _own_mb(_: int) -> float:
    return peak_mb()


# Transcribing


def sounds(number: int) -> list[Any]:
    """Return windows of sound: sentences as they come, so often as are asked for."""
    from unit.spoken import spoken

    known = spoken("seen")[1]
    return [known[k % len(known)] for k in range(number)]


def _texts(number: int) -> list[str]:
    from unit.spoken import spoken

    known = spoken("seen")[0]
    return [known[k % len(known)] for k in range(number)]


def _heard(result: Result, texts: Sequence[str], seconds: float) -> Result:
    from making.measures import character_error_rate

    result["cer"] = character_error_rate(_texts(len(texts)), texts)
    result["audio_seconds"] = seconds
    result["peak_mb"] = peak_mb()
    return result


def transcribe_malgeul(number: int, precision: str) -> Result:
    """The stage's own code, log probabilities and a second pass where it doubts included."""
    from malgeul.models.devices import Device
    from malgeul.speech.whisper import Whisper

    whisper = Whisper(MODEL, Device("cpu", ""), "ko", 200, CORES, precision=precision)
    windows = sorted(enumerate(sounds(number)), key=lambda one: -len(one[1]))
    whisper.transcribe([whisper.hear(sound) for _, sound in windows[:BATCH]])
    texts = [""] * number
    result: Result = {}
    with clock(result):
        for first in range(0, number, BATCH):
            batch = windows[first : first + BATCH]
            for (at, _), segments in zip(batch, whisper.transcribe([whisper.hear(s) for _, s in batch]), strict=True):
                assert isinstance(segments, list)
                texts[at] = " ".join(segment.text for segment in segments)
    return _heard(result, texts, sum(len(sound) for _, sound in windows) / 16_000)


def transcribe_pipeline(number: int) -> Result:
    """Transformers' pipeline for speech, batched, with timestamps as we have them."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(CORES)
    transcribe = pipeline("automatic-speech-recognition", model=str(MODEL), device="cpu", dtype=torch.float32)
    options = {"language": "ko", "task": "transcribe", "max_new_tokens": 200, "num_beams": 1, "do_sample": False}
    windows = [{"raw": sound, "sampling_rate": 16_000} for sound in sounds(number)]

    def hear(some: list[Any]) -> list[str]:
        found = transcribe(
            [dict(one) for one in some], batch_size=BATCH, return_timestamps=True, generate_kwargs=options
        )
        return [one["text"] for one in found]

    hear(windows[:BATCH])
    result: Result = {}
    with clock(result):
        texts = hear(windows)
    return _heard(result, texts, sum(len(one["raw"]) for one in windows) / 16_000)


def transcribe_faster_whisper(number: int, precision: str) -> Result:
    """CTranslate2's Whisper by faster-whisper, batched, without its own search for speech."""
    import numpy as np
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        command = ["ct2-transformers-converter", "--model", str(MODEL), "--output_dir", str(folder)]
        copied = ["--copy_files", "tokenizer.json", "preprocessor_config.json"]
        subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:], *copied], check=True)
        model = WhisperModel(str(folder), device="cpu", compute_type=precision, cpu_threads=CORES)
        batched = BatchedInferencePipeline(model)

        def hear(some: Sequence[Any]) -> list[str]:
            """All windows as one recording, of which the peer is told where each lies."""
            ends = np.cumsum([len(sound) for sound in some]) / 16_000
            clips = [{"start": float(a), "end": float(b)} for a, b in zip([0.0, *ends[:-1]], ends, strict=True)]
            segments, _ = batched.transcribe(
                np.concatenate(some), language="ko", batch_size=BATCH, vad_filter=False, clip_timestamps=clips,
                beam_size=1, temperature=0.0, without_timestamps=False,
            )  # fmt: skip
            texts = [""] * len(some)
            for segment in segments:
                texts[int(np.searchsorted(ends, (segment.start + segment.end) / 2))] += segment.text
            return texts

        windows = sounds(number)
        hear(windows[:BATCH])
        result: Result = {}
        with clock(result):
            texts = hear(windows)
    return _heard(result, texts, sum(map(len, windows)) / 16_000)


# The comparisons

SIDES: dict[str, Callable[[Any], Result]] = {
    "convert: malgeul": lambda work: convert_malgeul(Path(work)),
    f"convert: {CORES} x ffmpeg alone": lambda work: convert_ffmpeg(Path(work)),
    f"convert: pydub, {CORES} processes": lambda work: convert_pydub(Path(work)),
    "decode: malgeul": lambda work: decode_malgeul(Path(work)),
    f"decode: {CORES} x ffmpeg alone": lambda work: convert_ffmpeg(Path(work)),
    "transcribe, float32: malgeul": lambda work: transcribe_malgeul(work, "float32"),
    "transcribe, float32: transformers' pipeline": transcribe_pipeline,
    "transcribe, float32: faster-whisper": lambda work: transcribe_faster_whisper(work, "float32"),
    "transcribe, int8: malgeul": lambda work: transcribe_malgeul(work, "int8"),
    "transcribe, int8: transformers' pipeline, float32": transcribe_pipeline,
    "transcribe, int8: faster-whisper, int8": lambda work: transcribe_faster_whisper(work, "int8"),
}
"""Every side by name; those of a conversion get a folder of recordings, the others a number of windows."""

TO_REACH = {
    f"convert: {CORES} x ffmpeg alone": "≥ 0.95",
    f"convert: pydub, {CORES} processes": "≥ 3",
    "transcribe, float32: transformers' pipeline": "≥ 1",
    "transcribe, float32: faster-whisper": "≥ 1",
    "transcribe, int8: transformers' pipeline, float32": "≥ 2",
    "transcribe, int8: faster-whisper, int8": "≥ 1",
}


def compare(name: str, work: Path, runs: int) -> Iterator[str]:
    """Yield the rows of one comparison; both sides run in turn."""
    own, *peers = [side for side in SIDES if side.startswith(f"{name}: ")]
    for peer in peers:
        rounds = [[run_side(__file__, side, work) for side in (own, peer)] for _ in range(runs)]
        ours, theirs = zip(*rounds, strict=True)
        speeds = [statistics.median(r["audio_seconds"] / r["seconds"] for r in side) for side in (ours, theirs)]
        yield (
            f"| {name} | {peer.split(': ')[1]} | {speeds[0]:,.0f}x | {speeds[1]:,.0f}x | {ratios(ours, theirs)} |"
            f" {TO_REACH.get(peer, '')} | {_said(ours[0], theirs[0])} |"
        )


def _said(ours: Result, theirs: Result) -> str:
    if "cer" in ours:
        return f"CER {ours['cer']:.2%} and {theirs['cer']:.2%}; {ours['peak_mb']:,.0f} and {theirs['peak_mb']:,.0f} MB"
    if "process_mb" in theirs:
        return f"{ours['peak_mb']:,.0f} MB in all, a process of the peer {theirs['process_mb']:,.0f} MB"
    return ""


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each recording that is converted")
    parser.add_argument("--files", type=int, default=4 * CORES, help="recordings that are converted")
    parser.add_argument("--windows", type=int, default=160, help="windows that are transcribed")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="beginnings of names")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("work", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](json.loads(given.work.read_text(encoding="utf-8")))))
        return
    try:
        peer = f"faster-whisper {version('faster-whisper')}"
    except PackageNotFoundError:
        peer = "faster-whisper is not installed: its rows are left out"
        for side in [side for side in SIDES if "faster-whisper" in side]:
            del SIDES[side]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{platform.machine()}, {CORES} cores; {versions}; {peer}\n")
    print("| what | beside | malgeul, times real time | peer | ratio (spread) | to reach | results |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "calls").mkdir()
        (folder / "calls.json").write_text(json.dumps(str(folder / "calls")), encoding="utf-8")
        (folder / "windows.json").write_text(json.dumps(given.windows), encoding="utf-8")
        for one in dict.fromkeys(side.split(": ")[0] for side in SIDES):
            if given.only and not one.startswith(tuple(given.only)):
                continue
            spoken = one.startswith("transcribe")
            if not spoken and not recordings(folder / "calls"):
                make_recordings(folder / "calls", given.files, given.minutes)
            for row in compare(one, folder / ("windows.json" if spoken else "calls.json"), given.runs):
                print(row, flush=True)


if __name__ == "__main__":
    main()
