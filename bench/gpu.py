"""The wings on a GPU beside their peers, in one run on one machine.

    python bench/gpu.py PETITIONS [--windows N] [--texts N] [--files N] [--minutes N] [--runs N]
                        [--only NAME ...] [--small]

Models have the shapes of openai/whisper-large-v3-turbo and -large-v3, BERT-base and BAAI/bge-m3, and random weights:
how fast they are hangs on that alone. A Whisper says as many tokens of every window as it may. Every side runs in a
process of its own, the sides in turn, run after run, in half precision; models are loaded and have computed a batch
before the clock starts, which the column "cold" tells. NVML says how busy the GPU was between the clock's start and
end. Peers have the batch size that is fastest for them, which their first run finds out; "as whisperX does" is fixed
batches of 16 windows as they come, log-mel spectra made on the host, no timestamps. The job is the stage itself, with
its journal and its files, from its start to its end. ``--small`` tries every side with small models on whatever
device there is; its figures say nothing. Paces and ratios are medians of the runs, all else is of the last one; how
busy the GPU was with malgeul's vectors, and in the job, counts the loading of the model, too.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import audio
import embedding
from sides import CORES, Result, clock, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]

WHISPERS = {
    "large-v3-turbo": {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 4, "heads": 20},
    "large-v3": {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "heads": 20},
}
ENCODERS = {"bert-base": (12, 768), "bge-m3": (24, 1024)}
SMALL = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "heads": 2}
TEXT_TOKENS = 50_257
MELS = 128
WINDOW = 30
"""Seconds."""
OURS = (16, 64)
"""Windows a batch: the config's default, and what a large GPU has room for."""
THEIRS = (16, 32, 64)
BATCH_SIZES = (32, 128, 512)

# What is worked on


def make_whisper(folder: Path, shape: dict[str, int], device: str) -> None:
    """Write a Whisper of random weights in half precision, its vocabulary the bundled one made as long as OpenAI's."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    shutil.copytree(audio.MODEL, folder)
    small = WhisperConfig.from_pretrained(str(folder))
    by = TEXT_TOKENS - small.eos_token_id
    _lengthen_vocabulary(folder, by)
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    widths = {"attention_heads": shape["heads"], "ffn_dim": 4 * shape["d_model"]}
    both = {f"{half}_{what}": n for half in ("encoder", "decoder") for what, n in widths.items()}
    given = {
        **small.to_dict(),
        **{name: value + by for name, value in small.to_dict().items() if name.endswith("token_id") and value},
        **{name: shape[name] for name in ("d_model", "encoder_layers", "decoder_layers")},
        **both,
        "vocab_size": tokens[-1]["id"] + 1,
        "num_mel_bins": MELS,
        "max_source_positions": 50 * WINDOW,
        "begin_suppress_tokens": None,
    }
    torch.manual_seed(0)
    with torch.device(device):
        model = WhisperForConditionalGeneration(WhisperConfig(**given)).half()
    model.save_pretrained(str(folder))
    file = folder / "generation_config.json"
    generation = _moved(json.loads((audio.MODEL / file.name).read_text(encoding="utf-8")), by)
    generation["suppress_tokens"] = [given["eos_token_id"]]
    file.write_text(json.dumps(generation), encoding="utf-8")
    audio.lengthen_windows(folder, MELS)


def _lengthen_vocabulary(folder: Path, by: int) -> None:
    """Put so many tokens between text and the special ones, and timestamps up to a window's end after them."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    added = [{**token, "id": token["id"] + by} for token in tokenizer["added_tokens"]]
    first = added[0]["id"] - by
    tokenizer["model"]["vocab"] = {word: at for word, at in words.items() if at < first}
    tokenizer["model"]["vocab"] |= {f"unused{number}": first + number for number in range(by)}
    at, last = added[-1]["id"] + 1, round(float(added[-1]["content"].strip("<|>")) * 50)
    added += [
        {**added[-1], "id": at + k, "content": f"<|{(last + 1 + k) / 50:.2f}|>"} for k in range(50 * WINDOW - last)
    ]
    tokenizer["added_tokens"] = added
    tokenizer["post_processor"] = None
    file.write_text(json.dumps(tokenizer), encoding="utf-8")


