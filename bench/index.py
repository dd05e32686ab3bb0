"""The vector index beside exact search and other kinds of index, on clustered synthetic vectors, on one machine.

    python bench/index.py [--vectors N] [--dimension D] [--noise S] [--file VECTORS.npy] [--runs N] [--only NAME ...]
        [--chunks N]

Vectors: centres drawn from a normal distribution, one for every 100 vectors; a vector is a centre chosen at random plus
normal noise of S times the centre's spread in every dimension, scaled to unit length. --file takes real vectors
instead. Queries are 200 more draws (or rows held out of the file): none of them is in the index.

Every side runs in a process of its own, the sides in turn, run after run. A query is one call; what is timed is from
the query's vector to the rows and scores of its ten nearest. Recall is the share of the ten that exact search finds.

Last, scripts/search.py is asked in words, as a user asks it, in a run of so many --chunks: 400 characters each, with
vectors of the same kind in the dimension of the bundled model. A question on the command line is timed from the start
of the process to its end (what it reads is in the memory of the machine), one more question on standard input from its
line to the line of the answer. bench/index.md holds the tables.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from asking import MODEL, QUESTIONS, ask_on, ask_once, make_run
from sides import CORES, Result, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts")]

QUERIES = 200
NEIGHBOURS = 10
PER_CLUSTER = 100
PER_SHARD = 100_000
SLACK = 1e-5
"""Scores that differ by less are a tie."""
WANTED = 0.99

RUN = "results/bench"
"""Where the run is that is asked in words."""
CHUNKS_PER_SHARD = 25_000

# What is searched


def centres_of(vectors: int, dimension: int) -> Any:
    """Return the centres of so many vectors."""
    shape = (max(1, vectors // PER_CLUSTER), dimension)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def draw(count: int, dimension: int, centres: Any, noise: float, seed: int) -> Any:
    """Return unit vectors around the centres."""
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, len(centres), count)]
    vectors = vectors + noise * rng.standard_normal((count, dimension), dtype=np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make(work: Path) -> Result:
    """Write shards of embeddings as the workflow does, and queries with the scores of their true neighbours."""
    import pyarrow.parquet as pq

    from malgeul.embedding.vectors import stored, stored_as, to_table

    started = time.perf_counter()
    asked = json.loads((work / "asked.json").read_text())
    vectors, dimension, noise, file = (asked[name] for name in ("vectors", "dimension", "noise", "file"))
    if file:
        real = np.load(file, mmap_mode="r")
        order = np.random.default_rng(0).permutation(len(real))
        held_out, rest = order[:QUERIES], np.sort(order[QUERIES:])
        queries, dimension, vectors = unit(np.asarray(real[held_out])), real.shape[1], len(rest)
    else:
        centres = centres_of(vectors, dimension)
        queries = draw(QUERIES, dimension, centres, noise, 1)
    best = np.full((QUERIES, NEIGHBOURS), -np.inf, np.float32)
    for number, start in enumerate(range(0, vectors, PER_SHARD)):
        count = min(PER_SHARD, vectors - start)
        if file:
            part = unit(np.asarray(real[rest[start : start + count]]))
        else:
            part = draw(count, dimension, centres, noise, 2 + number)
        ids = [f"chunk/{start + k}" for k in range(count)]
        table = to_table(ids, stored(part, stored_as("float32", dimension)), [b"0" * 16] * count, "float32")
        pq.write_table(table, work / f"embeddings-{number:04d}.parquet", compression="zstd")
        scores = np.concatenate([best, queries @ part.T], axis=1)
        best = np.partition(scores, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    np.save(work / "queries.npy", queries)
    np.save(work / "least.npy", best.min(axis=1))
    facts = {"rows": vectors, "dimension": dimension}
    (work / "facts.json").write_text(json.dumps(facts))
    return {**facts, "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time()}


def make_asked(work: Path) -> Result:
    """Make the run that is asked in words."""
    from malgeul.embedding.encoder import dimension_of
    from malgeul.embedding.recipe import read_recipe

    asked = json.loads((work / "asked.json").read_text())
    chunks, dimension = asked["chunks"], dimension_of(MODEL, read_recipe(MODEL))
    centres = centres_of(chunks, dimension)

    def parts() -> Iterator[Any]:
        for first in range(0, chunks, CHUNKS_PER_SHARD):
            yield draw(min(CHUNKS_PER_SHARD, chunks - first), dimension, centres, asked["noise"], 2 + first)

    started = time.perf_counter()
    make_run(work / RUN, parts())
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time()}


def unit(vectors: Any) -> Any:
    """Return vectors of unit length in float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def tables(work: Path) -> list[Path]:
    """Return the shards."""
    return sorted(work.glob("embeddings-*.parquet"))


