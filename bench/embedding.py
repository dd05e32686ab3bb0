"""The embedding wing beside its peers, on petitions as they are, in one run on one machine.

    python bench/embedding.py PETITIONS [--texts N] [--runs N] [--sizes SIZE ...] [--only NAME ...]

Models have the usual shapes and random weights: how fast they are hangs on that alone. Every side of a comparison runs
in a process of its own, the sides in turn, run after run; models are loaded and have embedded a batch before the clock
starts. malgeul is the stage itself, with its journal and its table; sentence-transformers is its encode with the batch
size that is fastest for it, which its first run finds out before the clock starts.
"""

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sides import CORES, Result, clock, has_bfloat16, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "resources/models/scripts")]

BUNDLED = ROOT / "resources/models/embed-ko-demo"
SIZES = {"6x384": (6, 384), "bert-base": (12, 768)}
TEXTS = {"6x384": 512, "bert-base": 48}
"""How many texts a size embeds: fewer where each takes longer, so that a run takes minutes and not an hour."""
BATCH_SIZES = (4, 8, 16, 32, 64)
LONGEST = 512
CHUNKS = (5_000, 50_000)
"""How many chunks the stage embeds to compare its memory."""

# What is worked on


def make_model(folder: Path, layers: int, dimension: int) -> None:
    """Write a BERT of random weights in sentence-transformers' format, with the bundled tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    shape = {"num_hidden_layers": layers, "hidden_size": dimension, "intermediate_size": 4 * dimension}
    config = BertConfig(vocab_size=8000, num_attention_heads=dimension // 64, pad_token_id=0, **shape)
    BertModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json", "modules.json", "sentence_bert_config.json"):
        shutil.copyfile(BUNDLED / name, folder / name)
    shutil.copytree(BUNDLED / "1_Pooling", folder / "1_Pooling")
    pooling = folder / "1_Pooling/config.json"
    known = json.loads(pooling.read_text(encoding="utf-8"))
    pooling.write_text(json.dumps({**known, "word_embedding_dimension": dimension}), encoding="utf-8")


def some_texts(petitions: Path, count: int) -> list[str]:
    """Return petitions of every month, as long as they are."""
    import random

    from making.texts import petitions as read

    texts = [one.content.strip() for one in read(petitions) if one.content.strip()]
    return random.Random(0).sample(texts, min(count, len(texts)))


def tokens_of(texts: Sequence[str]) -> int:
    """Return how many tokens a model reads of texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return sum(len(found.ids) for found in tokenizer.encode_batch(texts))


# The sides; each returns seconds, the vectors' file and what else is known


def embed_malgeul(work: dict[str, Any], precision: str) -> Result:
    """The stage: tokenized, planned, embedded, journaled and written; loading the model is left out."""
    import numpy as np
    import sentence_transformers  # noqa: F401 (imported by both sides before the clock starts)

    from malgeul.embedding.vectors import read_vectors

    with tempfile.TemporaryDirectory() as name:
        results = Path(name) / "results/bench"
        job = _job(results, work["texts"], work["model"], precision)
        result: Result = {}
        with clock(result):
            job.run(_stage())
        result["seconds"] -= job.ledger.measured["load_seconds"]
        vectors = np.concatenate([part for _, part in read_vectors(results / "embeddings/bench-0000.parquet")])
    result |= {"padding": job.ledger.measured["padding_share"], "batch_tokens": job.ledger.measured["batch_tokens"]}
    return _embedded(result, work, f"malgeul, {precision}", vectors)


def _stage() -> Callable[[Any], None]:
    from embed_chunks import embed_chunks

    return embed_chunks


def _job(results: Path, texts: Sequence[str], model: str, precision: str) -> Any:
    """Return a job over chunks that are written for it; texts are cut to what the model takes, as its peer does."""
    from malgeul.embedding.settings import EmbedSettings
    from malgeul.embedding.tokens import load_text_tokenizer
    from malgeul.shards.files import write_json
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Ledger, Units
    from malgeul.shards.tables import CHUNKS as SCHEMA
    from malgeul.shards.tables import TableWriter

    tokenizer = load_text_tokenizer({"model": model, "revision": None, "prompt": None})
    chunks = results / "chunks/bench-0000.parquet"
    chunks.parent.mkdir(parents=True)
    with TableWriter(chunks, SCHEMA) as out:
        for k, text in enumerate(texts):
            about = {"chunk_id": str(k), "document_id": str(k), "source": "bench", "index": 0, "start": 0}
            about |= {"overlap": 0, "level": "document", "size": "standard", "query_type": None}
            out.write({**about, "end": len(text), "text": text, "n_tokens": tokenizer.count(text)})
    ledger = results / "ledger/chunk/bench-0000.json"
    write_json(ledger, Ledger("chunk", "bench-0000", Units("document", "chunk")).to_json())
    settings = EmbedSettings(model=model, precision=precision, max_truncated_share=1.0).model_dump(mode="json")
    return Job(
        inputs={"chunks": [chunks], "ledger": [ledger]},
        outputs={
            "embeddings": results / "embeddings/bench-0000.parquet",
            "ledger": results / "ledger/embed/bench-0000.json",
        },
        params={"settings": settings},
        units=Units("chunk", "vector"),
        threads=CORES,
    )