def _moved(known: Any, by: int) -> Any:
    """Return a generation config whose ids of tokens are so many higher."""
    if isinstance(known, dict):
        ids = {name for name in known if name.endswith(("token_id", "_to_id")) or name.startswith("<|")}
        return {name: _moved(value, by) if name in ids else value for name, value in known.items()}
    return known + by if isinstance(known, int) else known


def full_windows(number: int) -> list[Any]:
    """Return windows of 30 s that are full of speech."""
    import numpy as np

    long = np.tile(np.concatenate(audio.sounds(64)), 4)
    size = 16_000 * WINDOW
    known = [long[at : at + size] for at in range(0, len(long) - size, size)]
    return [known[k % len(known)] for k in range(number)]


# The sides


def transcribe_malgeul(work: dict[str, Any], batch: int) -> Result:
    """The stage's own code with its log probabilities."""
    from malgeul.models.devices import claimed_device

    with claimed_device() as device:
        result, _ = audio.hear_by_malgeul(work, full_windows(work["windows"]), device, batch, work["precision"])
    return result


def transcribe_pipeline(work: dict[str, Any]) -> Result:
    """Transformers' pipeline for speech at its best batch size."""
    windows = full_windows(work["windows"])

    def hear(some: Sequence[Any], batch: int) -> Result:
        return audio.hear_by_pipeline(work, some, work["device"], batch, work["precision"])[0]

    batch = _best(work, "the pipeline", THEIRS, lambda size: hear(windows[: 2 * max(THEIRS)], size)["seconds"])
    return hear(windows, batch) | {"batch": batch}


def transcribe_as_whisperx(work: dict[str, Any]) -> Result:
    """Fixed batches as they come, by transformers' generate."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    windows = full_windows(work["windows"])
    batches = [windows[first : first + 16] for first in range(0, len(windows), 16)]
    dtype = getattr(torch, work["precision"])
    options = {"language": "ko", "task": "transcribe", "max_new_tokens": work["tokens"], "return_timestamps": False}

    def hear(some: Sequence[Any]) -> list[str]:
        features = processor.feature_extractor(list(some), sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            found = model.generate(features.to(work["device"], dtype), force_unique_generate_call=True, **options)
        texts: list[str] = processor.batch_decode(found, skip_special_tokens=True)
        return texts

    cold: Result = {}
    with clock(cold):
        processor = WhisperProcessor.from_pretrained(work["model"])
        model = WhisperForConditionalGeneration.from_pretrained(work["model"], dtype=dtype).to(work["device"])
        hear(batches[0])
    result: Result = {"cold_seconds": cold["seconds"]}
    with clock(result):
        for some in batches:
            hear(some)
    return result


def transcribe_job(work: dict[str, Any]) -> Result:
    """The stage over recordings that were converted before: what its ledger says."""
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Units
    from malgeul.speech import whisper as module
    from malgeul.speech.settings import TranscribeSettings
    from transcribe_audio import transcribe_audio

    module.SHORTEST_REST = float("inf")  # random weights reach anywhere
    asked = {"model": work["model"], "batch_windows": max(OURS), "max_new_tokens": work["tokens"], "temperatures": []}
    with tempfile.TemporaryDirectory() as name:
        results = shutil.copytree(work["results"], Path(name) / "results")
        job = Job(
            inputs={
                "recordings": [results / "recordings/calls-0000"],
                "known_phrases": [ROOT / "resources/known_phrases.txt"],
                "speakers": [],
                "ledger": [results / "ledger/convert/calls-0000.json"],
            },
            outputs={
                "transcripts": results / "transcripts/calls-0000",
                "ledger": results / "ledger/transcribe/calls-0000.json",
            },
            params={
                "settings": TranscribeSettings(**asked).model_dump(),
                "handling": TranscribeSettings.HANDLING,
                "hints": {},
            },
            units=Units("channel", "recording"),
            identity={"model": "random", "digest": "0"},
            threads=min(4, CORES),
        )
        result: Result = {}
        with clock(result):
            job.run(transcribe_audio)
        job.journal.close()
    return result | {"job": job.ledger.measured}


def embed_malgeul(work: dict[str, Any]) -> Result:
    """The stage, in the precision of the config's auto; loading the model is left out of the time."""
    return embedding.embed_malgeul(work, work["precision"])


def embed_sentence_transformers(work: dict[str, Any]) -> Result:
    """The peer at its best batch size."""
    return embedding.embed_sentence_transformers(work, work["precision"], work["device"], BATCH_SIZES)