# Sides


def build(work: Path) -> Result:
    """Build the index as build_index does, with a thread a core."""
    from malgeul.embedding.index import VECTORS, IndexBuilder, read_ids, write_about, write_ids, write_lists
    from malgeul.shards.files import link_or_copy, remove
    from malgeul.shards.journal import Journal

    facts = json.loads((work / "facts.json").read_text())
    folder = work / "index"
    remove(folder)
    remove(work / "journal")
    folder.mkdir()
    started = time.perf_counter()
    builder = IndexBuilder(Journal(work / "journal"), "bench", facts["rows"], facts["dimension"], CORES)
    builder.gather(tables(work))
    gathered = time.perf_counter() - started
    found = write_lists(builder, folder, WANTED)
    link_or_copy(builder.file, folder / VECTORS)
    list(write_ids(folder, ((ids, ids) for ids in map(read_ids, tables(work)))))
    write_about(folder, found, {})
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu_seconds": time.process_time(), "gathered": gathered, **found.measured()}


def searched(work: Path, search: Callable[[Any], tuple[Any, Any]]) -> Result:
    """Time single queries, and compare what they find with exact search."""
    queries, least = np.load(work / "queries.npy"), np.load(work / "least.npy")
    for query in queries[:20]:
        search(query)
    each, found = [], 0
    for query, enough in zip(queries, least, strict=True):
        started = time.perf_counter()
        _, scores = search(query)
        each.append(time.perf_counter() - started)
        found += int((scores[:NEIGHBOURS] >= enough - SLACK).sum())
    spent, recall = sum(each), found / len(queries) / NEIGHBOURS
    return {"seconds": spent, "cpu_seconds": spent, "median": statistics.median(each), "recall": recall}


def search_malgeul(work: Path) -> Result:
    """Search the index that was built, as a process that has just opened it."""
    from malgeul.embedding.index import Index

    started = time.perf_counter()
    index = Index(work / "index")
    opened = time.perf_counter() - started
    return {**searched(work, index.nearest), "opened": opened}


def search_exact(work: Path) -> Result:
    """Compare all vectors as malgeul does below ``index.exact_below``: FAISS on one thread over mapped memory."""
    from malgeul.embedding.inverted import exact_rows

    vectors = np.load(work / "index/vectors.npy", mmap_mode="r")
    return searched(work, lambda query: exact_rows(vectors, query, NEIGHBOURS))


def search_numpy(work: Path) -> Result:
    """Compare all vectors by NumPy, with all its threads."""
    vectors = np.load(work / "index/vectors.npy")

    def search(query: Any) -> tuple[Any, Any]:
        scores = vectors @ query
        rows = np.argpartition(scores, -NEIGHBOURS)[-NEIGHBOURS:]
        return rows, scores[rows]

    return searched(work, search)


