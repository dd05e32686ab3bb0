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
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sides import CORES, Result, clock, has_bfloat16, own_peak_mb, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "resources/models/scripts")]

MODEL = ROOT / "resources/models/whisper-ko-demo"
BATCH = 16
SHARDS = 4
"""Of the whole wing: while one is transcribed the next is converted."""
MOST_TOKENS = 64
"""Of a window that is heard by a model of random weights."""
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)

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
    with tempfile.TemporaryDirectory() as name:
        convert = conversion(recordings(folder), Path(name) / "results/bench")
        result: Result = {}
        with clock(result):
            convert()
    result["process_mb"] = own_peak_mb()
    return result


def conversion(files: Sequence[Path], results: Path) -> Callable[[], None]:
    """Return what converts recordings into the results of a run."""
    from convert_audio import convert_audio
    from malgeul.audio.settings import ConvertSettings
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Units

    job = Job(
        inputs={"recordings": list(files), "twins": []},
        outputs={
            "recordings": results / "recordings/calls-0000",
            "ledger": results / "ledger/convert/calls-0000.json",
        },
        params={
            "settings": ConvertSettings().model_dump(mode="json"),
            "files": [{"path": str(file), "name": file.name, "size": file.stat().st_size} for file in files],
            "twins": [],
        },
        units=Units("recording", "channel"),
        threads=CORES,
    )
    return lambda: job.run(convert_audio)


def decode_malgeul(folder: Path) -> Result:
    """Decoding alone, as the stage does it: nothing is measured of the sound but its loudness."""
    from malgeul.audio.decoder import Limits, decode

    def one(file: Path) -> float:
        with file.open("rb", buffering=0) as source:
            return decode(source, file.with_suffix(".pcm"), Limits(86_400, 3_600)).seconds

    result: Result = {}
    with ThreadPoolExecutor(CORES) as pool, clock(result):
        list(pool.map(one, recordings(folder)))
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
        list(pool.map(one, recordings(folder)))
    return result


def convert_pydub(folder: Path) -> Result:
    """Pydub's own way: the whole recording in memory, resampled by it, in a process a core."""
    from multiprocessing import get_context

    result: Result = {}
    with get_context("spawn").Pool(CORES, _find_ffmpeg) as pool:
        pool.map(len, [""] * CORES)
        with clock(result):
            pool.map(_by_pydub, recordings(folder), chunksize=1)
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
    return own_peak_mb()


# Transcribing


def sounds(number: int) -> list[Any]:
    """Return windows of sound: sentences as they come, so often as are asked for."""
    from unit.spoken import spoken

    known = spoken("seen")[1]
    return [known[k % len(known)] for k in range(number)]


def make_base(folder: Path) -> None:
    """Write a Whisper of the size of openai/whisper-base with weights drawn at random, which never ends a text.

    Every side then decodes as many tokens as it may: MOST_TOKENS a window of 30 s.
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    shutil.copytree(MODEL, folder)
    small = WhisperConfig.from_pretrained(str(MODEL))
    layers = {
        "d_model": 512,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
    }
    heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8, "max_source_positions": 1500}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**{**small.to_dict(), **layers, **heads}))
    model.save_pretrained(str(folder))
    generation = json.loads((MODEL / "generation_config.json").read_text(encoding="utf-8"))
    generation["suppress_tokens"] = sorted({*(generation.get("suppress_tokens") or []), small.eos_token_id})
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    lengthen_windows(folder)


def lengthen_windows(folder: Path, mels: int = 80) -> None:
    """Have the feature extractor of a copy of the bundled Whisper hear windows of 30 s, as OpenAI's do."""
    processor = json.loads((MODEL / "processor_config.json").read_text(encoding="utf-8"))
    lengths = {"chunk_length": 30, "n_samples": 480_000, "nb_max_frames": 3000, "feature_size": mels}
    processor["feature_extractor"] |= lengths
    (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor["feature_extractor"]), encoding="utf-8")