def embed_sentence_transformers(
    work: dict[str, Any], precision: str, device: str = "cpu", sizes: Sequence[int] = BATCH_SIZES
) -> Result:
    """The peer at its best batch size, which a sample of the texts tells."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(CORES)
    dtype = getattr(torch, precision)
    model = SentenceTransformer(work["model"], device=device, model_kwargs={"dtype": dtype})

    def embed(texts: Sequence[str], size: int) -> Any:
        return model.encode(list(texts), batch_size=size, convert_to_tensor=True, show_progress_bar=False).float().cpu()

    embed(work["texts"][:8], 8)
    known = Path(work["folder"]) / f"{work['size']}, {precision}, batch size"
    if not known.exists():
        known.write_text(str(_fastest_size(work["texts"], embed, sizes)), encoding="utf-8")
    best = int(known.read_text(encoding="utf-8"))
    result: Result = {"batch_size": best}
    with clock(result):
        vectors = embed(work["texts"], best)
    return _embedded(result, work, f"sentence-transformers, {precision}", vectors.numpy())


def _fastest_size(texts: Sequence[str], embed: Callable[[Sequence[str], int], Any], sizes: Sequence[int]) -> int:
    """Return the batch size at which the peer embeds a sample of the texts fastest."""
    sample = texts[: max(2 * max(sizes), len(texts) // 8)]
    tried: dict[int, float] = {}
    for size in sizes:
        trial: Result = {}
        with clock(trial):
            embed(sample, size)
        tried[size] = trial["seconds"]
    return min(tried, key=lambda size: tried[size])


def multiply(work: dict[str, Any], precision: str) -> Result:
    """The limit: the products of the linear layers and nothing else, by torch.mm, for as many tokens at a time."""
    import torch

    from malgeul.embedding.encoder import CORE_TOKENS

    torch.set_num_threads(CORES)
    layers, dimension = SIZES[work["size"]]
    tokens = tokens_of(work["texts"])

    def drawn(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns).to(getattr(torch, precision))

    narrow, wide = drawn(CORE_TOKENS, dimension), drawn(CORE_TOKENS, 4 * dimension)
    square = [[drawn(dimension, dimension) for _ in range(4)] for _ in range(layers)]
    up = [drawn(dimension, 4 * dimension) for _ in range(layers)]
    down = [drawn(4 * dimension, dimension) for _ in range(layers)]

    def batch(n: int) -> None:
        for layer in range(layers):
            for weight in square[layer]:
                torch.mm(narrow[:n], weight)
            torch.mm(narrow[:n], up[layer])
            torch.mm(wide[:n], down[layer])

    batch(CORE_TOKENS)
    result: Result = {}
    with clock(result):
        for first in range(0, tokens, CORE_TOKENS):
            batch(min(CORE_TOKENS, tokens - first))
    return result


def _embedded(result: Result, work: dict[str, Any], name: str, vectors: Any) -> Result:
    import numpy as np

    place = Path(work["folder"]) / f"{work['size']}, {name}.npy"
    np.save(place, vectors)
    return result | {"vectors": str(place), "peak_mb": peak_mb()}


def memory_of_stage(work: dict[str, Any]) -> Result:
    """The stage over many short chunks, in a process that has done nothing else; the model is the bundled one."""
    import resource

    with tempfile.TemporaryDirectory() as name:
        texts = [f"{k}번째 청원: {work['texts'][k % len(work['texts'])][:40]}" for k in range(work["chunks"])]
        job = _job(Path(name) / "results/bench", texts, str(BUNDLED), "float32")
        del texts
        result: Result = {}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        with clock(result):
            job.run(_stage())
    return result | {"before_mb": before, "peak_mb": peak_mb()}


# The comparisons

SIDES: dict[str, Callable[[Any], Result]] = {
    "malgeul, float32": lambda work: embed_malgeul(work, "float32"),
    "malgeul, bfloat16": lambda work: embed_malgeul(work, "bfloat16"),
    "malgeul, int8": lambda work: embed_malgeul(work, "int8"),
    "sentence-transformers, float32": lambda work: embed_sentence_transformers(work, "float32"),
    "sentence-transformers, bfloat16": lambda work: embed_sentence_transformers(work, "bfloat16"),
    "bare products, float32": lambda work: multiply(work, "float32"),
    "bare products, bfloat16": lambda work: multiply(work, "bfloat16"),
    "memory": memory_of_stage,
}

COMPARISONS = [
    ("malgeul, float32", "sentence-transformers, float32", "≥ 1"),
    ("malgeul, float32", "bare products, float32", "≥ 0.7"),
    ("malgeul, bfloat16", "sentence-transformers, bfloat16", "≥ 1"),
    ("malgeul, bfloat16", "sentence-transformers, float32", "≥ 3 with AMX"),
    ("malgeul, bfloat16", "bare products, bfloat16", ""),
    ("malgeul, int8", "sentence-transformers, float32", ""),
]


def compare(size: str, found: dict[str, list[Result]], texts: int, ours: str, theirs: str, goal: str) -> str:
    """Return the row of a comparison; its ratio is the peer's time over ours."""
    seconds = statistics.median(one["seconds"] for one in found[ours])
    others = statistics.median(one["seconds"] for one in found[theirs])
    facts = [f"{texts} texts, {texts / seconds * 3600 / CORES:,.0f} an hour and core"]
    if "vectors" in found[theirs][0]:
        facts.append(_likeness(found[ours][0]["vectors"], found[theirs][0]["vectors"]))
        facts.append(f"batches of {found[theirs][0]['batch_size']}")
    facts.append(f"padding {found[ours][0]['padding']:.1%}")
    ratio = ratios(found[ours], found[theirs])
    runs = len(found[ours])
    cells = [f"{size}: {ours}", theirs, runs, f"{texts / seconds:.1f}", f"{texts / others:.1f}", ratio, goal]
    return f"| {' | '.join(map(str, cells))} | {'; '.join(facts)} |"