def search_faiss(kind: str, efforts: Callable[[Any], Any], tries: tuple[int, ...]) -> Callable[[Path], Result]:
    """Return a side that builds a plain FAISS index and takes the first effort that has the recall."""

    def side(work: Path) -> Result:
        import faiss

        vectors = np.load(work / "index/vectors.npy")
        lists = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 40))
        started = time.perf_counter()
        index = faiss.index_factory(vectors.shape[1], kind.format(lists=lists), faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        built = time.perf_counter() - started
        faiss.omp_set_num_threads(1)

        def search(query: Any) -> tuple[Any, Any]:
            scores, rows = index.search(query.reshape(1, -1), NEIGHBOURS)
            return rows[0], scores[0]

        for effort in tries:
            efforts(index)(effort)
            result = searched(work, search)
            if result["recall"] >= WANTED:
                break
        return {**result, "built": built, "effort": effort}

    return side


def _probes(index: Any) -> Callable[[int], None]:
    return lambda effort: setattr(index, "nprobe", effort)


def _breadth(index: Any) -> Callable[[int], None]:
    return lambda effort: setattr(index.hnsw, "efSearch", effort)


POWERS = tuple(2**k for k in range(13))
OURS, EXACT = "malgeul", "exact, FAISS on one thread"
SIDES: dict[str, Callable[[Path], Result]] = {
    OURS: search_malgeul,
    EXACT: search_exact,
    "exact, NumPy": search_numpy,
    "IVF, flat": search_faiss("IVF{lists},Flat", _probes, POWERS),
    "IVF, 8-bit scalars": search_faiss("IVF{lists},SQ8", _probes, POWERS),
    "HNSW": search_faiss("HNSW32", _breadth, POWERS[4:]),
}


def answers(results: Path, chunks: int, runs: int) -> str:
    """Return the row of scripts/search.py in a run."""
    ask_once(results, QUESTIONS[0])  # what a process reads comes into memory
    alone = [ask_once(results, QUESTIONS[run % len(QUESTIONS)]) for run in range(runs)]
    more = [1000 * seconds for seconds in ask_on(results, QUESTIONS * 10)]
    cells = [f"{statistics.median(alone):.2f} ({min(alone):.2f} to {max(alone):.2f})", "< 2"]
    cells += [f"{statistics.median(more):.1f} ({min(more):.1f} to {max(more):.1f})", "< 50"]
    return f"| {chunks:,} | {' | '.join(cells)} |"


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--noise", type=float, default=0.7)
    parser.add_argument("--file", type=Path, help="real vectors (rows x dimension) in place of synthetic ones")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="beginnings of names of sides; malgeul and exact search always run")
    parser.add_argument("--chunks", type=int, default=100_000, help="of the run that is asked in words")
    parser.add_argument("--side", choices=["make", "build", "make_asked", *SIDES], help=argparse.SUPPRESS)
    parser.add_argument("work", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        result = {"make": make, "build": build, "make_asked": make_asked, **SIDES}[given.side](given.work)
        print(json.dumps({**result, "peak_mb": peak_mb()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        asked = {name: getattr(given, name) for name in ("vectors", "dimension", "noise", "chunks")}
        (work / "asked.json").write_text(json.dumps({**asked, "file": str(given.file) if given.file else None}))
        facts = run_side(
            __file__, "make", work
        )  # in a process of its own: a child's peak begins with its parent's size
        kind = f"real vectors of {given.file.name}" if given.file else f"clustered vectors, noise {given.noise}"
        print(f"{platform.machine()}, {CORES} cores; faiss-cpu {version('faiss-cpu')}, NumPy {version('numpy')}")
        print(f"{facts['rows']:,} {kind}, {facts['dimension']} dimensions; {QUERIES} queries, {given.runs} runs\n")
        made = run_side(__file__, "build", work)
        print(
            f"Build: {made['seconds']:.1f} s ({made['gathered']:.1f} s gathering), {made['cpu_seconds']:.1f} s of "
            f"processor, peak {made['peak_mb']:,.0f} MB; {made['lists_searched']} of {made['lists']} lists searched, "
            f"recall {made['recall']:.4f} on rows of the index\n"
        )
        only = tuple(given.only) if given.only else ("",)
        wanted = [name for name in SIDES if name in {OURS, EXACT} or name.startswith(only)]
        results: dict[str, list[Result]] = {name: [] for name in wanted}
        for _ in range(given.runs):
            for name in wanted:
                results[name].append(run_side(__file__, name, work))
        print("| side | recall of 10 | a query, ms (median) | times malgeul's (spread) | peak memory | built in |")
        print("|---|---|---|---|---|---|")
        for name, runs in results.items():
            median = 1000 * statistics.median(run["median"] for run in runs)
            ratio = "" if name == OURS else ratios(results[OURS], runs)
            built = made["seconds"] if name == OURS else runs[0].get("built")
            print(
                f"| {name} | {runs[0]['recall']:.4f} | {median:.3f} | {ratio} | {runs[0]['peak_mb']:,.0f} MB | "
                f"{f'{built:.0f} s' if built else ''} |"
            )
        opened = statistics.median(run["opened"] for run in results[OURS])
        print(f"\nTo reach: recall >= {WANTED}, exact search >= 20 times malgeul's. Opening takes {opened:.2f} s.")
        run_side(__file__, "make_asked", work)
        print("\n| chunks | a question, s (median, spread) | to reach | one more, ms (median, spread) | to reach |")
        print("|---|---|---|---|---|")
        print(answers(work / RUN, given.chunks, given.runs))


if __name__ == "__main__":
    main()