def make_heavy(folder: Path) -> None:
    """Write the bundled Whisper at the cost of openai/whisper-base: it says the same, and computes as much for it.

    Layers whose outputs have no weight, and hidden units that nothing reads, change no value that comes out.
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    shutil.copytree(MODEL, folder)
    small = WhisperForConditionalGeneration.from_pretrained(str(MODEL), dtype=torch.float32)
    cost = {f"{half}_{what}": n for half in ("encoder", "decoder") for what, n in (("layers", 6), ("ffn_dim", 8192))}
    torch.manual_seed(0)
    heavy = WhisperForConditionalGeneration(WhisperConfig(**{**small.config.to_dict(), **cost, "dtype": "float32"}))
    heavy.generation_config = small.generation_config
    known = small.state_dict()
    with torch.no_grad():
        for name, weight in heavy.state_dict().items():
            if name.endswith(("fc2.weight", "fc2.bias", "out_proj.weight", "out_proj.bias")):
                weight.zero_()
            if name in known:
                weight[tuple(slice(n) for n in known[name].shape)] = known[name]
    heavy.save_pretrained(str(folder))


def transcribe_malgeul(work: dict[str, Any], precision: str, temperatures: Sequence[float] = ()) -> Result:
    """The stage's own code with its log probabilities; with temperatures it decodes again what it doubts."""
    from malgeul.models.devices import cpu

    return _heard(*hear_by_malgeul(work, sounds(work["windows"]), cpu(), BATCH, precision, temperatures))


def transcribe_pipeline(work: dict[str, Any]) -> Result:
    """Transformers' pipeline for speech, batched, with timestamps as we have them."""
    return _heard(*hear_by_pipeline(work, sounds(work["windows"]), "cpu", BATCH, "float32"))


def transcribe_faster_whisper(work: dict[str, Any], precision: str) -> Result:
    """CTranslate2's Whisper by faster-whisper, batched, each window a clip of its own."""
    return _heard(*hear_by_faster_whisper(work, sounds(work["windows"]), "cpu", BATCH, precision))


Hearing = tuple[Result, list[str]]
"""How long it took, and what was heard in every window; ``cold_seconds`` are from no model to the first batch heard."""


def hear_by_malgeul(
    work: dict[str, Any],
    windows: Sequence[Any],
    device: Any,
    batch: int,
    precision: str,
    temperatures: Sequence[float] = (),
) -> Hearing:
    """Hear windows in batches of so many, the longest first, as the stage does."""
    from malgeul.speech import whisper as module
    from malgeul.speech.whisper import Whisper

    if work["once"]:
        module.SHORTEST_REST = float("inf")  # what was not reached is not heard by itself
    in_order = sorted(enumerate(windows), key=lambda one: -len(one[1]))
    batches = [in_order[first : first + batch] for first in range(0, len(windows), batch)]
    cold: Result = {}
    with clock(cold):
        whisper = Whisper(Path(work["model"]), device, "ko", work["tokens"], CORES, temperatures, precision)
        whisper.transcribe([whisper.hear(sound) for _, sound in batches[0]])
    texts = [""] * len(windows)
    result: Result = {"cold_seconds": cold["seconds"]}
    with clock(result):
        for some in batches:
            for (at, _), segments in zip(some, whisper.transcribe([whisper.hear(s) for _, s in some]), strict=True):
                assert isinstance(segments, list)
                texts[at] = " ".join(segment.text for segment in segments)
    return result, texts