def _likeness(ours: str, theirs: str) -> str:
    """Return the least cosine of two sides' vectors, and how many of the ten nearest texts they share."""
    import numpy as np

    one, other = (np.load(file) for file in (ours, theirs))
    one, other = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (one, other))
    nearest = [np.argsort(-(v @ v.T), axis=1)[:, 1:11] for v in (one, other)]
    shared = [len(set(a) & set(b)) for a, b in zip(*nearest, strict=True)]
    return (
        f"least cosine {(one * other).sum(axis=1).min():.6f}, {statistics.mean(shared):.1f} of 10 neighbours the same"
    )


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("petitions", type=Path)
    parser.add_argument("--texts", type=int, help=f"by default {TEXTS}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--chunks", type=int, nargs=2, default=CHUNKS, help="of which memory is compared")
    parser.add_argument("--only", nargs="*", help="beginnings of sides of ours; memory for that row")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](json.loads(given.petitions.read_text(encoding="utf-8")))))
        return
    rows = [row for row in COMPARISONS if not given.only or row[0].startswith(tuple(given.only))]
    if not has_bfloat16():
        rows = [row for row in rows if "bfloat16" not in row[0]]
    names = ("torch", "transformers", "sentence-transformers")
    print(f"{platform.machine()}, {CORES} cores; {', '.join(f'{name} {version(name)}' for name in names)}\n")
    print("| what | beside | runs | malgeul, texts a second | peer | ratio (spread) | to reach | results |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = folder / "work.json"
        for size in given.sizes:
            make_model(folder / size, *SIZES[size])
            texts = some_texts(given.petitions, given.texts or TEXTS[size])
            about = {"model": str(folder / size), "size": size, "folder": name, "texts": texts}
            work.write_text(json.dumps(about), encoding="utf-8")
            sides = list(dict.fromkeys(side for row in rows for side in row[:2]))
            found: dict[str, list[Result]] = {side: [] for side in sides}
            for _ in range(given.runs):
                for side in sides:
                    found[side].append(run_side(__file__, side, work))
            for row in rows:
                print(compare(size, found, len(texts), *row), flush=True)
        if given.only and "memory" not in given.only:
            return
        texts = some_texts(given.petitions, TEXTS["6x384"])
        peaks = []
        for chunks in given.chunks:
            work.write_text(json.dumps({"chunks": chunks, "texts": texts}), encoding="utf-8")
            peaks.append(run_side(__file__, "memory", work)["peak_mb"])
        few, many = given.chunks
        what = f"peak memory, {many:,} chunks | {few:,} chunks"
        print(f"| {what} | 1 | {peaks[1]:,.0f} MB | {peaks[0]:,.0f} MB | {peaks[1] / peaks[0]:.2f} | flat |  |")


if __name__ == "__main__":
    main()