def _best(work: dict[str, Any], who: str, sizes: Sequence[int], seconds: Callable[[int], float]) -> int:
    """Return the size at which a peer is fastest, which is tried once."""
    known = Path(f"{work['model']}, {who}, batch size")
    if not known.exists():
        known.write_text(str(min(sizes, key=seconds)), encoding="utf-8")
    return int(known.read_text(encoding="utf-8"))


# The comparisons

SIDES: dict[str, Callable[[Any], Result]] = {
    **{f"malgeul, batches of {batch}": lambda work, batch=batch: transcribe_malgeul(work, batch) for batch in OURS},
    "transformers' pipeline": transcribe_pipeline,
    "as whisperX does": transcribe_as_whisperx,
    "a job that transcribes": transcribe_job,
    "malgeul": embed_malgeul,
    "sentence-transformers": embed_sentence_transformers,
}
PEERS = ("transformers' pipeline", "as whisperX does")
TRANSCRIBE, EMBED, JOB = "transcribe, ", "embed, ", "a job that transcribes, "


def compare(name: str, work: dict[str, Any], folder: Path, runs: int) -> Iterator[str]:
    """Yield the rows of one comparison."""
    given = folder / "work.json"
    given.write_text(json.dumps(work), encoding="utf-8")
    if name.startswith(JOB):
        found = [run_side(__file__, "a job that transcribes", given, gpu=True) for _ in range(runs)]
        yield _row(name, "", runs, _pace(work, found), "", "", "the GPU idle < 5 %", _of_job(work, found[-1]))
        return
    own, peers, goal = ([f"malgeul, batches of {batch}" for batch in OURS], PEERS, "≥ 2")
    if name.startswith(EMBED):
        own, peers, goal = (["malgeul"], ("sentence-transformers",), "≥ 1.5")
    rounds = [{side: run_side(__file__, side, given, gpu=True) for side in (*own, *peers)} for _ in range(runs)]
    sides = {side: [one[side] for one in rounds] for side in rounds[0]}
    for side in own:
        for peer in peers:
            facts = "; ".join(f"{_name(who)}: {_facts(work, sides[who][-1])}" for who in (side, peer))
            paces = (_pace(work, sides[who]) for who in (side, peer))
            what = name if side == "malgeul" else f"{name}{side.removeprefix('malgeul')}"
            yield _row(what, peer, runs, *paces, ratios(sides[side], sides[peer]), goal, facts)


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _name(side: str) -> str:
    return side.partition(",")[0]


def _pace(work: dict[str, Any], found: Sequence[Result]) -> str:
    """Return what was done in a second: of sound in times real time, of texts in tokens."""
    seconds = statistics.median(one["seconds"] for one in found)
    if "tokens_of_texts" in work:
        return f"{work['tokens_of_texts'] / seconds:,.0f} tokens/s"
    return f"{work['sound'] / seconds:,.0f}x"


def _facts(work: dict[str, Any], result: Result) -> str:
    """Return what else is known of a side: its batches, how busy the GPU was, and how it began."""
    facts = [f"batches of {result[size]}" for size in ("batch", "batch_size") if size in result]
    if "batch_tokens" in result:
        batches = max(1.0, work["tokens_of_texts"] / result["batch_tokens"])
        hourly = len(work["texts"]) / result["seconds"] * 3600
        facts.append(f"batches of {result['batch_tokens']:,} tokens, {result['seconds'] / batches * 1000:,.0f} ms each")
        facts.append(f"{hourly:,.0f} texts an hour")
    if "cold_seconds" in result:
        facts.append(f"cold {result['cold_seconds']:.1f} s")
    return ", ".join([*facts, *_of_gpu(result)])


def _of_gpu(result: Result) -> list[str]:
    """Return what NVML told of the GPU: how busy it was, in how many looks it did nothing, its memory at the peak."""
    gpu = result.get("gpu") or {}
    told = {
        "utilization_mean": lambda percent: f"GPU {percent} % busy",
        "idle_share": lambda share: f"idle in {share:.1%} of the looks",
        "peak_memory_bytes": lambda size: f"{size / 2**30:.1f} GiB",
    }
    return [say(gpu[name]) for name, say in told.items() if gpu.get(name) is not None]