def hear_by_pipeline(work: dict[str, Any], windows: Sequence[Any], device: str, batch: int, precision: str) -> Hearing:
    """Hear windows by transformers' pipeline, in batches of so many as they come."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(CORES)
    given = [{"raw": sound, "sampling_rate": 16_000} for sound in windows]
    options = {"language": "ko", "task": "transcribe", "max_new_tokens": work["tokens"], "num_beams": 1}
    options |= {"do_sample": False, "force_unique_generate_call": work["once"]}

    def hear(some: list[Any]) -> list[str]:
        own = [dict(one) for one in some]  # it takes them apart
        found = transcribe(own, batch_size=batch, return_timestamps=True, generate_kwargs=options)
        return [one["text"] for one in found]

    cold: Result = {}
    with clock(cold):
        how = {"device": device, "dtype": getattr(torch, precision)}
        transcribe = pipeline("automatic-speech-recognition", model=work["model"], **how)
        transcribe.tokenizer.pad_token_id = transcribe.model.config.eos_token_id  # without it no batches
        hear(given[:batch])
    result: Result = {"cold_seconds": cold["seconds"]}
    with clock(result):
        texts = hear(given)
    return result, texts


def hear_by_faster_whisper(
    work: dict[str, Any], windows: Sequence[Any], device: str, batch: int, precision: str
) -> Hearing:
    """Hear windows by faster-whisper, in batches of so many as they come."""
    import numpy as np
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    with tempfile.TemporaryDirectory() as name:
        converter = str(Path(sys.executable).parent / "ct2-transformers-converter")
        command = [converter, "--model", work["model"], "--output_dir", f"{name}/model"]
        files = ["--copy_files", "tokenizer.json", "preprocessor_config.json"]
        subprocess.run([*command, *files], check=True, stdout=subprocess.DEVNULL)

        def hear(some: Sequence[Any]) -> list[str]:
            ends = np.cumsum([len(sound) for sound in some]) / 16_000
            clips = [{"start": float(a), "end": float(b)} for a, b in zip([0.0, *ends[:-1]], ends, strict=True)]
            segments, _ = batched.transcribe(
                np.concatenate(some), language="ko", batch_size=batch, vad_filter=False, clip_timestamps=clips,
                beam_size=1, temperature=0.0, without_timestamps=False, suppress_tokens=[end_of_text],
                max_new_tokens=work["tokens"], log_prob_threshold=None, compression_ratio_threshold=None,
                no_speech_threshold=None,
            )  # fmt: skip
            return [segment.text for segment in segments]

        cold: Result = {}
        with clock(cold):
            model = WhisperModel(f"{name}/model", device=device, compute_type=precision, cpu_threads=CORES)
            batched = BatchedInferencePipeline(model)
            end_of_text = model.hf_tokenizer.token_to_id("<|endoftext|>")
            hear(windows[:batch])
        result: Result = {"cold_seconds": cold["seconds"]}
        with clock(result):
            texts = hear(windows)
    return result, texts


def _heard(result: Result, texts: Sequence[str]) -> Result:
    from making.measures import character_error_rate

    from unit.spoken import spoken

    known = spoken("seen")[0]
    said = [known[k % len(known)] for k in range(len(texts))]
    return result | {"cer": character_error_rate(said, texts), "peak_mb": peak_mb()}


# The whole wing


def wing_malgeul(work: dict[str, Any]) -> Result:
    """The workflow from its start to the last conversation measured, with all that a run leaves behind."""
    folder = Path(work["folder"])
    result: Result = {}
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config.yaml"
        shard = {"files": max(1, len(recordings(folder)) // SHARDS), "megabytes": 512}
        given = {"run": "bench", "recordings": {"paths": [{"path": str(folder), "name": "calls"}], "shard": shard}}
        given |= {"transcribe": {"model": work["model"], **work["transcribe"]}}
        config.write_text(json.dumps(given), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "snakemake"), "-s", str(ROOT / "Snakefile"), "--directory", name]
        command += ["--cores", str(CORES), "--configfile", str(config), "--until", "analyze_conversation"]
        with clock(result):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        measured = list(Path(name).glob("results/bench/conversation/*.parquet"))
        assert measured, "the workflow measured nothing"
    return result


def wing_script(work: dict[str, Any]) -> Result:
    """One process doing all steps in turn, conversion and analysis by the same code, transformers' pipeline between."""
    import torch
    from transformers import pipeline

    from malgeul.audio.conversion import convert_recording
    from malgeul.audio.intake import Recording
    from malgeul.audio.manifest import row_of
    from malgeul.audio.settings import ConvertSettings
    from malgeul.shards.inputs import InputFile
    from malgeul.shards.sources import read_content
    from malgeul.speech.conversation import analyze_recording
    from malgeul.speech.lexicon import read_lexicons
    from malgeul.speech.settings import AnalyzeSettings
    from malgeul.speech.whisper import window_seconds

    result: Result = {}
    with tempfile.TemporaryDirectory() as name, clock(result):
        rows = []
        for file in recordings(Path(work["folder"])):
            content = read_content(str(file))
            recording = Recording(content, InputFile(file.name, content.stat.size, str(file)))
            rows.append(row_of(recording, convert_recording(recording, Path(name), ConvertSettings()).facts))
        torch.set_num_threads(CORES)
        model = work["model"]
        transcribe = pipeline("automatic-speech-recognition", model=model, device="cpu", dtype=torch.float32)
        transcribe.tokenizer.pad_token_id = transcribe.model.config.eos_token_id  # without it no batches
        options = {"language": "ko", "task": "transcribe", "max_new_tokens": 200, "num_beams": 1}
        transcripts = []
        for row in rows:
            found = transcribe(
                f"{name}/{row['channels'][0]}.wav",
                chunk_length_s=window_seconds(Path(model)),
                batch_size=BATCH,
                return_timestamps=True,
                generate_kwargs=options,
            )
            transcripts.append(_transcript(row, found["chunks"]))
        rules = read_lexicons(sorted((ROOT / "resources/lexicons").glob("*.yaml")))
        for row, transcript in zip(rows, transcripts, strict=True):
            analyze_recording(transcript, row, Path(name), rules, AnalyzeSettings().pause_seconds)
    return result