def _of_job(work: dict[str, Any], result: Result) -> str:
    """Return what a shard's ledger says, and the goals of GPU jobs: a batch is of windows, a sample is a window."""
    job = result["job"]
    spent = job["seconds_of_work"] - job.get("load_seconds", 0.0)
    calls = work["files"] * 3600 / result["seconds"]
    batch = spent / max(1, job["windows"] / job["batch_windows"])
    return "; ".join(
        [
            f"{calls:,.0f} calls of {work['minutes']:g} min an hour (the forerunner: 24 to 26)",
            f"{job['windows']} windows in batches of {job['batch_windows']}, {batch * 1000:,.0f} ms a batch",
            f"{job['windows'] / spent * 3600:,.0f} windows an hour",
            f"load {job.get('load_seconds', 0):.1f} s, warm-up {job['warm_up_seconds']:.1f} s",
            *_of_gpu({"gpu": job.get("gpu")}),
        ]
    )


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("petitions", type=Path)
    parser.add_argument("--windows", type=int, default=256, help="windows of 30 s that are transcribed")
    parser.add_argument("--texts", type=int, default=12_000, help="petitions that are embedded, again and again")
    parser.add_argument("--files", type=int, default=12, help="recordings that a job transcribes")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each recording")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="beginnings of names")
    parser.add_argument("--small", action="store_true", help="small models, on whatever device there is")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](json.loads(given.petitions.read_text(encoding="utf-8")))))
        return
    gpu = _only_one_gpu()
    if not gpu and not given.small:
        parser.error("there is no NVIDIA GPU that can be used here; --small tries every side without one")
    names = ("torch", "transformers", "sentence-transformers")
    print(f"{gpu or 'no GPU'}; {CORES} cores; {', '.join(f'{name} {version(name)}' for name in names)}\n")
    print("| what | beside | runs | malgeul | peer | ratio (spread) | to reach | results |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, work in _works(given, folder, "cuda:0" if gpu else "cpu"):
            for row in compare(what, work, folder, given.runs):
                print(row, flush=True)


def _only_one_gpu() -> str | None:
    """Have every side see the same GPU; return its name, or None where there is none."""
    from malgeul.models.devices import claimed_device

    with claimed_device() as device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device.uuid
    return device.name if device.kind == "cuda" else None


def _works(given: argparse.Namespace, folder: Path, device: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every comparison that is asked for with what it works on, made when its turn comes."""
    about = {"device": device, "precision": "float32" if device == "cpu" else "float16", "folder": str(folder)}
    heard = {**about, "windows": given.windows, "tokens": audio.MOST_TOKENS, "once": True}
    called = {**heard, "files": given.files, "minutes": given.minutes}

    def wanted(name: str) -> bool:
        return not given.only or name.startswith(tuple(given.only))

    for size, shape in WHISPERS.items():
        model = folder / size
        if not any(wanted(kind + size) for kind in (TRANSCRIBE, JOB)):
            continue
        make_whisper(model, SMALL if given.small else shape, device)
        if wanted(TRANSCRIBE + size):
            yield TRANSCRIBE + size, {**heard, "model": str(model), "sound": given.windows * WINDOW}
        if wanted(JOB + size):
            results = _converted(folder, given.files, given.minutes)
            more = {"results": str(results), "sound": given.files * given.minutes * 60}
            yield JOB + size, {**called, "model": str(model), **more}
        shutil.rmtree(model)
    for size, (layers, dimension) in ENCODERS.items():
        if not wanted(EMBED + size):
            continue
        embedding.make_model(folder / size, *((1, 64) if given.small else (layers, dimension)))
        known = embedding.some_texts(given.petitions, given.texts)
        texts = [f"{k // len(known)} {known[k % len(known)]}" for k in range(given.texts)]
        counted = {"texts": texts, "tokens_of_texts": embedding.tokens_of(texts)}
        yield EMBED + size, {**about, "model": str(folder / size), "size": size, **counted}


def _converted(folder: Path, files: int, minutes: float) -> Path:
    """Return the results of a conversion of recordings, made once."""
    results = folder / "results"
    if not results.exists():
        (folder / "calls").mkdir()
        audio.make_recordings(folder / "calls", files, minutes)
        audio.conversion(audio.recordings(folder / "calls"), results)()
    return results


if __name__ == "__main__":
    main()