def _transcript(row: dict[str, Any], chunks: list[dict[str, Any]]) -> dict[str, Any]:
    segments = []
    for chunk in chunks:
        start, end = (row["seconds"] if at is None else at for at in chunk["timestamp"])
        segments.append({"start": start, "end": max(start, end), "text": chunk["text"].strip(), "speaker": None})
        segments[-1] |= {"channel": None, "flags": []}
        segments[-1] |= dict.fromkeys(("avg_logprob", "no_speech_prob", "compression_ratio"))
    text = " ".join(segment["text"] for segment in segments)
    return {
        "id": row["id"],
        "channels": row["channels"],
        "language": "ko",
        "text": text,
        "segments": segments,
        "no_speech": not segments,
    }


# The comparisons

SIDES: dict[str, Callable[[Any], Result]] = {
    "convert: malgeul": lambda work: convert_malgeul(Path(work["folder"])),
    f"convert: {CORES} x ffmpeg alone": lambda work: convert_ffmpeg(Path(work["folder"])),
    f"convert: pydub, {CORES} processes": lambda work: convert_pydub(Path(work["folder"])),
    "decode: malgeul": lambda work: decode_malgeul(Path(work["folder"])),
    f"decode: {CORES} x ffmpeg alone": lambda work: convert_ffmpeg(Path(work["folder"])),
    "whole wing: malgeul": wing_malgeul,
    "whole wing: one process, step by step": wing_script,
    "whole wing at the cost of whisper-base: malgeul": wing_malgeul,
    "whole wing at the cost of whisper-base: one process, step by step": wing_script,
    "transcribe: malgeul": lambda work: transcribe_malgeul(work, "float32"),
    "transcribe: transformers' pipeline": transcribe_pipeline,
    "transcribe, a second pass where in doubt: malgeul": lambda w: transcribe_malgeul(w, "float32", TEMPERATURES),
    "transcribe, a second pass where in doubt: transformers' pipeline": transcribe_pipeline,
    "base, float32: malgeul": lambda work: transcribe_malgeul(work, "float32"),
    "base, float32: transformers' pipeline": transcribe_pipeline,
    "base, float32: faster-whisper": lambda work: transcribe_faster_whisper(work, "float32"),
    "base, bfloat16: malgeul": lambda work: transcribe_malgeul(work, "bfloat16"),
    "base, bfloat16: transformers' pipeline in float32": transcribe_pipeline,
    "base, int8: malgeul": lambda work: transcribe_malgeul(work, "int8"),
    "base, int8: transformers' pipeline in float32": transcribe_pipeline,
    "base, int8: faster-whisper in int8": lambda work: transcribe_faster_whisper(work, "int8"),
}
"""Every side by name. Those of a conversion get a folder of recordings; the others a model, how many windows it hears
and how many tokens it may say of each: the bundled one, or one of the size of openai/whisper-base."""

TO_REACH = {
    f"convert: {CORES} x ffmpeg alone": "≥ 0.95",
    f"convert: pydub, {CORES} processes": "≥ 3",
    "whole wing: one process, step by step": "≥ 1.8",
    "whole wing at the cost of whisper-base: one process, step by step": "≥ 1.8",
    "transcribe: transformers' pipeline": "≥ 1",
    "base, float32: transformers' pipeline": "≥ 1",
    "base, float32: faster-whisper": "≥ 1",
    "base, bfloat16: transformers' pipeline in float32": "≥ 2",
    "base, int8: transformers' pipeline in float32": "≥ 2",
    "base, int8: faster-whisper in int8": "≥ 1",
}


def compare(name: str, work: Path, audio_seconds: float, runs: int) -> Iterator[str]:
    """Yield the rows of one comparison; both sides run in turn."""
    own, *peers = [side for side in SIDES if side.startswith(f"{name}: ")]
    for peer in peers:
        rounds = [[run_side(__file__, side, work) for side in (own, peer)] for _ in range(runs)]
        ours, theirs = zip(*rounds, strict=True)
        speeds = [statistics.median(audio_seconds / r["seconds"] for r in side) for side in (ours, theirs)]
        yield (
            f"| {name} | {peer.split(': ')[1]} | {speeds[0]:,.0f}x | {speeds[1]:,.0f}x | {ratios(ours, theirs)} |"
            f" {TO_REACH.get(peer, '')} | {_said(ours[0], theirs[0])} |"
        )


def _said(ours: Result, theirs: Result) -> str:
    if "cer" in ours:
        rates = f"CER {ours['cer']:.2%} and {theirs['cer']:.2%}; " if min(ours["cer"], theirs["cer"]) < 0.5 else ""
        return f"{rates}{ours['peak_mb']:,.0f} and {theirs['peak_mb']:,.0f} MB"
    if "process_mb" in theirs:
        return f"a process {ours['process_mb']:,.0f} and {theirs['process_mb']:,.0f} MB"
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
    if not has_bfloat16():
        for side in [side for side in SIDES if "bfloat16" in side]:
            del SIDES[side]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{platform.machine()}, {CORES} cores; {versions}; {peer}\n")
    print("| what | beside | malgeul, times real time | peer | ratio (spread) | to reach | results |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "calls").mkdir()
        calls = {"folder": str(folder / "calls")}
        # A second pass is left out, since the script has none.
        heavy = {"model": str(folder / "heavy"), "transcribe": {"precision": "fastest", "temperatures": []}}
        works: dict[str, dict[str, Any]] = {
            "convert": calls,
            "decode": calls,
            "whole wing": {**calls, "model": str(MODEL), "transcribe": {}},
            "whole wing at the cost of whisper-base": {**calls, **heavy},
            "transcribe": {"model": str(MODEL), "windows": given.windows, "tokens": 200, "once": False},
            "base": {"model": str(folder / "base"), "windows": given.windows // 4, "tokens": MOST_TOKENS, "once": True},
        }
        make_base(folder / "base")
        make_heavy(folder / "heavy")
        for one in dict.fromkeys(side.split(": ")[0] for side in SIDES):
            if given.only and not one.startswith(tuple(given.only)):
                continue
            kind = one.partition(",")[0]
            work = folder / f"{kind}.json"
            work.write_text(json.dumps(works[kind]), encoding="utf-8")
            if "folder" in works[kind]:
                if not recordings(folder / "calls"):
                    make_recordings(folder / "calls", given.files, given.minutes)
                seconds = given.files * given.minutes * 60
            else:
                seconds = sum(map(len, sounds(works[kind]["windows"]))) / 16_000
            for row in compare(one, work, seconds, given.runs):
                print(row, flush=True)


if __name__ == "__main__":
    main()
